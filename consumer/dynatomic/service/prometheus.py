"""The metrics, read from the living objects when Prometheus asks. Knows prometheus-client."""

import platform
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from confluent_kafka import libversion
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from dynatomic.dynamodb.meter import OUTCOMES
from dynatomic.events.row import Reason
from dynatomic.service.status import Status
from dynatomic.telemetry import metrics as t
from dynatomic.telemetry.durations import BUCKETS, Durations
from dynatomic.telemetry.metrics import Kind, Metric
from dynatomic.worker.causes import Cause

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Metrics(Collector):
    """Reads a `Status`; until there is one, it says only what runs, and that no letter was sent.

    Prometheus sees an increase only from a sample that it has, so the letters begin with 0.
    """

    def __init__(self, version: str, guarantee: str) -> None:
        self.status: Status | None = None
        self._build = (version, platform.python_version(), libversion()[0], guarantee)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in the format that is asked for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def describe(self) -> Iterable[Family]:
        """Return nothing: it lets the registry take this in without reading it."""
        return ()

    def collect(self) -> Iterator[Family]:
        """Yield every metric."""
        yield _family(t.BUILD_INFO, {self._build: 1})
        status = self.status
        if status is None:
            yield _letters({})
            return
        yield from _events(status)
        yield from _dynamodb(status)
        yield from _kafka(status)
        yield from _progress(status)


def _events(status: Status) -> Iterator[Family]:
    parts, worker = status.parts, status.parts.worker
    tally = worker.settlement.tally
    yield _family(t.EVENTS, worker.events)
    yield _family(t.WINDOWS, tally.windows)
    yield _family(t.WINDOW_EVENTS, tally.events)
    yield _family(t.WINDOW_COUNTERS, tally.counters)
    yield _family(t.HELD_EVENTS, sum(p.held_events() for p in list(worker.partitions.values())))
    yield _family(t.PAYLOADS_DECODED, parts.decoder.decodes)
    yield _family(t.SUPPRESSED, worker.settlement.tally.suppressed)
    yield _letters(tally.letters)
    yield _family(t.LETTERS_HELD, parts.letters.pending)
    yield _histogram(
        t.PHASE,
        {
            "poll": worker.poll_durations,
            "decode": worker.decode_durations,
            "write": tally.write_durations,
            "commit": parts.offsets.commit_durations,
        },
    )


def _letters(counts: Mapping[str, int]) -> Family:
    letters = dict.fromkeys((reason.value for reason in Reason), 0) | dict(counts)
    return _family(t.LETTERS, {(reason,): count for reason, count in letters.items()})


def _dynamodb(status: Status) -> Iterator[Family]:
    meter, tables = status.parts.meter, status.parts.settings.tables
    requests = dict(meter.requests)
    pairs = [(table, outcome) for table in tables for outcome in OUTCOMES]
    yield _family(t.REQUESTS, {pair: requests.get(pair, 0) for pair in pairs})
    yield _histogram(t.REQUEST_DURATION, dict(meter.durations))
    yield _family(t.THROTTLES, {(table,): meter.throttles[table] for table in tables})
    units = status.parts.counters.units.by_table
    yield _family(t.WRITE_UNITS, {(table,): units[table] for table in tables})


def _kafka(status: Status) -> Iterator[Family]:
    offsets, worker = status.parts.offsets, status.parts.worker
    yield _family(t.COMMITS, {(word,): count for word, count in offsets.commits.items()})
    yield _family(t.LAST_COMMIT, offsets.last_commit)
    yield _family(t.ASSIGNED, len(worker.partitions))
    yield _family(t.REBALANCES, {(word,): count for word, count in worker.rebalances.items()})


def _progress(status: Status) -> Iterator[Family]:
    lags = {str(number): lag for number, lag in status.lags().items()}
    known = {(n,): lag.events for n, lag in lags.items() if lag.events is not None}
    yield _family(t.LAG_EVENTS, known)
    aged = {(n,): lag.seconds for n, lag in lags.items() if lag.seconds is not None}
    yield _family(t.LAG_SECONDS, aged)
    causes = {each.cause for each in status.stalls()}
    yield _family(t.STUCK, {(each.word,): int(each in causes) for each in Cause})
    beat = status.parts.worker.progress.beat
    yield _family(t.LOOP_AGE, 0.0 if beat is None else max(0.0, status.parts.clock() - beat))


def _family(metric: Metric, values: float | Mapping[Any, float]) -> Family:
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = kind(
        metric.name, metric.help, labels=metric.labels
    )
    for labels, value in values.items() if isinstance(values, Mapping) else [((), values)]:
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, values: Mapping[Any, Durations]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for label, durations in values.items():
        counts, total = durations.read()
        buckets, below = [], 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
            below += count
            buckets.append((bound, below))
        family.add_metric((label,), buckets=buckets, sum_value=total)
    return family
