"""The sums of one partition between two offsets. Pure: no clock, no I/O, no Kafka."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from consumer.decoder import Increment
from consumer.row import CounterRef


class Window:
    """What the events of one partition between ``first`` and ``last`` add to which counter.

    Every event's offset and increment stay here until the window is settled: what a fence
    refuses is summed again from them, and what the table refuses becomes dead letters by
    offset. That is 24 bytes an event; counters and numbers are the decoder's.
    """

    __slots__ = ("_incrs", "_offsets", "_places", "_refs", "first", "last", "rejected", "sums")

    def __init__(self) -> None:
        self.first = -1
        self.last = -1
        self.rejected = 0
        self.sums: dict[CounterRef, int] = {}
        self._offsets = array("q")
        self._refs: list[CounterRef] = []
        self._incrs: list[int] = []
        self._places: dict[CounterRef, array[int]] | None = None

    def __len__(self) -> int:
        """Return how many events it holds, rejected ones among them."""
        return len(self._offsets) + self.rejected

    def add(self, offsets: Sequence[int], refs: Sequence[CounterRef], incrs: Sequence[int]) -> None:
        """Add events; offsets ascend within a window, gaps are usual."""
        if not len(offsets) == len(refs) == len(incrs):
            raise ValueError("a counter and an increment an offset")
        if not offsets:
            return
        self._cover(offsets[0], offsets[-1])
        self._offsets.extend(offsets)
        self._refs.extend(refs)
        self._incrs.extend(incrs)
        sums = self.sums
        for ref, incr in zip(refs, incrs, strict=True):
            sums[ref] = sums.get(ref, 0) + incr

    def reject(self, offset: int) -> None:
        """Take an offset in whose event is a dead letter: it must not be committed before that."""
        self._cover(offset, offset)
        self.rejected += 1

    def _cover(self, first: int, last: int) -> None:
        if self.first < 0 or first < self.first:
            self.first = first
        self.last = max(self.last, last)

    def offsets_of(self, wanted: Mapping[CounterRef, int]) -> dict[int, Increment]:
        """Return, by offset, the increments of some counters, each from the given offset on."""
        events = zip(self._offsets, self._refs, self._incrs, strict=True)
        never = self.last + 1
        return {o: (ref, incr) for o, ref, incr in events if o >= wanted.get(ref, never)}

    def above(self, refs: Iterable[CounterRef], offset: int) -> tuple[dict[CounterRef, int], int]:
        """Return what the events of some counters above an offset add, and how many are not above.

        A counter without such an event is left out. For a full window: it must not grow any more.
        """
        if self._places is None:
            self._places = self._indexed()
        sums, below = {}, 0
        for ref in refs:
            places = self._places.get(ref, ())
            start = bisect_right(places, offset, key=self._offsets.__getitem__)
            below += start
            if start < len(places):
                sums[ref] = sum(self._incrs[place] for place in places[start:])
        return sums, below

    def _indexed(self) -> "dict[CounterRef, array[int]]":
        # Most windows meet no fence, so this is made for the first that does. Request threads may
        # make it at the same time: they make the same.
        places: dict[CounterRef, array[int]] = {}
        for place, ref in enumerate(self._refs):
            if ref in places:
                places[ref].append(place)
            else:
                places[ref] = array("q", (place,))
        return places
