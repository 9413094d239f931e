"""Histograms of durations."""

from bisect import bisect_left
from collections.abc import Sequence
from threading import Lock

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histograms, in seconds."""


class Durations:
    """A histogram of seconds. Thread-safe."""

    __slots__ = ("_counts", "_lock", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0
        self._lock = Lock()

    def add(self, seconds: float) -> None:
        """Add a duration."""
        with self._lock:
            self._counts[bisect_left(BUCKETS, seconds)] += 1
            self._sum += seconds

    def read(self) -> tuple[Sequence[int], float]:
        """Return the number of durations in each bucket (the last has no bound), and their sum."""
        with self._lock:
            return tuple(self._counts), self._sum
