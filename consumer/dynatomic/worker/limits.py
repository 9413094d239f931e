"""When a window is full: memory is bounded by settings, not by the backlog. Pure."""

from dataclasses import dataclass

from dynatomic.config.settings import Settings
from dynatomic.worker.partition import InFlightWindow

MAX_POLL_MESSAGES = 10_000
"""Most messages that one poll brings."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of the settings, shared by ``owned`` partitions.

    There are two windows a partition, and each may be one short of full when a poll comes: what a
    poll may bring is kept free in each.
    """

    settings: Settings
    owned: int

    def poll_messages(self) -> int:
        """Return how many messages one poll may bring."""
        most = self.settings
        return min(map(self._free, (most.window_max_events, most.window_max_counters)))

    def is_due(self, filling: InFlightWindow, now: float) -> bool:
        """Tell whether a window has reached its age or its share."""
        aged = now - filling.since >= self.settings.window_ms / 1000
        return bool(len(filling.window)) and (aged or self.is_full(filling))

    def is_full(self, filling: InFlightWindow) -> bool:
        """Tell whether a window has reached its share of events or counters."""
        window, most = filling.window, self.settings
        full = len(window) >= self._share(most.window_max_events)
        return full or window.counters >= self._share(most.window_max_counters)

    def _half(self, most: int) -> int:
        return max(1, most // (2 * max(1, self.owned)))

    def _free(self, most: int) -> int:
        return max(1, min(MAX_POLL_MESSAGES, self._half(most) // 2))

    def _share(self, most: int) -> int:
        return max(1, self._half(most) - self._free(most))
