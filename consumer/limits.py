"""When a window is full: memory is bounded by settings, not by the backlog. Pure."""

from dataclasses import dataclass

from consumer.partition import Pending
from consumer.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of the settings, shared by ``owned`` partitions.

    There are two windows a partition, and each may be one short of full when a poll comes. So a
    window's share is a quarter of its partition's, and so is what one poll may bring to it.
    """

    settings: Settings
    owned: int

    def poll(self) -> int:
        """Return how many messages one poll may bring."""
        most = self.settings
        return min(map(self._share, (most.window_max_events, most.window_max_counters)))

    def due(self, filling: Pending, now: float) -> bool:
        """Tell whether a window has reached its age or its share."""
        aged = now - filling.since >= self.settings.window_ms / 1000
        return bool(len(filling.window)) and (aged or self.full(filling))

    def full(self, filling: Pending) -> bool:
        """Tell whether a window has reached its share of events or counters."""
        window, most = filling.window, self.settings
        full = len(window) >= self._share(most.window_max_events)
        return full or len(window.sums) >= self._share(most.window_max_counters)

    def _share(self, most: int) -> int:
        return max(1, most // (4 * max(1, self.owned)))
