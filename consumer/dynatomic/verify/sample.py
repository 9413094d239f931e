"""A random choice of counters, made while their events are read. Pure."""

import heapq
from collections.abc import Callable
from hashlib import blake2b

from dynatomic.events.row import CounterRef


class CounterSample:
    """A random choice of ``size`` counters: those whose keyed hashes are the smallest.

    A counter that is in the end among them has been so since its first event, so one pass and
    ``size`` counters of memory are enough.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self._heap: list[tuple[int, CounterRef]] = []
        self._chosen: set[CounterRef] = set()
        self._key = str(seed).encode()[:64]

    def takes(self, ref: CounterRef, evict: Callable[[CounterRef], None]) -> bool:
        """Tell whether a counter is among the chosen; ``evict`` is told one that no longer is."""
        if ref in self._chosen:
            return True
        text = "\0".join((ref.table, ref.name, ref.key, ref.range or ""))
        digest = blake2b(text.encode(), digest_size=8, key=self._key).digest()
        # The heap's first is the largest hash.
        entry = (-int.from_bytes(digest, "big"), ref)
        if len(self._heap) < self.size:
            heapq.heappush(self._heap, entry)
        elif entry <= self._heap[0]:
            return False
        else:
            _, out = heapq.heappushpop(self._heap, entry)
            self._chosen.discard(out)
            evict(out)
        self._chosen.add(ref)
        return True
