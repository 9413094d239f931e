"""When a window is full: memory is bounded by settings, not by the backlog. Pure."""

from dataclasses import dataclass

from dynatomic.config.settings import Settings
from dynatomic.worker.partition import Pending

BATCH = 10_000
"""Most messages that one poll brings."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of the settings, shared by ``owned`` partitions.

    There are two windows a partition, and each may be one short of full when a poll comes: what a
    poll may bring is kept free in each.
    """

    settings: Settings
    owned: int

    def poll(self) -> int:
        """Return how many messages one poll may bring."""
        most = self.settings
        return min(map(self._free, (most.window_max_events, most.window_max_counters)))

    def due(self, filling: Pending, now: float) -> bool:
        """Tell whether a window has reached its age or its share."""
        aged = now - filling.since >= self.settings.window_ms / 1000
        return bool(len(filling.window)) and (aged or self.full(filling))

    def full(self, filling: Pending) -> bool:
        """Tell whether a window has reached its share of events or counters."""
        window, most = filling.window, self.settings
        full = len(window) >= self._share(most.window_max_events)
        return full or window.counters >= self._share(most.window_max_counters)

    def _half(self, most: int) -> int:
        return max(1, most // (2 * max(1, self.owned)))

    def _free(self, most: int) -> int:
        return max(1, min(BATCH, self._half(most) // 2))

    def _share(self, most: int) -> int:
        return max(1, self._half(most) - self._free(most))
