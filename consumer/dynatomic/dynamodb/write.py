"""The state of one window while it is written to the tables."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from threading import Lock
from typing import NamedTuple, Protocol

from dynatomic.dynamodb.answers import Fenced, PartiallyRejected, Refused, Rejected, Retry
from dynatomic.dynamodb.parts import SMALL, split
from dynatomic.dynamodb.statements import Change
from dynatomic.events.row import CounterRef
from dynatomic.events.window import ItemRef, Window

_SUMS_OF = attrgetter("sums")


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
    ``fenced_items`` counts the items whose fence refused a sum or a part of it. ``suppressed`` has,
    by offset, how many increments of each event the items had already.
    ``hidden`` is a counter whose past an item hides (`record_hidden`). ``finished_counters`` counts
    the counters that are applied, rejected, or were in the item already.

    An item with more counters than fit into one statement is written in parts, one after the
    other. ``later_parts`` has those that follow the part that is being written, each with the
    number of counters of the part before it that occur again.
    """

    window: Window
    on_complete: Callable[["WindowWrite"], None]
    rejected: dict[CounterRef, Rejected] = field(default_factory=dict)
    waits_by_table: dict[str, Retry | Refused] = field(default_factory=dict)
    held_back: list[Change] = field(default_factory=list)
    later_parts: dict[ItemRef, deque[tuple[Change, int]]] = field(default_factory=dict)
    requests: int = 0
    fenced_items: int = 0
    suppressed: Counter[int] = field(default_factory=Counter)
    suppressed_increments: int = 0
    hidden: CounterRef | None = None
    finished_counters: int = 0
    cancelled: bool = False
    open_tasks: int = 0

    lock: Lock = field(default_factory=Lock)

    @property
    def is_complete(self) -> bool:
        """Whether every task of the window has ended."""
        return self.open_tasks == 0

    @property
    def suppressed_events(self) -> int:
        """How many events were in all of their items already."""
        if not self.window.has_shared_events:
            return self.suppressed_increments
        return self.window.count_whole_events(self.suppressed)

    @property
    def refused_tables(self) -> dict[str, str]:
        """The tables that refuse writes until they are corrected, with the causes."""
        waits = dict(self.waits_by_table)
        return {table: c.cause for table, c in waits.items() if isinstance(c, Refused)}

    def first_parts(self, changes: Sequence[Change]) -> Sequence[Change]:
        """Return the parts of changes to write now, and keep the others for `next_part`."""
        # It runs in C, because nearly all changes are small. A loop would add a tenth of the time.
        if max(map(len, map(_SUMS_OF, changes)), default=0) <= SMALL:
            return changes
        return [self._first_part(change) for change in changes]

    def _first_part(self, change: Change) -> Change:
        part, *later = split(change, self.window)
        if later:
            self.later_parts[_item(change)] = deque(zip(later, _repeated(part, later), strict=True))
        return part

    def next_part(self, applied: Change) -> Change | None:
        """Return the part to write after another part of the item, or None if it was the last."""
        later = self.later_parts.get(_item(applied))
        if later is None:
            return None
        part, repeated = later.popleft()
        with self.lock:
            self.finished_counters -= repeated
        if not later:
            del self.later_parts[_item(applied)]
        return part

    def record_hidden(self, change: Change, answer: Fenced) -> None:
        """Keep a counter that an item does not have, although its fence hides events of it.

        So the item took these events when the counter was not counted.
        """
        first = change.fence.first if change.fence else 0
        for ref in change.refs() if answer.missing and self.hidden is None else ():
            if ref.name in answer.missing:
                events = self.window.events_of([ref], first)
                if events and events[0][0] <= answer.offset:
                    self.hidden = ref

    def remainder_above(self, change: Change, offset: int) -> Remainder:
        """Return the rest of a change whose item has the events up to an offset."""
        whole = self._whole(change)
        first = whole.fence.first if whole.fence else 0
        with self.lock:
            _, before = self.window.sums_above(whole.refs(), first - 1)
            sums, below = self.window.sums_above(whole.refs(), offset)
            self.fenced_items += 1
            self.suppressed_increments += below - before
            if self.window.has_shared_events:
                events = self.window.events_of(whole.refs(), first)
                self.suppressed.update(event for event, _, _ in events if event <= offset)
            self.finished_counters += len(whole.sums) - len(sums)
        if not sums:
            return Remainder(None)
        rest = whole.only({ref.name: total for ref, total in sums.items()}, offset + 1)
        (part,) = self.first_parts([rest])
        return Remainder(part)

    def reject(self, change: Change, rejection: Rejected | PartiallyRejected) -> None:
        """Record the counters that the item can never take, and hold the others back."""
        # The events below the first offset were stored as dead letters before the fence was set.
        first = change.fence.first if change.fence else 0
        refs = {ref.name: ref for ref in change.refs()}
        rejected = (
            rejection.rejected
            if isinstance(rejection, PartiallyRejected)
            else dict.fromkeys(refs, rejection)
        )
        with self.lock:
            self.finished_counters += len(rejected)
        for name, cause in rejected.items():
            self.rejected[refs[name]] = replace(cause, first=first)
        whole = self._whole(change)
        accepted = {name: total for name, total in whole.sums.items() if name not in rejected}
        if accepted:
            self.held_back.append(whole.only(accepted))

    def _whole(self, part: Change) -> Change:
        """Return a part together with the later parts of its item, which are forgotten."""
        later = self.later_parts.pop(_item(part), None)
        if later is None:
            return part
        sums: Counter[str] = Counter()
        for last in (part, *(change for change, _ in later)):
            sums.update(last.sums)
        fence = part.fence
        if fence is not None and last.fence is not None:
            fence = replace(fence, last=last.fence.last)
        return part._replace(sums=dict(sums), fence=fence)


def _repeated(part: Change, later: Sequence[Change]) -> list[int]:
    """Return for each part but the last how many of its counters occur in a later one."""
    names: set[str] = set()
    repeated = []
    for earlier, following in zip([part, *later][-2::-1], later[::-1], strict=True):
        names |= following.sums.keys()
        repeated.append(len(earlier.sums.keys() & names))
    return repeated[::-1]


def _item(change: Change) -> ItemRef:
    return change.table, change.key, change.range


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
