"""A random sample of counters, taken while the events are read. No client, no clock."""

import heapq
from collections.abc import Callable
from hashlib import blake2b

from dynatomic.events.row import CounterRef


class CounterSample:
    """A random sample of ``size`` counters: those with the smallest keyed hashes.

    A counter of the final sample was in the sample since its first event. So the topic is read
    once, and memory holds ``size`` counters.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self._heap: list[tuple[int, CounterRef]] = []
        self._chosen: set[CounterRef] = set()
        self._key = str(seed).encode()[:64]

    def takes(self, ref: CounterRef, evict: Callable[[CounterRef], None]) -> bool:
        """Return whether a counter is in the sample. ``evict`` gets a counter that it replaced."""
        if ref in self._chosen:
            return True
        text = "\0".join((ref.table, ref.name, ref.key, ref.range or ""))
        digest = blake2b(text.encode(), digest_size=8, key=self._key).digest()
        # Negated, so that the first of the heap is the largest hash.
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
