"""The time of an event, and the buckets of time that keys are made of.

Times are milliseconds of Unix time. Buckets follow UTC or a fixed offset: a named time zone
depends on the version of its database, so two machines could name two buckets for one event.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from dynatomic.counting.numbers import json_type
from dynatomic.counting.reasons import Rejected, RejectReason
from dynatomic.errors import ConfigError

BUCKETS: Final = ("minute", "hour", "day", "week", "month", "year")
UNITS_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MIN_MS: Final = int((datetime(1, 1, 3, tzinfo=UTC) - _EPOCH).total_seconds()) * 1000
_MAX_MS: Final = int((datetime(9998, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * 1000
_RFC3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_DURATION: Final = re.compile(r"(\d{1,6})(s|m|h|d)", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_OFFSET: Final = re.compile(r"([+-])(\d\d):(\d\d)", re.ASCII)
_PERIOD_MS: Final = {"minute": 60_000, "hour": 3_600_000}
_DAY_MS: Final = 86_400_000


def duration_s(text: str) -> int:
    """Return the seconds of a duration such as ``90s``, ``5m``, ``36h`` or ``400d``."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ConfigError(f"{text!r} is not a duration: a number with s, m, h or d, such as 35d")
    return int(match[1]) * _SECONDS[match[2]]


def utc_offset_ms(text: str) -> int:
    """Return the milliseconds of an offset such as ``+02:00``, or of ``UTC``."""
    if text == "UTC":
        return 0
    match = _OFFSET.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:  # noqa: PLR2004 - the clock's
        raise ConfigError(f"{text!r} is not UTC or an offset such as +02:00")
    offset = (int(match[2]) * 60 + int(match[3])) * 60_000
    return -offset if match[1] == "-" else offset


def time_reader(unit: str | None) -> Callable[[Any], int]:
    """Return the function that reads a time: RFC 3339 text, or a number of the given unit."""
    return read_rfc3339_ms if unit is None else lambda value: read_epoch_ms(value, unit)


def read_rfc3339_ms(value: Any) -> int:
    """Return the milliseconds of a time as RFC 3339 writes it; raises Rejected for others."""
    if value is None:
        raise Rejected(RejectReason.FIELD_MISSING, "")
    if type(value) is not str:
        raise Rejected(RejectReason.TIME_UNREADABLE, f"{json_type(value)}, not RFC 3339 text")
    return _rfc3339_ms(value)


@lru_cache(maxsize=4096)
def _rfc3339_ms(text: str) -> int:
    if not _RFC3339.fullmatch(text):
        raise Rejected(RejectReason.TIME_UNREADABLE, "not a time of RFC 3339 with its offset")
    head, _, fraction = text.partition(".")
    if fraction:
        digits = re.match(r"\d+", fraction)
        length = len(digits[0]) if digits else 0
        milliseconds = int(fraction[:length][:3].ljust(3, "0"))
        head += fraction[length:]
    else:
        milliseconds = 0
    try:
        moment = datetime.fromisoformat(head.upper().replace(" ", "T"))
        return _bounded((moment - _EPOCH) // timedelta(milliseconds=1) + milliseconds)
    except (ValueError, OverflowError):
        raise Rejected(RejectReason.TIME_UNREADABLE, "no such time in the calendar") from None


def read_epoch_ms(value: Any, unit: str) -> int:
    """Return the milliseconds of a number of Unix time; raises Rejected for what is none."""
    if value is None:
        raise Rejected(RejectReason.FIELD_MISSING, "")
    if type(value) not in {int, Decimal}:
        raise Rejected(RejectReason.TIME_UNREADABLE, f"{json_type(value)}, not a number")
    try:
        return _bounded(int(value * 1000 // UNITS_PER_SECOND[unit]))
    except ArithmeticError:
        raise Rejected(RejectReason.TIME_UNREADABLE, "not a time of this calendar") from None


def _bounded(time_ms: int) -> int:
    if not _MIN_MS <= time_ms <= _MAX_MS:
        raise Rejected(RejectReason.TIME_UNREADABLE, "not a time of this calendar")
    return time_ms


def bucket_function(bucket: str, offset_ms: int) -> Callable[[int], str]:
    """Return the function from a time to the name of its bucket.

    Names sort as times do: ``2026-11-29T00:50``, ``2026-11-29T00``, ``2026-11-29``,
    ``2026-W48`` (ISO 8601), ``2026-11`` and ``2026``.
    """
    period_ms = _PERIOD_MS.get(bucket, _DAY_MS)
    name = lru_cache(maxsize=4096)(lambda index: _name(bucket, index * period_ms))
    return lambda time_ms: name((time_ms + offset_ms) // period_ms)


def _name(bucket: str, local_ms: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=local_ms)
    if bucket == "week":
        year, week, _ = moment.isocalendar()
        return f"{year:04}-W{week:02}"
    length = {"minute": 16, "hour": 13, "day": 10, "month": 7, "year": 4}[bucket]
    return moment.isoformat()[:length]


def bucket_end_ms(bucket: str, offset_ms: int, time_ms: int) -> int:
    """Return the first millisecond after the bucket of a time."""
    local = time_ms + offset_ms
    if bucket in _PERIOD_MS:
        period = _PERIOD_MS[bucket]
        return (local // period + 1) * period - offset_ms
    day = (_EPOCH + timedelta(milliseconds=local // _DAY_MS * _DAY_MS)).date()
    if bucket == "day":
        end = day + timedelta(days=1)
    elif bucket == "week":
        end = day + timedelta(days=8 - day.isoweekday())
    elif bucket == "month":
        end = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    else:
        end = day.replace(year=day.year + 1, month=1, day=1)
    return (end - _EPOCH.date()).days * _DAY_MS - offset_ms
