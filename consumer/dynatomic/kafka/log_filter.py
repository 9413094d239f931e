"""A log filter for a library that repeats itself."""

import logging
import math
import re
import time
from collections.abc import Callable

_MILLISECONDS = re.compile(r"\d+(?=ms\b)")
_KEPT = 1000  # different lines that are remembered


class RateLimitFilter(logging.Filter):
    """Lets a line through once in ``every_s`` seconds; lines for debugging always.

    An unreachable broker makes librdkafka say so four times a second.
    """

    def __init__(self, every_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s = every_s
        self._clock = clock
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is new, or old enough to be said again."""
        if record.levelno <= logging.DEBUG:
            return True
        text, now = _MILLISECONDS.sub("", record.getMessage()), self._clock()
        if now < self._last.get(text, -math.inf) + self._every_s:
            return False
        if len(self._last) >= _KEPT:
            self._last.clear()
        self._last[text] = now
        return True
