"""When a window is full: memory follows the settings, not the backlog. Pure."""

from dataclasses import dataclass

from dynatomic.config.settings import Settings
from dynatomic.worker.in_flight import InFlightWindow

MAX_POLL_MESSAGES = 10_000
"""The maximum number of messages of one poll."""


def reread_bytes(settings: Settings) -> int:
    """Return how many bytes of rejected events may be read again at once, for all partitions."""
    return max(1, settings.window_max_bytes // 16)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the settings, divided by the number of ``owned`` partitions.

    A partition has two windows. Each may be one event short of full before a poll, so the messages
    of one poll must still fit into each.
    """

    settings: Settings
    owned: int

    def poll_messages(self, bytes_per_message: float = 0.0) -> int:
        """Return how many messages one poll may return.

        ``bytes_per_message`` is the memory that recent messages added to windows.
        """
        maxima = (self.settings.window_max_events, self.settings.window_max_counters)
        messages = min(map(self._poll_share, maxima))
        bytes_share = self._half(self.settings.window_max_bytes) // 4
        return max(1, min(messages, int(bytes_share / max(1.0, bytes_per_message))))

    def is_due(self, filling: InFlightWindow, now: float) -> bool:
        """Return whether a window has reached its age or its share."""
        is_old = now - filling.opened_at >= self.settings.window_ms / 1000
        return bool(len(filling.window)) and (is_old or self.is_full(filling))

    def is_full(self, filling: InFlightWindow) -> bool:
        """Return whether a window has reached its share of events, counters or bytes."""
        window, settings = filling.window, self.settings
        bytes_share = self._half(settings.window_max_bytes) * 3 // 4
        return (
            len(window) >= self._window_share(settings.window_max_events)
            or window.counters >= self._window_share(settings.window_max_counters)
            or filling.size_bytes >= bytes_share
        )

    def _half(self, maximum: int) -> int:
        return max(1, maximum // (2 * max(1, self.owned)))

    def _poll_share(self, maximum: int) -> int:
        return max(1, min(MAX_POLL_MESSAGES, self._half(maximum) // 2))

    def _window_share(self, maximum: int) -> int:
        return max(1, self._half(maximum) - self._poll_share(maximum))
