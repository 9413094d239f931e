"""What happened in the last seconds: the rates of each table, and the age of the activity."""

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from dynatomic.worker.snapshot import ConsumerSnapshot

RECENT_S = 30.0


class TableTotals(NamedTuple):
    """Totals of the requests to one table since the start; ``seconds`` is their whole duration."""

    ok: int
    throttled: int
    failed: int
    write_units: float
    seconds: float

    @property
    def requests(self) -> int:
        """All requests."""
        return self.ok + self.throttled + self.failed


def table_totals(snapshot: ConsumerSnapshot) -> dict[str, TableTotals]:
    """Return the totals of each table."""
    durations: dict[str, float] = {}
    for (table, _), (_, seconds) in snapshot.request_durations.items():
        durations[table] = durations.get(table, 0.0) + seconds
    requests = snapshot.requests
    return {
        table: TableTotals(
            ok=requests[table, "ok"],
            throttled=requests[table, "throttled"],
            failed=requests[table, "refused"] + requests[table, "failed"],
            write_units=units,
            seconds=durations.get(table, 0.0),
        )
        for table, units in snapshot.write_units.items()
    }


class RecentRequests:
    """Keeps the totals of the last `RECENT_S` seconds, and computes the rates from them."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, dict[str, TableTotals]]] = deque()

    def add(self, now: float, snapshot: ConsumerSnapshot) -> None:
        """Keep the totals of a moment; at least one older moment stays."""
        self._seen.append((now, table_totals(snapshot)))
        while len(self._seen) > 2 and self._seen[1][0] <= now - RECENT_S:  # noqa: PLR2004 - two are compared
            self._seen.popleft()

    def rates(self, now: float, snapshot: ConsumerSnapshot) -> list[dict[str, Any]]:
        """Return for each table the rates a second since the oldest moment that is kept."""
        started, before = self._seen[0] if self._seen else (now, {})
        seconds = max(now - started, 1e-9)
        return [
            _rates(table, totals, before.get(table, totals), seconds, snapshot.in_flight)
            for table, totals in table_totals(snapshot).items()
        ]


def _rates(
    table: str,
    totals: TableTotals,
    before: TableTotals,
    seconds: float,
    in_flight: Mapping[str, int],
) -> dict[str, Any]:
    requests = totals.requests - before.requests
    return {
        "table": table,
        "requests_per_second": round(requests / seconds, 2),
        "throttled_per_second": round((totals.throttled - before.throttled) / seconds, 2),
        "failed_per_second": round((totals.failed - before.failed) / seconds, 2),
        "write_units_per_second": round((totals.write_units - before.write_units) / seconds, 2),
        "latency_ms": (
            round((totals.seconds - before.seconds) / requests * 1000, 1) if requests else None
        ),
        "in_flight": in_flight.get(table, 0),
    }


class ActivityTimer:
    """Measures how long the activity has been the same."""

    def __init__(self) -> None:
        self._text = ""
        self._since = 0.0

    def seconds(self, text: str, now: float) -> float:
        """Return for how long the activity has had this text."""
        if text != self._text:
            self._text, self._since = text, now
        return now - self._since
