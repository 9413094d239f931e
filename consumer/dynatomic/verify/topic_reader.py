"""Reading parts of a topic without joining a group."""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.kafka.client import AUTO_OFFSET_RESET, PARTITION_EOF
from dynatomic.kafka.messages import check_error, error_of, offset_of, partition_of

BATCH, POLL_S = 10_000, 0.2
PATIENCE_S = 60.0

# For such a batch, librdkafka fetches again without end, or continues at a wrong offset.
DAMAGED = (KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION)  # noqa: SLF001 - no public names


def read(  # noqa: PLR0913 - the last two are for tests
    consumer: Any,
    settings: Settings,
    ranges: Mapping[int, tuple[int, int]],
    advance: Callable[[int], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    patience_s: float = PATIENCE_S,
) -> Iterator[tuple[int, list[Any]]]:
    """Yield the messages at ``[begin, end)`` of each partition, in runs of one partition.

    Nothing is committed. Raises ConfigError if the topic no longer has an offset or there is no
    permission to read it, UnavailableError after ``patience_s`` seconds without a message,
    DynatomicError if one is damaged.
    """
    ends = {partition: end for partition, (start, end) in ranges.items() if start < end}
    topic_partitions = [TopicPartition(settings.topic, n, ranges[n][0]) for n in ends]
    consumer.assign(topic_partitions)
    consumer.resume(topic_partitions)  # librdkafka keeps a pause after a new assignment
    deadline = clock() + patience_s
    while ends:
        messages = consumer.consume(BATCH, POLL_S)
        done = []
        if any(map(error_of, messages)):
            done = [n for n, offset in _ends_of(messages, settings) if offset >= ends.get(n, 0)]
            messages = [message for message in messages if message.error() is None]
        if messages or done:
            deadline = clock() + patience_s
        elif clock() >= deadline:
            raise UnavailableError(
                f"topic {settings.topic!r}: no broker sent a message for {patience_s:.0f} s; "
                "check that Kafka is running, and try again"
            )
        position = 0
        for partition, run_of in groupby(map(partition_of, messages)):
            start, position = position, position + len(list(run_of))
            if partition not in ends:
                continue  # read ahead before it was paused
            run = messages[start:position]
            if run[-1].offset() >= ends[partition] - 1:
                run = run[: bisect_left(run, ends[partition], key=offset_of)]
                done.append(partition)
            if run:
                yield partition, run
            advance(len(run))
        stopped = [TopicPartition(settings.topic, n) for n in done if ends.pop(n, None) is not None]
        if stopped and ends:
            consumer.pause(stopped)
    consumer.assign([])


def _ends_of(messages: Iterable[Any], settings: Settings) -> Iterator[tuple[int, int]]:
    """Yield each partition whose end was reached, with its end offset; raise other errors."""
    for message in messages:
        if (error := message.error()) is None:
            continue
        if error.code() == PARTITION_EOF:
            yield message.partition(), message.offset()
        elif error.code() in DAMAGED:
            raise DynatomicError(
                f"partition {message.partition()} of {settings.topic}: the batch at offset "
                f"{message.offset()} is damaged ({error.name()}), so its events cannot be "
                "recounted; check the disk of the partition's leader"
            )
        elif error.code() == AUTO_OFFSET_RESET:
            raise ConfigError(
                f"partition {message.partition()} of {settings.topic} lost events while it was "
                "read: retention removed them; verify with a newer --baseline, or raise "
                "retention.ms"
            )
        else:
            check_error(message, settings)
