"""The metrics: name, kind, unit, labels and meaning of each.

`service.prometheus` exposes them, and docs/generate.py writes the table of the documentation. Names
follow the rules of Prometheus: one prefix, base units, ``_total`` for a counter. A label contains a
partition, a table of the settings or a word of a fixed list, never a value of an event.
"""

from dataclasses import dataclass
from enum import Enum


class MetricKind(Enum):
    """The metric types of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """The definition of one metric."""

    name: str
    kind: MetricKind
    unit: str
    help: str
    labels: tuple[str, ...] = ()


def _counter(name: str, unit: str, text: str, *labels: str) -> Metric:
    return Metric(f"dynatomic_{name}_total", MetricKind.COUNTER, unit, text, labels)


def _gauge(name: str, unit: str, text: str, *labels: str) -> Metric:
    return Metric(f"dynatomic_{name}", MetricKind.GAUGE, unit, text, labels)


def _histogram(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"dynatomic_{name}_seconds", MetricKind.HISTOGRAM, "seconds", text, labels)


BUILD_INFO = _gauge(
    "build_info",
    "1",
    "Always 1. The labels are the version and the settings.",
    "version",
    "python",
    "librdkafka",
    "processing_guarantee",
)
EVENTS = _counter("events", "events", "Events that were read, including rejected ones.")
WINDOWS = _counter(
    "windows", "windows", "Complete windows: written, and their dead letters stored."
)
WINDOW_EVENTS = _counter("window_events", "events", "Events of complete windows.")
WINDOW_COUNTERS = _counter(
    "window_counters", "counters", "Sums of complete windows: each is one addition to one counter."
)
HELD_EVENTS = _gauge(
    "held_events", "events", "Events in windows that are filling or being written."
)
PHASE = _histogram(
    "phase_duration",
    "poll: a call to consume, including the wait for events; decode: adding messages to windows; "
    "write: from the end of a window until it is complete; commit: until the broker answered.",
    "phase",
)
PAYLOADS_DECODED = _counter(
    "payloads_decoded", "payloads", "Payloads that were not in a cache and were decoded."
)
REQUESTS = _counter(
    "dynamodb_requests",
    "requests",
    "Requests to DynamoDB by outcome: ok, throttled (all or some statements), refused (no "
    "permission, no table), failed (time-out, server error, conflict). All but ok are sent again.",
    "table",
    "outcome",
)
REQUEST_DURATION = _histogram(
    "dynamodb_request_duration",
    "Requests to DynamoDB, from sending to the answer.",
    "table",
    "outcome",
)
THROTTLES = _counter(
    "dynamodb_throttles", "statements", "Statements that DynamoDB throttled.", "table"
)
UNKNOWN_OUTCOMES = _counter(
    "dynamodb_unknown_outcomes",
    "requests",
    "Requests whose writes may be in the table or not: the answer was lost, or was a server error. "
    "They are sent again. With at-least-once, each may add its sums once too often.",
    "table",
)
WRITE_UNITS = _counter(
    "dynamodb_write_units",
    "write units",
    "Write units that DynamoDB reported. DynamoDB Local reports none for batches.",
    "table",
)
SUPPRESSED = _counter(
    "fence_suppressed_events",
    "events",
    "Events that their counter already contained. A fence kept them from being counted twice.",
)
PARTITION_READ = _counter(
    "partition_events_read", "events", "Events read from each partition.", "partition"
)
PARTITION_EVENTS = _counter(
    "partition_events",
    "events",
    "Events of each partition by outcome: counted (in their counter), suppressed (in it before, "
    "refused by a fence), dead-letter (stored in the dead-letter topic), unmatched (no counter of "
    "the counters file takes it), tombstone (no payload), abandoned (dropped with a lost "
    "partition, its next owner reads them again).",
    "partition",
    "outcome",
)
UNACCOUNTED = _gauge(
    "unaccounted_events",
    "events",
    "Events that were read, are in no window and have no outcome. A value other than 0 that "
    "stays is a defect, and a counter may be wrong.",
    "partition",
)
LETTERS = _counter("dead_letters", "events", "Events sent to the dead-letter topic.", "reason")
LETTERS_HELD = _gauge("dead_letters_held", "events", "Dead letters that are not stored yet.")
COMMITS = _counter("commits", "commits", "Commits of offsets: ok, failed.", "outcome")
LAST_COMMIT = _gauge(
    "last_commit_timestamp_seconds", "seconds", "Unix time of the last commit that succeeded."
)
ASSIGNED = _gauge("assigned_partitions", "partitions", "Partitions that this consumer owns.")
REBALANCES = _counter(
    "rebalances", "rebalances", "Changes of the assignment: assigned, revoked, lost.", "event"
)
STOPPED = _gauge(
    "stopped_partitions",
    "partitions",
    "Partitions of this consumer that stopped, because of their offsets or a batch. A person has "
    "to decide how each goes on.",
)
LAG_EVENTS = _gauge(
    "lag_events",
    "offsets",
    "Offsets between the committed offset and the end of each partition of this consumer.",
    "partition",
)
LAG_SECONDS = _gauge(
    "lag_seconds",
    "seconds",
    "Age of the oldest event that is not committed, by its timestamp. 0 if all are committed; "
    "missing if it is not known, for example because the event was not read.",
    "partition",
)
TRANSACTION_OFFSETS = _gauge(
    "transaction_offsets",
    "offsets",
    "Offsets that an open transaction holds back: from the end that can be read to the high "
    "watermark. They are not part of the lag.",
    "partition",
)
STUCK = _gauge(
    "stuck", "1", "1 while no progress is made for this cause (see docs/operations.md).", "cause"
)
WAITING = _gauge(
    "waiting",
    "1",
    "1 while the consumer waits for this cause for some seconds. It may come and go.",
    "cause",
)
LOOP_AGE = _gauge("loop_age_seconds", "seconds", "Time since the last turn of the loop.")

METRICS: tuple[Metric, ...] = (
    *(BUILD_INFO, EVENTS, WINDOWS, WINDOW_EVENTS, WINDOW_COUNTERS, HELD_EVENTS, PHASE),
    *(PAYLOADS_DECODED, REQUESTS, REQUEST_DURATION, THROTTLES, WRITE_UNITS, SUPPRESSED, LETTERS),
    *(LETTERS_HELD, COMMITS, LAST_COMMIT, ASSIGNED, REBALANCES, STOPPED, LAG_EVENTS, LAG_SECONDS),
    *(
        TRANSACTION_OFFSETS,
        STUCK,
        WAITING,
        LOOP_AGE,
        PARTITION_READ,
        PARTITION_EVENTS,
        UNACCOUNTED,
        UNKNOWN_OUTCOMES,
    ),
)


@dataclass(frozen=True, slots=True)
class Query:
    """Useful queries in PromQL."""

    name: str
    promql: str


QUERIES = (
    Query(
        "events per write",
        "rate(dynatomic_window_events_total[5m]) / rate(dynatomic_window_counters_total[5m])",
    ),
    Query(
        "hit rate of the payload cache",
        "1 - rate(dynatomic_payloads_decoded_total[5m]) / rate(dynatomic_events_total[5m])",
    ),
    Query(
        "write units per million events",
        "1e6 * sum(rate(dynatomic_dynamodb_write_units_total[5m]))"
        " / sum(rate(dynatomic_window_events_total[5m]))",
    ),
)
