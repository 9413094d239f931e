"""What the consumer reports to people and probes. It is built from snapshots only.

The loop calls `Status.after_tick`; all else may be called on any thread.
"""

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any, NamedTuple

from dynatomic.config.settings import Settings
from dynatomic.kafka.client import own_client_id, this_process
from dynatomic.service.activity import activity
from dynatomic.service.recent import ActivityTimer, RecentRequests
from dynatomic.telemetry.log_events import LOG_EVENTS
from dynatomic.telemetry.logs import LastProblem
from dynatomic.worker.causes import Stall
from dynatomic.worker.snapshot import ConsumerSnapshot, PartitionSnapshot

log = logging.getLogger(__name__)

SAMPLE_INTERVAL_S, MAX_SAMPLES = 2.0, 300
LOG_INTERVAL_S = 60.0

NOT_READY_AFTER_S = 15.0
"""After how many seconds without an answer of any broker it is not ready. The restart of a broker
that is alone often takes less."""

_LOG_EVENTS = {event.event: event for event in LOG_EVENTS}
_ARN = re.compile(r"""arn:[^\s"']+""")


class CountedTotals(NamedTuple):
    """Totals of complete windows at one moment (seconds of the monotonic clock)."""

    time: float
    windows: int
    events: int
    counters: int


class HistoryPoint(NamedTuple):
    """Totals at one moment (Unix time)."""

    time: float
    events: int
    writes: int
    lag: int


@dataclass(slots=True)
class Status:
    """Whether the consumer is live and ready, and what it does.

    ``take_snapshot`` may be called on any thread. ``poll_brokers`` must not block. ``stopping``
    is set when the shutdown begins.
    """

    settings: Settings
    take_snapshot: Callable[[], ConsumerSnapshot]
    poll_brokers: Callable[[], None]
    clock: Callable[[], float] = time.monotonic
    unix_clock: Callable[[], float] = time.time
    last_problem: LastProblem = field(default_factory=LastProblem)
    stopping: bool = False
    _started_at: float = field(init=False)
    _samples: deque[HistoryPoint] = field(default_factory=lambda: deque(maxlen=MAX_SAMPLES))
    _sampled_at: float = float("-inf")
    _logged_totals: CountedTotals | None = None
    _recent: RecentRequests = field(default_factory=RecentRequests)
    _activity: ActivityTimer = field(default_factory=ActivityTimer)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self._started_at = self.clock()

    def after_tick(self) -> None:
        """Poll the brokers; keep a sample and log the totals, if it is time."""
        self.poll_brokers()
        now = self.clock()
        if now - self._sampled_at < SAMPLE_INTERVAL_S:
            return
        self._sampled_at = now
        snapshot = self.take_snapshot()
        self._log_totals(snapshot, now)
        point = HistoryPoint(
            self.unix_clock(), snapshot.events, snapshot.window_counters, snapshot.lag_offsets
        )
        text = self._activity_of(snapshot, self.stalls_in(snapshot))
        with self._lock:
            self._samples.append(point)
            self._recent.add(now, snapshot)
            self._activity.seconds(text, now)

    def _activity_of(self, snapshot: ConsumerSnapshot, stalls: tuple[Stall, ...]) -> str:
        return activity(
            snapshot, stalls, is_stopping=self.stopping, is_ready=self._is_ready(snapshot)
        )

    def _log_totals(self, snapshot: ConsumerSnapshot, now: float) -> None:
        """Log once a minute what was counted since the last such line."""
        totals = CountedTotals(
            now, snapshot.windows, snapshot.window_events, snapshot.window_counters
        )
        before = self._logged_totals or totals._replace(windows=0, events=0, counters=0)
        if self._logged_totals is not None and now - before.time < LOG_INTERVAL_S:
            return
        self._logged_totals = totals
        if totals.windows > before.windows:
            fields = {
                "seconds": round(now - before.time),
                "windows": totals.windows - before.windows,
                "events": totals.events - before.events,
                "counters": totals.counters - before.counters,
            }
            log.info("counted", extra={"fields": fields})

    def stalls_in(self, snapshot: ConsumerSnapshot) -> tuple[Stall, ...]:
        """Return what makes no progress though events wait; nothing during the shutdown."""
        return () if self.stopping else snapshot.stalls

    def waits_in(self, snapshot: ConsumerSnapshot) -> tuple[Stall, ...]:
        """Return what it waits for, and for how many seconds; nothing during the shutdown."""
        return () if self.stopping else snapshot.waits

    def stalls(self) -> tuple[Stall, ...]:
        """Return what makes no progress now."""
        return self.stalls_in(self.take_snapshot())

    @property
    def ready(self) -> bool:
        """Whether it is a member of the group and able to work, with or without a partition."""
        return self._is_ready(self.take_snapshot())

    def _is_ready(self, snapshot: ConsumerSnapshot) -> bool:
        is_member = snapshot.has_joined or bool(snapshot.partitions)
        has_broker = snapshot.brokers_silent_seconds < NOT_READY_AFTER_S
        return is_member and has_broker and not self.stopping

    def report(self) -> dict[str, Any]:
        """Return everything as values for JSON."""
        snapshot = self.take_snapshot()
        stalls = self.stalls_in(snapshot)
        text, now = self._activity_of(snapshot, stalls), self.clock()
        with self._lock:
            samples = list(self._samples)
            tables_now = self._recent.rates(now, snapshot)
            activity_seconds = self._activity.seconds(text, now)
        hits = snapshot.events - snapshot.payloads_decoded
        return {
            "state": "stopping" if self.stopping else "running",
            "activity": text,
            "activity_seconds": round(activity_seconds, 1),
            "process": this_process(),
            "client_id": self.settings.librdkafka.get("client.id", own_client_id(self.settings)),
            "tables_now": tables_now,
            "live": not stalls,
            "ready": self._is_ready(snapshot),
            "stuck": [stall_fields(stall) for stall in stalls],
            "waiting": [stall_fields(wait) for wait in self.waits_in(snapshot)],
            "uptime_seconds": round(self.clock() - self._started_at, 1),
            "topic": self.settings.topic,
            "group": self.settings.group_id,
            "tables": list(self.settings.tables),
            "processing_guarantee": self.settings.processing_guarantee,
            "window_ms": self.settings.window_ms,
            "partitions": [_partition_fields(partition) for partition in snapshot.partitions],
            "events": snapshot.events,
            "windows": snapshot.windows,
            "window_events": snapshot.window_events,
            "writes": snapshot.window_counters,
            "events_per_write": _ratio(snapshot.window_events, snapshot.window_counters),
            "payload_cache_hit_ratio": _ratio(hits, snapshot.events),
            "suppressed": snapshot.suppressed_events,
            "dead_letters": dict(snapshot.dead_letters),
            "dead_letters_held": snapshot.dead_letters_pending,
            "unaccounted_events": sum(snapshot.unaccounted_events.values()),
            "unknown_outcomes": sum(snapshot.unknown_outcomes.values()),
            "throttles": sum(snapshot.throttles.values()),
            "write_units": sum(snapshot.write_units.values()),
            "commits": dict(snapshot.commits),
            "last_commit": snapshot.last_commit_time or None,
            "rebalances": dict(snapshot.rebalances),
            "last_trouble": _with_meaning(_without_arns(self.last_problem.last)),
            "history": [list(point) for point in samples],
        }


