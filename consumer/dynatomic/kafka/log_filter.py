"""Log filters for librdkafka, which repeats its lines, and whose texts vary."""

import logging
import math
import re
import time
from collections.abc import Callable

_MILLISECONDS = re.compile(r"\d+(?=ms\b)")
_MAX_LINES = 1000  # different lines that the filter remembers


class RateLimitFilter(logging.Filter):
    """Passes the same line once in ``every_s`` seconds, and every debug line.

    librdkafka logs an unreachable broker four times a second.
    """

    def __init__(self, every_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s = every_s
        self._clock = clock
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is new, or was last passed ``every_s`` seconds ago."""
        if record.levelno <= logging.DEBUG:
            return True
        text, now = _MILLISECONDS.sub("", record.getMessage()), self._clock()
        if now < self._last.get(text, -math.inf) + self._every_s:
            return False
        if len(self._last) >= _MAX_LINES:
            self._last.clear()
        self._last[text] = now
        return True


CLIENT_MESSAGE = "message of the Kafka client"
_CLIENT_FORMAT, _CLIENT_ARGUMENTS = "%s [%s] %s", 3  # as confluent-kafka calls a logger


class ClientMessageFilter(logging.Filter):
    """Passes every line, and gives those of librdkafka a fixed event and fields.

    The message stays: a program that uses the library may have its own log format.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the event and the fields to a line of librdkafka, and return True."""
        arguments = record.args
        if (
            record.msg == _CLIENT_FORMAT
            and isinstance(arguments, tuple)
            and len(arguments) == _CLIENT_ARGUMENTS
        ):
            kind, client, text = arguments
            record.event = CLIENT_MESSAGE
            record.fields = {"kind": kind, "client": client, "text": text}
        return True
