"""What ``run --dry-run`` puts in the place of the tables and the dead-letter topic."""

import json
import sys
from collections.abc import Callable

from dynatomic.dead_letters.letter import Letter
from dynatomic.dead_letters.store import Stored, Wanted
from dynatomic.dynamodb.write import Write
from dynatomic.events.window import Window


class Printer:
    """Prints a window's sums as JSON lines that `produce` can read."""

    failure: BaseException | None = None

    def submit(
        self,
        window: Window,
        on_settled: Callable[[Write], None],
        fence: str | None = None,  # noqa: ARG002 - nothing is written
    ) -> Write:
        """Print the sums."""
        for ref, total in window.sums.items():
            fields = {"table": ref.table, "key": ref.key, "range": ref.range}
            sys.stdout.write(json.dumps(fields | {"counter": ref.name, "incr": total}) + "\n")
        sys.stdout.flush()
        write = Write(window, on_settled)
        on_settled(write)
        return write

    def proceed(self, write: Write) -> None:
        """Do nothing: nothing was held back."""

    def cancel(self, write: Write) -> None:
        """Do nothing: it is printed already."""


class NoLetters:
    """Takes every dead letter for stored: the worker logs them, and that is all."""

    held: int = 0
    held_bytes: int = 0
    trouble: str | None = None

    def store(self, _item: Letter, on_stored: Stored, _wanted: Wanted) -> None:
        """Take it for stored."""
        on_stored()

    def poll(self, _timeout_s: float = 0.0) -> None:
        """Do nothing."""
