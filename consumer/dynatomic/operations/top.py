"""``dynatomic top``: the lag of a group, updated, with rates; the largest lag first."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from dynatomic.config.settings import Settings
from dynatomic.console import UNKNOWN, duration, live_display, printable, table_lines
from dynatomic.errors import UnavailableError
from dynatomic.operations.lag import GroupLag, PartitionLag, lag_reader, member_name

RATE_S = 10.0
_HEADINGS = (*("PARTITION", "LAG", "AGE", "CONSUMED/S", "PRODUCED/S", "DRAIN", "MEMBER", "NOTE"),)
_RIGHT_ALIGNED = set(range(6))
_MAX_MEMBER_WIDTH = 24


class Rates(NamedTuple):
    """Offsets a second that the group committed and that producers added; None if unknown."""

    consumed: float | None = None
    produced: float | None = None

    def drain_s(self, lag: int | None) -> float | None:
        """Return the seconds until the lag is 0; None if it is not known or does not fall."""
        if lag == 0:
            return 0.0
        if lag is None or self.consumed is None or self.produced is None:
            return None
        return lag / (self.consumed - self.produced) if self.consumed > self.produced else None


class _OffsetSample(NamedTuple):
    at: float
    offsets: dict[int, tuple[int | None, int | None]]


@dataclass(slots=True)
class History:
    """The offsets of the last seconds. A group commits in steps, so one interval is too short."""

    _seen: deque[_OffsetSample] = field(default_factory=deque)

    def add(self, lag: GroupLag) -> None:
        """Add the offsets of one reading; at least one older reading stays."""
        partition_rows = (row for row in lag.rows if row.partition is not None)
        offsets = {
            row.partition: (row.current_offset, row.log_end_offset) for row in partition_rows
        }
        self._seen.append(
            _OffsetSample(lag.at, {n: o for n, o in offsets.items() if n is not None})
        )
        while len(self._seen) > 2 and self._seen[1].at <= lag.at - RATE_S:  # noqa: PLR2004 - two are compared
            self._seen.popleft()

    def rates(self, partition: int) -> Rates:
        """Return the rates of a partition; none if offsets went back, as after a reset."""
        return Rates(*(_rate(list(self._known(partition, which))) for which in (0, 1)))

    def _known(self, partition: int, which: int) -> Iterator[tuple[float, int]]:
        for at, offsets in self._seen:
            offset = offsets.get(partition, (None, None))[which]
            if offset is not None:
                yield at, offset


def _rate(seen: list[tuple[float, int]]) -> float | None:
    if not seen:
        return None
    (first_at, first), (last_at, last) = seen[0], seen[-1]
    return (last - first) / (last_at - first_at) if last_at > first_at and last >= first else None


def lines(settings: Settings, lag: GroupLag, history: History, clock: str) -> Iterator[str]:
    """Yield the lines of one update; ``clock`` is the time of day."""
    owners = {row.member for row in lag.rows if row.member is not None}
    members = [f"{len(owners)} members"] if owners else lag.remarks
    head = [f"group {settings.group_id}", f"topic {settings.topic}", clock, *members]
    rated = [(row, history.rates(row.partition)) for row in lag.rows if row.partition is not None]
    # A partition without a known lag comes first: it is worse than a large lag.
    rated.sort(key=lambda pair: (pair[0].lag is not None, -(pair[0].lag or 0)))
    rows = [_HEADINGS, _total(rated), *(_cells(row, rates) for row, rates in rated)]
    if not any(row[-1] for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    # The names in this line are chosen by clients, so it is made printable as the table is.
    yield from table_lines([["  ".join(head)]], set())
    yield from table_lines(rows, _RIGHT_ALIGNED)


def _cells(row: PartitionLag, rates: Rates) -> tuple[str, ...]:
    return (
        str(row.partition),
        _count(row.lag),
        duration(row.age_s),
        *(_count(rate) for rate in rates),
        duration(rates.drain_s(row.lag)),
        printable(member_name(row.member), _MAX_MEMBER_WIDTH),
        row.note,
    )


def _total(rated: list[tuple[PartitionLag, Rates]]) -> tuple[str, ...]:
    lags = [row.lag for row, _ in rated if row.lag is not None]
    ages = [row.age_s for row, _ in rated if row.age_s is not None]
    lag = sum(lags) if lags else None
    sums = Rates(
        _sum([rates.consumed for _, rates in rated]), _sum([rates.produced for _, rates in rated])
    )
    return (
        *("all", _count(lag), duration(max(ages, default=None))),
        *(_count(rate) for rate in sums),
        # The group has drained when its last partition has.
        duration(_last([rates.drain_s(row.lag) for row, rates in rated])),
        *("", ""),
    )


def _sum(rates: list[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


def _last(drains: list[float | None]) -> float | None:
    known = [drain for drain in drains if drain is not None]
    return max(known) if known and len(known) == len(drains) else None


def _count(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f}"


def top(
    settings: Settings,
    *,
    interval_s: float = 1.0,
    iterations: int | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> int:
    """Show the group every ``interval_s`` seconds, ``iterations`` times or without end; return 0.

    If brokers stop answering later, it waits for them. Raises ConfigError, and UnavailableError if
    they do not answer at the start.
    """
    history, lines_shown, rounds = History(), [""], 0
    with lag_reader(settings) as reader, live_display() as show:
        while True:
            started = clock()
            try:
                group_lag = reader.read()
            except UnavailableError as error:
                if lines_shown == [""]:
                    raise
                show([*lines_shown, f"not up to date: {error}"])
            else:
                history.add(group_lag)
                lines_shown = list(lines(settings, group_lag, history, time.strftime("%H:%M:%S")))
                show(lines_shown)
            rounds += 1
            if iterations is not None and rounds >= iterations:
                return 0
            sleep(max(0.0, started + interval_s - clock()))
