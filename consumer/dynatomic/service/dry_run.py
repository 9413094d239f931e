"""What ``run --dry-run`` puts in the place of the tables and the dead-letter topic."""

import json
import sys
from collections.abc import Callable

from dynatomic.dead_letters.letter import DeadLetter
from dynatomic.dead_letters.store import IsWanted, OnStored
from dynatomic.dynamodb.write import WindowWrite
from dynatomic.events.window import Window


class SumPrinter:
    """Prints a window's sums as JSON lines that `produce` can read."""

    failure: BaseException | None = None

    def submit(
        self,
        window: Window,
        on_complete: Callable[[WindowWrite], None],
        fence: str | None = None,  # noqa: ARG002 - nothing is written
    ) -> WindowWrite:
        """Print the sums."""
        for ref, total in window.sums.items():
            fields = {"table": ref.table, "key": ref.key, "range": ref.range}
            sys.stdout.write(json.dumps(fields | {"counter": ref.name, "incr": total}) + "\n")
        sys.stdout.flush()
        write = WindowWrite(window, on_complete)
        on_complete(write)
        return write

    def write_held_back(self, write: WindowWrite) -> None:
        """Do nothing: nothing was held back."""

    def cancel(self, write: WindowWrite) -> None:
        """Do nothing: it is printed already."""


class DiscardedLetters:
    """Takes every dead letter for stored: the worker logs them, and that is all."""

    pending: int = 0
    pending_bytes: int = 0
    last_error: str | None = None

    def store(self, _item: DeadLetter, on_stored: OnStored, _wanted: IsWanted) -> None:
        """Take it for stored."""
        on_stored()

    def poll(self, _timeout_s: float = 0.0) -> None:
        """Do nothing."""
