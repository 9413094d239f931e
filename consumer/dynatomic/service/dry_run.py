"""What ``run --dry-run`` uses in place of the tables and the dead-letter topic."""

import json
import sys
from collections.abc import Callable

from dynatomic.dead_letters.letter import DeadLetter
from dynatomic.dead_letters.store import IsWanted, OnStored
from dynatomic.dynamodb.write import WindowWrite
from dynatomic.events.window import Window


class SumPrinter:
    """Prints the sums of each window as JSON lines that ``dynatomic produce`` can read."""

    failure: BaseException | None = None

    def submit(
        self,
        window: Window,
        on_complete: Callable[[WindowWrite], None],
        fence: str | None = None,  # noqa: ARG002 - nothing is written
    ) -> WindowWrite:
        """Print the sums, and complete the write at once."""
        for ref, total in window.sums.items():
            fields = {"table": ref.table, "key": ref.key, "range": ref.range}
            sys.stdout.write(json.dumps(fields | {"counter": ref.name, "incr": total}) + "\n")
        sys.stdout.flush()
        write = WindowWrite(window, on_complete, finished_counters=window.counters)
        on_complete(write)
        return write

    def write_held_back(self, write: WindowWrite) -> None:
        """Do nothing: no change is held back."""

    def cancel(self, write: WindowWrite) -> None:
        """Do nothing: the sums are printed already."""


class DiscardedLetters:
    """Treats each dead letter as stored. The worker logs it; nothing else happens to it."""

    pending: int = 0
    pending_bytes: int = 0
    last_error: str | None = None

    def store(self, _item: DeadLetter, on_stored: OnStored, _wanted: IsWanted) -> None:
        """Report it as stored at once."""
        on_stored()

    def poll(self, _timeout_s: float = 0.0) -> None:
        """Do nothing: no delivery is reported."""
