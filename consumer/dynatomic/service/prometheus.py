"""The metrics of `telemetry.metrics` in the formats of Prometheus, built from snapshots."""

import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from confluent_kafka import libversion
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from dynatomic.counting.reasons import RejectReason
from dynatomic.events.row import Reason
from dynatomic.telemetry import metrics as t
from dynatomic.telemetry.durations import BUCKETS
from dynatomic.telemetry.metrics import Metric, MetricKind
from dynatomic.worker.causes import Cause, Stall
from dynatomic.worker.snapshot import ConsumerSnapshot, Histogram

if TYPE_CHECKING:
    from dynatomic.service.status import Status

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


_VERSION = re.compile(r"version=([^;]*)", re.IGNORECASE)
_KNOWN_VERSIONS = {"0.0.1", "0.0.4", "1.0.0"}


class Metrics(Collector):
    """Collects the metrics of a `Status`.

    While there is none, it has the build information, and the dead letters at 0: Prometheus sees
    an increase only from a sample that it has.
    """

    def __init__(self, version: str, guarantee: str, topic: str, group: str) -> None:
        self._labels = {"topic": topic, "group": group}
        self.status: Status | None = None
        self._build = (version, platform.python_version(), libversion()[0], guarantee)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in a format that an Accept header allows, and its content type."""
        encode, content_type = choose_encoder(_known_formats(accept))
        return encode(self._registry), content_type

    def describe(self) -> Iterable[Family]:
        """Return nothing, so that the registry does not collect when this is registered."""
        return ()

    def collect(self) -> Iterator[Family]:
        """Yield every metric, with the labels ``topic`` and ``group``."""
        for family in self._families():
            family.samples = [
                sample._replace(labels=self._labels | sample.labels) for sample in family.samples
            ]
            yield family

    def _families(self) -> Iterator[Family]:
        yield _family(t.BUILD_INFO, {self._build: 1})
        status = self.status
        if status is None:
            yield _letters({})
            return
        snapshot = status.take_snapshot()
        yield from _events(snapshot)
        yield from _dynamodb(snapshot)
        yield from _kafka(snapshot)
        yield from _progress(snapshot, status.stalls_in(snapshot), status.waits_in(snapshot))


def _known_formats(accept: str) -> str:
    """Return the parts of an Accept header that `choose_encoder` can parse and produce."""
    return ",".join(
        media_range
        for media_range in accept.split(",")
        if set(_VERSION.findall(media_range)) <= _KNOWN_VERSIONS
    )


def _events(snapshot: ConsumerSnapshot) -> Iterator[Family]:
    yield _family(t.EVENTS, snapshot.events)
    yield _family(t.WINDOWS, snapshot.windows)
    yield _family(t.WINDOW_EVENTS, snapshot.window_events)
    yield _family(t.WINDOW_COUNTERS, snapshot.window_counters)
    yield _family(t.HELD_EVENTS, snapshot.held_events)
    yield _family(t.PAYLOADS_DECODED, snapshot.payloads_decoded)
    yield _family(t.SUPPRESSED, snapshot.suppressed_events)
    yield from _event_counts(snapshot)
    yield _letters(snapshot.dead_letters)
    yield _family(t.LETTERS_HELD, snapshot.dead_letters_pending)
    yield _histogram(t.PHASE, {(phase,): d for phase, d in snapshot.phase_durations.items()})


def _event_counts(snapshot: ConsumerSnapshot) -> Iterator[Family]:
    counts = {str(id_): counts for id_, counts in snapshot.event_counts.items()}
    yield _family(t.PARTITION_READ, {(id_,): partition.read for id_, partition in counts.items()})
    outcomes = {
        (id_, outcome): value
        for id_, partition in counts.items()
        for outcome, value in (
            ("counted", partition.counted),
            ("suppressed", partition.suppressed),
            ("dead-letter", partition.dead_letters),
            ("unmatched", partition.unmatched),
            ("tombstone", partition.tombstones),
            ("abandoned", partition.abandoned),
        )
    }
    yield _family(t.PARTITION_EVENTS, outcomes)
    unaccounted = {(str(id_),): value for id_, value in snapshot.unaccounted_events.items()}
    yield _family(t.UNACCOUNTED, unaccounted)


def _letters(counts: Mapping[str, int]) -> Family:
    reasons = (reason.value for reason in (*Reason, *RejectReason))
    letters = dict.fromkeys(reasons, 0) | dict(counts)
    return _family(t.LETTERS, {(reason,): count for reason, count in letters.items()})


def _dynamodb(snapshot: ConsumerSnapshot) -> Iterator[Family]:
    yield _family(t.REQUESTS, snapshot.requests)
    yield _histogram(t.REQUEST_DURATION, snapshot.request_durations)
    yield _family(t.THROTTLES, _by_label(snapshot.throttles))
    yield _family(t.UNKNOWN_OUTCOMES, _by_label(snapshot.unknown_outcomes))
    yield _family(t.WRITE_UNITS, _by_label(snapshot.write_units))


def _kafka(snapshot: ConsumerSnapshot) -> Iterator[Family]:
    yield _family(t.COMMITS, _by_label(snapshot.commits))
    yield _family(t.LAST_COMMIT, snapshot.last_commit_time)
    yield _family(t.ASSIGNED, len(snapshot.partitions))
    yield _family(t.REBALANCES, _by_label(snapshot.rebalances))


def _progress(
    snapshot: ConsumerSnapshot, stalls: tuple[Stall, ...], waits: tuple[Stall, ...]
) -> Iterator[Family]:
    lag_offsets = {(str(p.id),): p.lag_offsets for p in snapshot.partitions}
    lag_seconds = {(str(p.id),): p.lag_seconds for p in snapshot.partitions}
    stopped = sum(p.state == "stopped" for p in snapshot.partitions)
    yield _family(t.STOPPED, stopped)
    yield _family(t.LAG_EVENTS, _known(lag_offsets))
    yield _family(t.LAG_SECONDS, _known(lag_seconds))
    transactions = {(str(p.id),): p.transaction_offsets for p in snapshot.partitions}
    yield _family(t.TRANSACTION_OFFSETS, transactions)
    yield _family(t.STUCK, _by_cause(stalls))
    yield _family(t.WAITING, _by_cause(waits))
    yield _family(t.LOOP_AGE, snapshot.loop_age_seconds or 0.0)


def _by_cause(stalls: Iterable[Stall]) -> dict[tuple[str], float]:
    causes = {stall.cause for stall in stalls}
    return {(cause.word,): int(cause in causes) for cause in Cause}


def _by_label(values: Mapping[str, float]) -> dict[tuple[str], float]:
    return {(label,): value for label, value in values.items()}


def _known(values: Mapping[Any, float | None]) -> dict[Any, float]:
    return {labels: value for labels, value in values.items() if value is not None}


def _family(metric: Metric, values: float | Mapping[Any, float]) -> Family:
    kind = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = kind(
        metric.name, metric.help, labels=metric.labels
    )
    for labels, value in values.items() if isinstance(values, Mapping) else [((), values)]:
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, values: Mapping[Any, Histogram]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, (counts, total) in values.items():
        buckets, below = [], 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
            below += count
            buckets.append((bound, below))
        family.add_metric(labels, buckets=buckets, sum_value=total)
    return family
