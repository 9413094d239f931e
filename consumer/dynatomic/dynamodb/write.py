"""One window on its way into the tables: what is open, refused, held back, or in already."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import NamedTuple

from dynatomic.dynamodb.answers import PartiallyRejected, Refused, Rejected, Retry
from dynatomic.dynamodb.statements import Change
from dynatomic.events.row import CounterRef
from dynatomic.events.window import Window


class Remainder(NamedTuple):
    """What is left of a change after what is in the item already; None if nothing is."""

    change: Change | None


@dataclass(slots=True, eq=False)
class WindowWrite:
    """One window on its way into the tables.

    When `is_complete`, each counter is applied, in ``rejected``, or in ``held_back``. These are
    the changes of items that refused a part of them. They wait for `Writer.write_held_back`, which
    may be called when the rejected events are stored as dead letters: the item's fence hides
    those events once it is set. ``waits_by_table`` says what the window waits for, per table.
    ``fenced_items`` counts the items whose fence refused the sum or a part of it,
    ``suppressed_events`` the events that were in them already.
    """

    window: Window
    on_complete: Callable[["WindowWrite"], None]
    rejected: dict[CounterRef, Rejected] = field(default_factory=dict)
    waits_by_table: dict[str, Retry | Refused] = field(default_factory=dict)
    held_back: list[Change] = field(default_factory=list)
    requests: int = 0
    fenced_items: int = 0
    suppressed_events: int = 0
    cancelled: bool = False
    open_tasks: int = 0

    lock: Lock = field(default_factory=Lock)

    @property
    def is_complete(self) -> bool:
        """Whether nothing of it is left to write."""
        return self.open_tasks == 0

    @property
    def refused_tables(self) -> dict[str, str]:
        """The tables that refuse it until somebody mends them, and why."""
        waits = dict(self.waits_by_table)
        return {table: c.cause for table, c in waits.items() if isinstance(c, Refused)}

    def remainder_above(self, change: Change, offset: int) -> Remainder:
        """Return what is left of a change whose item holds the events up to an offset."""
        first = change.fence.first if change.fence else 0
        with self.lock:
            _, before = self.window.sums_above(change.refs(), first - 1)
            sums, below = self.window.sums_above(change.refs(), offset)
            self.fenced_items += 1
            self.suppressed_events += below - before
        if not sums:
            return Remainder(None)
        return Remainder(change.only({ref.name: total for ref, total in sums.items()}, offset + 1))

    def reject(self, change: Change, why: Rejected | PartiallyRejected) -> None:
        """Take note of the counters that can never be added, and hold the others back."""
        # What a fence covers was stored as a dead letter before the fence was set.
        first = change.fence.first if change.fence else 0
        refs = {ref.name: ref for ref in change.refs()}
        rejected = why.rejected if isinstance(why, PartiallyRejected) else dict.fromkeys(refs, why)
        for name, cause in rejected.items():
            self.rejected[refs[name]] = replace(cause, first=first)
        good = {name: total for name, total in change.sums.items() if name not in rejected}
        if good:
            self.held_back.append(change.only(good))
