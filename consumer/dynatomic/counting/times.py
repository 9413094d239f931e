"""The time of an event, and the buckets of time that keys are made of.

Times are milliseconds of Unix time. Buckets follow UTC or a fixed offset: a named time zone
depends on the version of its database, so two machines could name two buckets for one event.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from dynatomic.counting.numbers import json_type
from dynatomic.counting.reasons import EventRejected, RejectReason
from dynatomic.errors import ConfigError

BUCKETS: Final = ("minute", "hour", "day", "week", "month", "year")
UNITS_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
MINUTE_MS: Final = 60_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MIN_MS: Final = int((datetime(1, 1, 3, tzinfo=UTC) - _EPOCH).total_seconds()) * 1000
_MAX_MS: Final = int((datetime(9998, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * 1000
_RFC3339: Final = re.compile(r"(.{17})([0-5]\d)(\D.*)", re.ASCII)
_MINUTE: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):", re.ASCII)
_END: Final = re.compile(r"(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)
_MEMO_ENTRIES: Final = 4096
_DURATION: Final = re.compile(r"(\d{1,6})(s|m|h|d)", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_OFFSET: Final = re.compile(r"([+-])(\d\d):(\d\d)", re.ASCII)
_PERIOD_MS: Final = {"minute": MINUTE_MS, "hour": 3_600_000}
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
    offset = (int(match[2]) * 60 + int(match[3])) * MINUTE_MS
    return -offset if match[1] == "-" else offset


def time_reader(unit: str | None) -> Callable[[Any], int]:
    """Return the function that reads a time: RFC 3339 text, or a number of the given unit."""
    return read_rfc3339_ms if unit is None else lambda value: read_epoch_ms(value, unit)


def read_rfc3339_ms(value: Any) -> int:
    """Return the milliseconds of a time as RFC 3339 writes it; raises EventRejected for others."""
    if value is None:
        raise EventRejected(RejectReason.FIELD_MISSING, "")
    if type(value) is not str:
        raise EventRejected(RejectReason.TIME_UNREADABLE, f"{json_type(value)}, not RFC 3339 text")
    match = _RFC3339.fullmatch(value)
    if not match:
        raise EventRejected(RejectReason.TIME_UNREADABLE, "not a time of RFC 3339 with its offset")
    try:
        return _bounded(_minute_ms(match[1]) + int(match[2]) * 1000 + _end_ms(match[3]))
    except (ValueError, LookupError):
        raise EventRejected(RejectReason.TIME_UNREADABLE, "no such time in the calendar") from None


def _minute_ms(text: str) -> int:
    """Return the time of ``2026-11-29T00:50:``; raises ValueError if there is none."""
    match = _MINUTE.fullmatch(text)
    if not match:
        raise ValueError(text)
    moment = datetime(*map(int, match.groups()), tzinfo=UTC)  # type: ignore[misc,arg-type]
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _end_ms(text: str) -> int:
    """Return what the fraction and the offset after the seconds add: ``.123Z``, ``+02:00``."""
    match = _END.fullmatch(text)
    if not match or int(match[3] or 0) > 23 or int(match[4] or 0) > 59:  # noqa: PLR2004 - the clock's
        raise ValueError(text)
    offset_ms = (int(match[3] or 0) * 60 + int(match[4] or 0)) * MINUTE_MS
    fraction_ms = int((match[1] or "")[:3].ljust(3, "0"))
    return fraction_ms + (offset_ms if match[2] == "-" else -offset_ms)


class Memo(dict[str, int]):
    """Remembers what a function gives for a text. Raises KeyError where it raises ValueError."""

    def __init__(self, function: Callable[[str], int], max_length: int) -> None:
        super().__init__()
        self._function = function
        self._max_length = max_length

    def __missing__(self, text: str) -> int:
        try:
            value = self._function(text)
        except ValueError:
            raise KeyError(text) from None
        if len(text) <= self._max_length:
            if len(self) >= _MEMO_ENTRIES:
                self.clear()
            self[text] = value
        return value


def rfc3339_memos() -> tuple[Memo, dict[str, int], Memo]:
    """Return what the three parts of a time add: up to character 17, to 19, and the rest.

    Their sum is what `read_rfc3339_ms` returns. A part that is wrong, or whose year is the first
    or the last of the calendar, raises KeyError or TypeError.
    """

    def minute_ms(text: str) -> int:
        time_ms = _minute_ms(text)
        if not _MIN_MS + 2 * _DAY_MS <= time_ms <= _MAX_MS - 2 * _DAY_MS:
            raise ValueError(text)
        return time_ms

    seconds = {f"{second:02}": second * 1000 for second in range(60)}
    return Memo(minute_ms, 17), seconds, Memo(_end_ms, 11)


def read_epoch_ms(value: Any, unit: str) -> int:
    """Return the milliseconds of a number of Unix time; raises EventRejected for what is none."""
    if value is None:
        raise EventRejected(RejectReason.FIELD_MISSING, "")
    if type(value) not in {int, Decimal}:
        raise EventRejected(RejectReason.TIME_UNREADABLE, f"{json_type(value)}, not a number")
    try:
        return _bounded(int(value * 1000 // UNITS_PER_SECOND[unit]))
    except ArithmeticError:
        raise EventRejected(RejectReason.TIME_UNREADABLE, "not a time of this calendar") from None


def _bounded(time_ms: int) -> int:
    if not _MIN_MS <= time_ms <= _MAX_MS:
        raise EventRejected(RejectReason.TIME_UNREADABLE, "not a time of this calendar")
    return time_ms


def bucket_name(bucket: str, offset_ms: int, time_ms: int) -> str:
    """Return the name of the bucket of a time.

    Names sort as times do: ``2026-11-29T00:50``, ``2026-11-29T00``, ``2026-11-29``,
    ``2026-W48`` (ISO 8601), ``2026-11`` and ``2026``.
    """
    moment = _EPOCH + timedelta(milliseconds=time_ms + offset_ms)
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
