"""What the consumer is doing now, for people and for probes: read from the living objects.

The loop's thread calls `Status.ticked`; any other thread may read. What is read is whole numbers
and short lists, so the loop never waits for a reader.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.store import LetterStore
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.meter import Meter
from dynatomic.events.decoder import Decoder
from dynatomic.service.end_offsets import EndOffsetPoller
from dynatomic.telemetry.logs import LastProblem
from dynatomic.worker.causes import Stall
from dynatomic.worker.loop import Worker
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.partition import Partition

log = logging.getLogger(__name__)

SAMPLE_S, SAMPLES = 2.0, 300
LOG_INTERVAL_S = 60.0


@dataclass(frozen=True, slots=True)
class ServiceParts:
    """The objects that count; of a dry run some count nothing."""

    settings: Settings
    worker: Worker
    decoder: Decoder
    letters: LetterStore
    offsets: Offsets
    ends: EndOffsetPoller
    counters: Counters
    meter: Meter
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


class OwnedLag(NamedTuple):
    """How far a partition is behind: offsets, and the age of the oldest; None where not known."""

    events: int | None
    seconds: float | None


class CountedTotals(NamedTuple):
    """What was settled up to one moment (seconds of the monotonic clock)."""

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
    """Says whether the consumer is live and ready, and what it does; safe from any thread."""

    parts: ServiceParts
    last_problem: LastProblem = field(default_factory=LastProblem)
    stopping: bool = False
    _began: float = field(init=False)
    _samples: deque[HistoryPoint] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    _sampled: float = float("-inf")
    _logged_totals: CountedTotals | None = None
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self._began = self.parts.clock()

    def after_tick(self) -> None:
        """Ask the brokers where the topic ends, and keep a sample, where it is time to."""
        parts = self.parts
        worker, now = parts.worker, parts.clock()
        parts.ends.poll(worker.partitions)
        if now - self._sampled < SAMPLE_S:
            return
        self._sampled = now
        self._log_counts(now)
        lag = sum(each.events or 0 for each in self.lags().values())
        counters = worker.settlement.tally.counters
        with self._lock:
            self._samples.append(HistoryPoint(parts.wall(), worker.events, counters, lag))

    def _log_counts(self, now: float) -> None:
        """Log what was counted since it was logged last, once a minute."""
        tally = self.parts.worker.settlement.tally
        counted = CountedTotals(now, tally.windows, tally.events, tally.counters)
        before = self._logged_totals or counted._replace(windows=0, events=0, counters=0)
        if self._logged_totals is None or now - before.time >= LOG_INTERVAL_S:
            self._logged_totals = counted
            if counted.windows > before.windows:
                fields = {
                    "seconds": round(now - before.time),
                    "windows": counted.windows - before.windows,
                    "events": counted.events - before.events,
                    "counters": counted.counters - before.counters,
                }
                log.info("counted", extra={"fields": fields})

    def stalls(self) -> list[Stall]:
        """Return all that makes no progress though events wait; nothing while it shuts down."""
        if self.stopping:
            return []
        after_s = self.parts.settings.progress_timeout_ms / 1000
        return self.parts.worker.progress.stalls(self.parts.clock(), after_s)

    @property
    def ready(self) -> bool:
        """Whether it is in the group and able to work, with a partition or as a spare."""
        worker = self.parts.worker
        return not self.stopping and (worker.progress.brokers.has_joined or bool(worker.partitions))

    def lags(self) -> dict[int, OwnedLag]:
        """Return how far each partition is behind."""
        return {p.id: self._lag(p) for p in list(self.parts.worker.partitions.values())}

    def _lag(self, partition: Partition) -> OwnedLag:
        watch = self.parts.worker.progress
        end = max(watch.brokers.end_offsets.get(partition.id, -1), partition.position)
        start = partition.start_offset if partition.start_offset is not None else -1
        base = max(partition.committed_offset, start)
        base = partition.first_read_offset if base < 0 else base
        if min(base, end) < 0:
            return OwnedLag(None, None)
        lag = max(0, end - base)
        return OwnedLag(lag, self._age(partition) if lag else 0.0)

    def _age(self, partition: Partition) -> float | None:
        """Return the age of the oldest event that is not committed, if its timestamp is known."""
        born = partition.oldest_timestamp_ms()
        return max(0.0, self.parts.wall() - born / 1000) if born > 0 else None

    def report(self) -> dict[str, Any]:
        """Return all of it, as JSON takes it."""
        parts, worker = self.parts, self.parts.worker
        tally = worker.settlement.tally
        stuck = self.stalls()
        with self._lock:
            samples = list(self._samples)
        return {
            "state": "stopping" if self.stopping else "running",
            "live": not stuck,
            "ready": self.ready,
            "stuck": [stall_fields(each) for each in stuck],
            "uptime_seconds": round(parts.clock() - self._began, 1),
            "topic": parts.settings.topic,
            "group": parts.settings.group_id,
            "tables": list(parts.settings.tables),
            "processing_guarantee": parts.settings.processing_guarantee,
            "window_ms": parts.settings.window_ms,
            "partitions": [self._partition(p, lag) for p, lag in self._owned()],
            "events": worker.events,
            "windows": tally.windows,
            "window_events": tally.events,
            "writes": tally.counters,
            "events_per_write": _ratio(tally.events, tally.counters),
            "payload_cache_hit_ratio": _ratio(worker.events - parts.decoder.decodes, worker.events),
            "suppressed": worker.settlement.tally.suppressed,
            "dead_letters": dict(tally.letters),
            "dead_letters_held": parts.letters.pending,
            "throttles": sum(dict(parts.meter.throttles).values()),
            "write_units": sum(dict(parts.counters.units.by_table).values()),
            "commits": dict(parts.offsets.commits),
            "last_commit": parts.offsets.last_commit or None,
            "rebalances": dict(worker.rebalances),
            "last_trouble": self.last_problem.last,
            "history": [list(each) for each in samples],
        }

    def _owned(self) -> list[tuple[Partition, OwnedLag]]:
        owned = sorted(self.parts.worker.partitions.values(), key=lambda each: each.id)
        return [(each, self._lag(each)) for each in owned]

    def _partition(self, partition: Partition, lag: OwnedLag) -> Mapping[str, Any]:
        end = self.parts.worker.progress.brokers.end_offsets.get(partition.id, -1)
        state = "paused" if partition.is_paused else "reading"
        return {
            "partition": partition.id,
            "state": "stopped" if partition.stop_reason else state,
            "position": _known(partition.position),
            "committed": _known(max(partition.committed_offset, partition.start_offset or -1)),
            "end": _known(max(end, partition.position)),
            "lag": lag.events,
            "age_seconds": None if lag.seconds is None else round(lag.seconds, 1),
            "held_events": partition.held_events(),
        }


def stall_fields(stuck: Stall) -> dict[str, Any]:
    """Return one thing that is stuck, as JSON takes it."""
    return {
        "cause": stuck.cause.word,
        "partition": stuck.partition,
        "seconds": round(stuck.seconds),
        "detail": stuck.detail,
        "do": stuck.cause.hint,
    }


def _known(offset: int) -> int | None:
    return offset if offset >= 0 else None


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
