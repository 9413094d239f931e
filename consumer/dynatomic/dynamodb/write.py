"""The state of one window while it is written to the tables."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import NamedTuple, Protocol

from dynatomic.dynamodb.answers import PartiallyRejected, Refused, Rejected, Retry
from dynatomic.dynamodb.statements import Change
from dynatomic.events.row import CounterRef
from dynatomic.events.window import Window


class Remainder(NamedTuple):
    """The part of a change that is not in the item yet; None if all of it is."""

    change: Change | None


@dataclass(slots=True, eq=False)
class WindowWrite:
    """One window while it is written to the tables.

    When `is_complete`, each counter is applied, in ``rejected``, or in ``held_back``. The last are
    the changes of items that refused some of their counters. `Writer.write_held_back` may write
    them once the rejected events are stored as dead letters, because the fence of the item then
    hides those events. ``waits_by_table`` is the reason why each table makes the window wait.
    ``fenced_items`` counts the items whose fence refused a sum or a part of it,
    ``suppressed_events`` the events that the items had already. ``finished_counters`` counts the
    counters that are applied, rejected, or were in the item already.
    """

    window: Window
    on_complete: Callable[["WindowWrite"], None]
    rejected: dict[CounterRef, Rejected] = field(default_factory=dict)
    waits_by_table: dict[str, Retry | Refused] = field(default_factory=dict)
    held_back: list[Change] = field(default_factory=list)
    requests: int = 0
    fenced_items: int = 0
    suppressed_events: int = 0
    finished_counters: int = 0
    cancelled: bool = False
    open_tasks: int = 0

    lock: Lock = field(default_factory=Lock)

    @property
    def is_complete(self) -> bool:
        """Whether every task of the window has ended."""
        return self.open_tasks == 0

    @property
    def refused_tables(self) -> dict[str, str]:
        """The tables that refuse writes until somebody corrects them, with the causes."""
        waits = dict(self.waits_by_table)
        return {table: c.cause for table, c in waits.items() if isinstance(c, Refused)}

    def remainder_above(self, change: Change, offset: int) -> Remainder:
        """Return the rest of a change whose item has the events up to an offset."""
        first = change.fence.first if change.fence else 0
        with self.lock:
            _, before = self.window.sums_above(change.refs(), first - 1)
            sums, below = self.window.sums_above(change.refs(), offset)
            self.fenced_items += 1
            self.suppressed_events += below - before
            self.finished_counters += len(change.sums) - len(sums)
        if not sums:
            return Remainder(None)
        return Remainder(change.only({ref.name: total for ref, total in sums.items()}, offset + 1))

    def reject(self, change: Change, why: Rejected | PartiallyRejected) -> None:
        """Record the counters that the item can never take, and hold the others back."""
        # The events below the first offset were stored as dead letters before the fence was set.
        first = change.fence.first if change.fence else 0
        refs = {ref.name: ref for ref in change.refs()}
        rejected = why.rejected if isinstance(why, PartiallyRejected) else dict.fromkeys(refs, why)
        self.finished_counters += len(rejected)
        for name, cause in rejected.items():
            self.rejected[refs[name]] = replace(cause, first=first)
        accepted = {name: total for name, total in change.sums.items() if name not in rejected}
        if accepted:
            self.held_back.append(change.only(accepted))


class WindowWriter(Protocol):
    """The part of `writer.Writer` that the worker uses."""

    failure: BaseException | None

    def submit(
        self, window: Window, on_complete: Callable[[WindowWrite], None], /, fence: str | None
    ) -> WindowWrite:
        """Start to write the sums of a window."""

    def write_held_back(self, write: WindowWrite, /) -> None:
        """Write what the window held back."""

    def cancel(self, write: WindowWrite, /) -> None:
        """Send nothing more of the window."""
