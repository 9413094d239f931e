"""The sums of one partition between two offsets. Pure: no clock, no I/O, no Kafka."""

from array import array
from collections.abc import Iterable, Sequence
from itertools import compress

from consumer.decoder import Increment
from consumer.row import CounterRef


class Window:
    """What the events of one partition between ``first`` and ``last`` add to which counter.

    Every event's offset and increment stay here until the window is settled: what a fence
    refuses is summed again from them, and what the table refuses becomes dead letters by
    offset. That is 16 bytes an event, and the increments are shared where payloads repeat.
    """

    __slots__ = ("_increments", "_offsets", "first", "last", "rejected", "sums")

    def __init__(self) -> None:
        self.first = -1
        self.last = -1
        self.rejected = 0
        self.sums: dict[CounterRef, int] = {}
        self._offsets = array("q")
        self._increments: list[Increment] = []

    def __len__(self) -> int:
        """Return how many events it holds, rejected ones among them."""
        return len(self._offsets) + self.rejected

    def add(self, offsets: Sequence[int], increments: Iterable[Increment]) -> None:
        """Add events; offsets ascend within a window, gaps are usual."""
        if not offsets:
            return
        self._cover(offsets[0], offsets[-1])
        self._offsets.extend(offsets)
        before = len(self._increments)
        self._increments.extend(increments)
        if len(self._increments) != len(self._offsets):
            raise ValueError("an increment an offset")
        sums = self.sums
        for ref, incr in self._increments[before:] if before else self._increments:
            sums[ref] = sums.get(ref, 0) + incr

    def reject(self, offset: int) -> None:
        """Take an offset in whose event is a dead letter: it must not be committed before that."""
        self._cover(offset, offset)
        self.rejected += 1

    def _cover(self, first: int, last: int) -> None:
        if self.first < 0 or first < self.first:
            self.first = first
        self.last = max(self.last, last)

    def offsets_of(self, refs: Iterable[CounterRef]) -> dict[int, Increment]:
        """Return, by offset, the increments of the given counters."""
        wanted = set(refs)
        hits = [ref in wanted for ref, _ in self._increments]
        return dict(
            zip(compress(self._offsets, hits), compress(self._increments, hits), strict=True)
        )
