"""The sums of one partition between two offsets. Pure: no clock, no I/O, no Kafka."""

from array import array
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, repeat
from operator import attrgetter, itemgetter
from typing import Any

from dynatomic.events.decoded import UnitIncrement
from dynatomic.events.row import CounterRef

COUNTER_BYTES = 800
"""An estimate of the memory of one new counter of a window, without its names."""

LIFE_BYTES = 150
"""An estimate of the memory of an item's time to live."""

ItemRef = tuple[str, str, str | None]
"""Table, key and range."""

_MIN_RANGE_EVENTS, _MAX_UNSUMMED_EVENTS = 256, 65_536


_REF_OF = attrgetter("ref")


class Window:
    """What the events of one partition between ``first`` and ``last`` add to which counter.

    The window keeps the increments of each event until it is complete. If a fence refuses a sum, it
    is computed again for the later events. If the table refuses a counter, its events become dead
    letters. The memory of an increment is 8 bytes if payloads repeat, 16 if increments vary, 8 more
    if offsets are not consecutive, and about 300 more if names never repeat. Unit increments and
    multipliers come from the decoder.

    An event may add to several counters, each of them once: then its offset occurs once for each.
    Of the events that add to none, ``rejected`` are dead letters, ``unmatched`` are those that no
    counter takes, and ``tombstones`` have no payload. ``expires_s`` has the time to live of items
    that have one, in seconds of Unix time.
    """

    __slots__ = (
        *("_index", "_multipliers", "_offsets", "_pending_multipliers", "_sums"),
        *("_unit_counts", "_unit_increments", "_unsummed", "first", "last", "rejected"),
        *("_counter_bytes", "_stored_offsets", "_counted_events", "tombstones", "unmatched"),
        "expires_s",
    )

    def __init__(self) -> None:
        self.first = -1
        self.last = -1
        self.rejected = self.unmatched = self.tombstones = 0
        self._counted_events = 0
        self.expires_s: dict[ItemRef, int] = {}
        self._offsets: list[range | array[int]] = []
        self._unit_increments: list[UnitIncrement] = []
        self._multipliers: list[int] | None = None
        self._unit_counts: Counter[UnitIncrement] = Counter()
        self._pending_multipliers: defaultdict[UnitIncrement, list[int]] = defaultdict(list)
        self._unsummed = 0
        self._counter_bytes = self._stored_offsets = 0
        self._sums: dict[CounterRef, int] = {}
        self._index: dict[CounterRef, tuple[array[int], list[int]]] | None = None

    def __len__(self) -> int:
        """Return the number of events, also of those that add to no counter."""
        return self._counted_events + self.rejected + self.unmatched + self.tombstones

    @property
    def has_shared_events(self) -> bool:
        """Whether an event adds to more than one counter."""
        return len(self._unit_increments) > self._counted_events

    @property
    def size_bytes(self) -> int:
        """An estimate of its memory until it is written: offsets, increments, and names."""
        slots = 1 if self._multipliers is None else 2
        events = slots * len(self._unit_increments) + self._stored_offsets
        return 8 * events + self._counter_bytes

    @property
    def counters(self) -> int:
        """The number of counters with a sum."""
        return len(self._sums)

    @property
    def sums(self) -> dict[CounterRef, int]:
        """What the events add to each counter; for a window that grows no more, or now and then."""
        self._sum_up()
        return self._sums

    def _sum_up(self) -> None:
        sums = self._sums
        for unit, count in self._unit_counts.items():
            sums[unit.ref] += unit.incr * count
        for unit, multipliers in self._pending_multipliers.items():
            sums[unit.ref] += unit.incr * sum(multipliers)
        self._unit_counts.clear()
        self._pending_multipliers.clear()
        self._unsummed = 0

    def add(
        self,
        offsets: Sequence[int],
        unit_increments: Sequence[UnitIncrement],
        multipliers: Sequence[int] | None = None,
        events: int | None = None,
    ) -> None:
        """Add events. Offsets ascend within a window; gaps are usual.

        Each adds its unit increment once, or as many times as its multiplier says. An event that
        adds to several counters has its offset once for each; then ``events`` is the number of
        events. Raises ValueError if the sequences have different lengths.
        """
        if (
            not len(offsets)
            == len(unit_increments)
            == len(unit_increments if multipliers is None else multipliers)
        ):
            raise ValueError(
                "each offset needs a unit increment, and a multiplier or no multipliers at all"
            )
        if not offsets:
            return
        self._cover(offsets[0], offsets[-1])
        self._append(offsets, unit_increments, multipliers)
        self._counted_events += len(offsets) if events is None else events
        counted: dict[UnitIncrement, Any] = (
            self._unit_counts if multipliers is None else self._pending_multipliers
        )
        known = len(counted)
        if multipliers is None:
            self._unit_counts.update(unit_increments)
        else:  # It runs in C: a loop that adds each multiplier takes twice as long.
            deque(
                map(
                    list.append,
                    map(self._pending_multipliers.__getitem__, unit_increments),
                    multipliers,
                ),
                maxlen=0,
            )
        new = list(islice(reversed(counted), len(counted) - known))
        refs = list(map(_REF_OF, reversed(new)))
        deque(map(self._sums.setdefault, refs, repeat(0)), maxlen=0)
        self._counter_bytes += len(refs) * COUNTER_BYTES + 2 * _name_bytes(refs)
        # Only units of a counters file have a time to live.
        lives = list(map(getattr, reversed(new), repeat("expires_s"), repeat(None)))
        if any(lives):
            self._keep_lives(zip(refs, lives, strict=True))
        self._unsummed += len(unit_increments)
        if self._unsummed >= _MAX_UNSUMMED_EVENTS:
            self._sum_up()

    def _keep_lives(self, lives: Iterable[tuple[CounterRef, int | None]]) -> None:
        for ref, expires_s in lives:
            if expires_s is not None:
                self.expires_s[ref[:3]] = expires_s
                self._counter_bytes += LIFE_BYTES

    def _append(
        self,
        offsets: Sequence[int],
        unit_increments: Sequence[UnitIncrement],
        multipliers: Sequence[int] | None,
    ) -> None:
        if isinstance(offsets, range) and len(offsets) >= _MIN_RANGE_EVENTS:
            self._offsets.append(offsets)
        elif self._offsets and isinstance(self._offsets[-1], array):
            self._offsets[-1].extend(offsets)
            self._stored_offsets += len(offsets)
        else:
            self._offsets.append(array("q", offsets))
            self._stored_offsets += len(offsets)
        if multipliers is not None and self._multipliers is None:
            self._multipliers = [1] * len(self._unit_increments)
        if self._multipliers is not None:
            self._multipliers.extend(
                repeat(1, len(unit_increments)) if multipliers is None else multipliers
            )
        self._unit_increments.extend(unit_increments)

    def reject(self, offset: int) -> None:
        """Add the offset of a dead letter, which must be stored before the offset is committed."""
        self._cover(offset, offset)
        self.rejected += 1

    def pass_over(self, first: int, last: int, *, unmatched: int, tombstones: int) -> None:
        """Take in events between two offsets that add to no counter and are no dead letters."""
        self._cover(first, last)
        self.unmatched += unmatched
        self.tombstones += tombstones

    def _cover(self, first: int, last: int) -> None:
        if self.first < 0 or first < self.first:
            self.first = first
        self.last = max(self.last, last)

    def events(self) -> Iterator[tuple[int, CounterRef, int]]:
        """Yield offset, counter and increment of all that events add, in the order of offsets."""
        offsets = chain.from_iterable(self._offsets)
        multipliers = (
            repeat(1, len(self._unit_increments))
            if self._multipliers is None
            else self._multipliers
        )
        for offset, unit, multiplier in zip(
            offsets, self._unit_increments, multipliers, strict=True
        ):
            yield offset, unit.ref, unit.incr * multiplier

    def unit_of(self, ref: CounterRef) -> UnitIncrement:
        """Return a unit increment of a counter that some event adds to."""
        return next(unit for unit in self._unit_increments if unit.ref == ref)

    def increments_from(
        self, first_offsets: Mapping[CounterRef, int]
    ) -> Iterator[tuple[int, CounterRef, int]]:
        """Yield offset, counter and increment of some counters, each from the given offset on."""
        never = self.last + 1
        for offset, ref, incr in self.events():
            if offset >= first_offsets.get(ref, never):
                yield offset, ref, incr

    def sums_above(
        self, refs: Iterable[CounterRef], offset: int
    ) -> tuple[dict[CounterRef, int], int]:
        """Return the sums of some counters above an offset, and how many increments are not above.

        A counter without such an event is left out. For a full window: it must not grow any more.
        """
        if self._index is None:
            self._index = self._build_index()
        sums, below = {}, 0
        for ref in refs:
            if ref in self._index:
                offsets, incrs = self._index[ref]
                start = bisect_right(offsets, offset)
                below += start
                if start < len(offsets):
                    sums[ref] = sum(incrs[start:])
        return sums, below

    def events_of(
        self, refs: Iterable[CounterRef], first: int
    ) -> list[tuple[int, CounterRef, int]]:
        """Return offset, counter and increment of what adds to some counters, from ``first`` on.

        In the order of the offsets. For a closed window.
        """
        if self._index is None:
            self._index = self._build_index()
        events = [
            (offset, ref, incr)
            for ref in refs
            for offset, incr in zip(*self._index.get(ref, ((), ())), strict=True)
            if offset >= first
        ]
        return sorted(events, key=itemgetter(0))

    def count_whole_events(self, increments: Mapping[int, int]) -> int:
        """Return of how many events all increments are in ``increments``, numbers by offset."""
        if not self.has_shared_events:
            return len(increments)
        wanted = (offset for offset in chain.from_iterable(self._offsets) if offset in increments)
        return sum(increments[offset] == count for offset, count in Counter(wanted).items())

    def _build_index(self) -> "dict[CounterRef, tuple[array[int], list[int]]]":
        # Most windows meet no fence, so it is made at the first fence. If request threads make it
        # at the same time, they make the same.
        index: dict[CounterRef, tuple[array[int], list[int]]] = {}
        for offset, ref, incr in self.events():
            if ref not in index:
                index[ref] = (array("q"), [])
            offsets, incrs = index[ref]
            offsets.append(offset)
            incrs.append(incr)
        return index


def _name_bytes(refs: Sequence[CounterRef]) -> int:
    return sum(
        sum(map(len, filter(None, map(itemgetter(field), refs))))
        for field in range(1, len(CounterRef._fields))
    )
