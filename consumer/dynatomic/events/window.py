"""The sums of one partition between two offsets. Pure: no clock, no I/O, no Kafka."""

from array import array
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, repeat
from typing import Any

from dynatomic.events.decoder import Addend, Increment
from dynatomic.events.row import CounterRef

_LONG, _UNSUMMED = 256, 65_536


class Window:
    """What the events of one partition between ``first`` and ``last`` add to which counter.

    What each event adds stays here until the window is settled: what a fence refuses is summed
    again from it, and what the table refuses becomes dead letters by offset. That is 8 bytes an
    event where payloads repeat and 16 where numbers vary; offsets cost nothing where they follow
    each other, else 8 more. Addends and numbers are the decoder's.
    Where names never repeat each event brings an addend of its own, about 300 bytes.
    """

    __slots__ = (
        *("_addends", "_events_of", "_numbers", "_offsets", "_once", "_sums", "_times"),
        *("_unsummed", "first", "last", "rejected"),
    )

    def __init__(self) -> None:
        self.first = -1
        self.last = -1
        self.rejected = 0
        self._offsets: list[range | array[int]] = []
        self._addends: list[Addend] = []
        self._times: list[int] | None = None
        self._once: Counter[Addend] = Counter()
        self._numbers: defaultdict[Addend, list[int]] = defaultdict(list)
        self._unsummed = 0
        self._sums: dict[CounterRef, int] = {}
        self._events_of: dict[CounterRef, tuple[array[int], list[int]]] | None = None

    def __len__(self) -> int:
        """Return how many events it holds, rejected ones among them."""
        return len(self._addends) + self.rejected

    @property
    def counters(self) -> int:
        """How many counters have a sum."""
        return len(self._sums)

    @property
    def sums(self) -> dict[CounterRef, int]:
        """What the events add to each counter; for a window that grows no more, or now and then."""
        self._sum_up()
        return self._sums

    def _sum_up(self) -> None:
        sums = self._sums
        for addend, times in self._once.items():
            sums[addend.ref] += addend.incr * times
        for addend, numbers in self._numbers.items():
            sums[addend.ref] += addend.incr * sum(numbers)
        self._once.clear()
        self._numbers.clear()
        self._unsummed = 0

    def add(
        self,
        offsets: Sequence[int],
        addends: Sequence[Addend],
        times: Sequence[int] | None = None,
    ) -> None:
        """Add events; offsets ascend within a window, gaps are usual.

        Each adds its addend once, or as many times as ``times`` says.
        """
        if not len(offsets) == len(addends) == len(addends if times is None else times):
            raise ValueError("an addend an offset, and a number of times or none")
        if not offsets:
            return
        self._cover(offsets[0], offsets[-1])
        self._keep(offsets, addends, times)
        found: dict[Addend, Any] = self._once if times is None else self._numbers
        known = len(found)
        if times is None:
            self._once.update(addends)
        else:  # all in C: a loop that adds each number would cost twice as much
            deque(map(list.append, map(self._numbers.__getitem__, addends), times), maxlen=0)
        new = list(islice(reversed(found), len(found) - known))
        for addend in reversed(new):
            self._sums.setdefault(addend.ref, 0)
        self._unsummed += len(addends)
        if self._unsummed >= _UNSUMMED:
            self._sum_up()

    def _keep(
        self, offsets: Sequence[int], addends: Sequence[Addend], times: Sequence[int] | None
    ) -> None:
        if isinstance(offsets, range) and len(offsets) >= _LONG:
            self._offsets.append(offsets)
        elif self._offsets and isinstance(self._offsets[-1], array):
            self._offsets[-1].extend(offsets)
        else:
            self._offsets.append(array("q", offsets))
        if times is not None and self._times is None:
            self._times = [1] * len(self._addends)
        if self._times is not None:
            self._times.extend(repeat(1, len(addends)) if times is None else times)
        self._addends.extend(addends)

    def reject(self, offset: int) -> None:
        """Take an offset in whose event is a dead letter: it must not be committed before that."""
        self._cover(offset, offset)
        self.rejected += 1

    def _cover(self, first: int, last: int) -> None:
        if self.first < 0 or first < self.first:
            self.first = first
        self.last = max(self.last, last)

    def events(self) -> Iterator[tuple[int, CounterRef, int]]:
        """Yield the offset, the counter and the increment of each event, in order."""
        offsets = chain.from_iterable(self._offsets)
        times = repeat(1, len(self._addends)) if self._times is None else self._times
        for offset, addend, number in zip(offsets, self._addends, times, strict=True):
            yield offset, addend.ref, addend.incr * number

    def offsets_of(self, wanted: Mapping[CounterRef, int]) -> dict[int, Increment]:
        """Return, by offset, the increments of some counters, each from the given offset on."""
        never = self.last + 1
        return {o: (ref, incr) for o, ref, incr in self.events() if o >= wanted.get(ref, never)}

    def above(self, refs: Iterable[CounterRef], offset: int) -> tuple[dict[CounterRef, int], int]:
        """Return what the events of some counters above an offset add, and how many are not above.

        A counter without such an event is left out. For a full window: it must not grow any more.
        """
        if self._events_of is None:
            self._events_of = self._indexed()
        sums, below = {}, 0
        for ref in refs:
            if ref in self._events_of:
                offsets, incrs = self._events_of[ref]
                start = bisect_right(offsets, offset)
                below += start
                if start < len(offsets):
                    sums[ref] = sum(incrs[start:])
        return sums, below

    def _indexed(self) -> "dict[CounterRef, tuple[array[int], list[int]]]":
        # Most windows meet no fence, so this is made for the first that does. Request threads may
        # make it at the same time: they make the same.
        found: dict[CounterRef, tuple[array[int], list[int]]] = {}
        for offset, ref, incr in self.events():
            if ref not in found:
                found[ref] = (array("q"), [])
            offsets, incrs = found[ref]
            offsets.append(offset)
            incrs.append(incr)
        return found
