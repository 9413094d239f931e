"""The logs: lines on stderr, for people on a terminal and as JSON everywhere else.

One idiom in all modules::

    logger = logging.getLogger(__name__)
    logger.info("window written", extra={"fields": {"partition": 3, "events": 1000}})

The message is a fixed sentence, what varies goes into the fields. A JSON line has ``time``,
``level``, ``event`` and the fields; ``error`` is the exception with its traceback. A line for
people has the text of ``extra["sentence"]`` in place of message and fields, if that is given.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self, TextIO

_ROOT = "dynatomic"


def setup(level: str = "info", stream: TextIO | None = None, *, for_people: bool = False) -> None:
    """Send the logs to ``stream`` (stderr): this package's from ``level`` on, others' warnings.

    Lines are text on a terminal, and with ``for_people`` everywhere. A second call replaces the
    first.
    """
    stream = stream or sys.stderr
    handler = _Handler(stream)
    handler.setFormatter(_Text() if for_people or stream.isatty() else _Json())
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(_ROOT).setLevel(level.upper())
    logging.captureWarnings(capture=True)


class RateLimiter:
    """Returns True at the first call, and then once in ``seconds``: limits repeated lines."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next = float("-inf")

    def __call__(self) -> bool:
        """Return whether the time has passed."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True


class LastProblem(logging.Handler):
    """Keeps the last warning or error of this package in ``last``: time, level, event, fields."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last: dict[str, object] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.last = {
            "time": record.created,
            "level": record.levelname.lower(),
            "event": _event(record),
            "fields": {key: _text(value) for key, value in _fields(record).items()},
        }

    def __enter__(self) -> Self:
        """Start to listen."""
        logging.getLogger(_ROOT).addHandler(self)
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop listening."""
        logging.getLogger(_ROOT).removeHandler(self)


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's name
        """Ignore the error: a full disk or a closed pipe must not stop the counting."""


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": _event(record),
        }
        line |= {f"{key}_" if key in line else key: v for key, v in _fields(record).items()}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        try:
            return json.dumps(line, default=_text, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            return json.dumps({key: _text(value) for key, value in line.items()})


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        sentence = getattr(record, "sentence", None)
        parts = [f"{clock} {record.levelname.lower():7} {sentence or _event(record)}"]
        if sentence is None:
            parts += [f"{key}={_quoted(value)}" for key, value in _fields(record).items()]
        line = " ".join(parts)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


def _event(record: logging.LogRecord) -> str:
    if isinstance(event := getattr(record, "event", None), str):
        return event  # of another library's line, whose text is in a field
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 -- another library's arguments may not fit its message
        return _text(record.msg)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 -- a log line never raises, also if ``str`` of a value does
        return f"<{type(value).__name__}>"


def _quoted(value: object) -> str:
    text = _text(value)
    return text if text.isprintable() and " " not in text and text else json.dumps(text)
