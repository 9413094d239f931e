"""``dynatomic hot``: the busiest counters of the last minutes, read from the topic.

Metrics and logs contain no keys, so this command reads the events again. It needs the permission to
read the topic. It joins no group and commits nothing.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import KafkaException, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.console import printable, progress_bar, table_lines
from dynatomic.counting.from_settings import load_counters
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.tables import describe_with_ttl
from dynatomic.errors import UnavailableError
from dynatomic.events.row import CounterRef
from dynatomic.kafka.client import (
    PARTITION_EOF,
    Watermarks,
    consumer_config,
    kafka_errors,
    new_consumer,
    reason,
    watermarks,
)
from dynatomic.kafka.event_reader import EventReader, event_reader, read_all
from dynatomic.kafka.messages import check_error
from dynatomic.kafka.offsets_by_time import OffsetsByTime
from dynatomic.kafka.reachability import START_S, wait_for_kafka

TIMEOUT_S, PATIENCE_S = 10.0, 60.0
BATCH, POLL_S = 10_000, 0.2
MAX_RANKED_COUNTERS = 200_000
_HEADINGS = ("EVENTS", "SHARE", "SUM", "COUNTER", "ITEM")
_RIGHT_ALIGNED = {0, 1, 2}
_MAX_COUNTER_WIDTH, _MAX_ITEM_WIDTH = 20, 32


@dataclass(frozen=True, slots=True)
class HotOptions:
    """How many counters to show, of the events of how many minutes, and in which form."""

    count: int = 20
    minutes: float = 5.0
    output: Literal["text", "json"] = "text"


class BusiestCounters:
    """Counts the events of each counter, and the sum of their increments.

    If there are more than ``max_counters`` counters, those with the fewest events are dropped. Then
    the events of another may be too low by at most the events of one dropped counter.
    """

    def __init__(self, max_counters: int = MAX_RANKED_COUNTERS) -> None:
        self.events = 0
        self.rejected = 0
        self.is_exact = True
        self._max_counters = max_counters
        self._counted: dict[CounterRef, list[int]] = {}

    def add(self, reader: EventReader, messages: Sequence[Any]) -> None:
        """Add the events of some messages."""
        decoded = read_all(reader, messages).with_counts(len(messages))
        self.events += len(messages)
        self.rejected += len(decoded.rejected)
        for ref, incr in decoded.increments:
            counted = self._counted.setdefault(ref, [0, 0])
            counted[0] += 1
            counted[1] += incr
        if len(self._counted) > self._max_counters:
            self.is_exact = False
            self._counted = dict(self._sorted()[: self._max_counters // 2])

    def top(self, count: int) -> list[tuple[CounterRef, int, int]]:
        """Return the busiest counters with their events and sums, the busiest first."""
        return [(ref, events, total) for ref, (events, total) in self._sorted()[:count]]

    def _sorted(self) -> list[tuple[CounterRef, list[int]]]:
        return sorted(self._counted.items(), key=lambda item: (-item[1][0], str(item[0])))


def starts_since(
    consumer: Any, topic: str, marks: Mapping[int, Watermarks], since: float
) -> dict[int, int]:
    """Return the first offset of each partition at or after a time, in seconds since 1970.

    Brokers without offsets by time answer that there is none, also for the year 1970. Then the
    whole partition is read.
    """
    by_time = OffsetsByTime(consumer, topic, TIMEOUT_S)
    try:
        first = by_time.first(marks, round(since * 1000))
        unsupported = by_time.unsupported(marks, first)
    except KafkaException as error:
        raise UnavailableError(
            f"topic {topic!r}: no offsets by time ({reason(error)}); try again"
        ) from None
    none_as_new = {n: low if n in unsupported else high for n, (low, high) in marks.items()}
    return none_as_new | {n: offset for n, offset in first.items() if offset is not None}


def messages_between(
    consumer: Any,
    settings: Settings,
    starts: Mapping[int, int],
    marks: Mapping[int, Watermarks],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[list[Any]]:
    """Yield the messages from each start to the end offset. Raises as `check_error` does.

    ``consumer`` has end-of-partition events.
    """
    left = {n for n, start in starts.items() if start < marks[n].high}
    consumer.assign([TopicPartition(settings.topic, n, starts[n]) for n in left])
    deadline = clock() + PATIENCE_S
    while left:
        if clock() >= deadline:
            raise UnavailableError(
                f"topic {settings.topic!r}: no broker sent a message for {PATIENCE_S:.0f} s; try "
                "again"
            )
        messages = []
        for message in consumer.consume(BATCH, POLL_S):
            deadline = clock() + PATIENCE_S
            partition, error = message.partition(), message.error()
            if error is not None and error.code() != PARTITION_EOF:
                check_error(message, settings)
            elif partition in left:
                end = marks[partition].high
                if error is not None or message.offset() >= end - 1:
                    left.discard(partition)
                if error is None and message.offset() < end:
                    messages.append(message)
        yield messages
    consumer.assign([])


def lines(busiest: BusiestCounters, options: HotOptions) -> Iterator[str]:
    """Yield the lines of the command. They contain keys, which may be personal data."""
    if options.output == "json":
        for ref, events, total in busiest.top(options.count):
            fields = {"table": ref.table, "key": ref.key, "range": ref.range, "counter": ref.name}
            yield json.dumps(fields | {"events": events, "sum": total})
        return
    yield f"{busiest.events:,} events in the last {options.minutes:g} minutes"
    rows = [
        (
            f"{events:,}",
            f"{events / busiest.events:.1%}",
            f"{total:,}",
            printable(ref.name, _MAX_COUNTER_WIDTH),
            printable("/".join(filter(None, ref[:3])), _MAX_ITEM_WIDTH),
        )
        for ref, events, total in busiest.top(options.count)
    ]
    if rows:
        yield from table_lines([_HEADINGS, *rows], _RIGHT_ALIGNED)
    if busiest.rejected:
        yield f"{busiest.rejected:,} of them cannot be counted: see `dynatomic dlq show`"
    if not busiest.is_exact:
        yield f"more than {MAX_RANKED_COUNTERS:,} counters: the numbers are lower bounds"


def hot(
    settings: Settings,
    endpoint_url: str | None,
    options: HotOptions,
    now: Callable[[], float] = time.time,
) -> int:
    """Print the busiest counters; return 0. Raises ConfigError or UnavailableError."""
    settings, definition = load_counters(settings)
    client = make_client(endpoint_url)
    keys = {table: describe_with_ttl(client, table) for table in settings.require_tables()}
    reader = event_reader(settings, keys, definition)
    wait_for_kafka(settings, START_S)
    busiest = BusiestCounters()
    with (
        closing(new_consumer(consumer_config(settings, eof=True))) as consumer,
        kafka_errors(UnavailableError),
    ):
        marks = watermarks(consumer, settings.topic)
        starts = starts_since(consumer, settings.topic, marks, now() - options.minutes * 60)
        total = sum(marks[n].high - start for n, start in starts.items())
        with progress_bar("events", total) as advance:
            for messages in messages_between(consumer, settings, starts, marks):
                if messages:
                    busiest.add(reader, messages)
                    advance(len(messages))
    sys.stdout.writelines(f"{line}\n" for line in lines(busiest, options))
    return 0