def _partition_fields(partition: PartitionSnapshot) -> Mapping[str, Any]:
    age_seconds = partition.lag_seconds
    return {
        "partition": partition.id,
        "state": partition.state,
        "position": partition.position,
        "committed": partition.committed_offset,
        "end": partition.end_offset,
        "high_watermark": partition.high_watermark,
        "lag": partition.lag_offsets,
        "age_seconds": None if age_seconds is None else round(age_seconds, 1),
        "held_events": partition.held_events,
        "event_counts": asdict(partition.counts),
    }


def stall_fields(stall: Stall) -> dict[str, Any]:
    """Return a stall as values for JSON."""
    return {
        "cause": stall.cause.word,
        "partition": stall.partition,
        "seconds": round(stall.seconds),
        "detail": _without_arns(stall.detail),
        "do": stall.cause.hint,
    }


def _without_arns(value: Any) -> Any:
    """Replace ARNs: the endpoint has no login, and they name accounts, roles and sessions."""
    if isinstance(value, str):
        return _ARN.sub("[ARN: see the log]", value)
    if isinstance(value, dict):
        return {key: _without_arns(part) for key, part in value.items()}
    return value


def _with_meaning(problem: Any) -> Any:
    """Add what the log event means and what to do, and whether it is harmless."""
    event = _LOG_EVENTS.get(problem["event"]) if problem else None
    if event is None:
        return problem
    return problem | {
        "meaning": event.meaning,
        "do": event.action,
        "harmless": event.action.startswith("nothing"),
    }


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
