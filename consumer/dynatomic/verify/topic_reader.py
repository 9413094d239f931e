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
from dynatomic.kafka.messages import (
    UNREADABLE_BATCH,
    check_error,
    error_of,
    offset_of,
    partition_of,
)

BATCH, POLL_S = 10_000, 0.2
PATIENCE_S = 60.0

# For such a batch, librdkafka fetches again without end, or continues at a wrong offset.
DAMAGED = (KafkaError._BAD_MSG, UNREADABLE_BATCH)  # noqa: SLF001 - no public name

SkippedBatch = Callable[[int, int], int | None]
"""Takes a partition and an offset, and returns the end of a skipped batch that begins there."""


def no_batch(_partition: int, _offset: int) -> int | None:
    """Return None: no batch was skipped."""
    return None


def read(  # noqa: PLR0913 - the last two are for tests
    consumer: Any,
    settings: Settings,
    ranges: Mapping[int, tuple[int, int]],
    advance: Callable[[int], None],
    *,
    skipped: SkippedBatch = no_batch,
    clock: Callable[[], float] = time.monotonic,
    patience_s: float = PATIENCE_S,
) -> Iterator[tuple[int, list[Any]]]:
    """Yield the messages at ``[begin, end)`` of each partition, in runs of one partition.

    A batch that the client cannot unpack is passed over if ``skipped`` knows it. Nothing is
    committed. Raises ConfigError if the topic no longer has an offset or there is no
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
        done: list[int] = []
        if any(map(error_of, messages)):
            ends_of = list(_ends_of(messages, settings, ends, skipped))
            done = _continue_after(consumer, settings.topic, ends_of, ends)
            deadline = clock() + patience_s if ends_of else deadline
            messages = [message for message in messages if message.error() is None]
        if messages:
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


def _continue_after(
    consumer: Any, topic: str, ends_of: Iterable[tuple[int, int]], ends: Mapping[int, int]
) -> list[int]:
    """Return the partitions whose end was reached; seek in the others."""
    done = []
    for partition, offset in ends_of:
        if offset >= ends.get(partition, 0):
            done.append(partition)
        else:
            consumer.seek(TopicPartition(topic, partition, offset))
    return done


def _ends_of(
    messages: Iterable[Any],
    settings: Settings,
    ends: Mapping[int, int],
    skipped: SkippedBatch,
) -> Iterator[tuple[int, int]]:
    """Yield partitions whose end was reached, and those that continue after a skipped batch.

    Each comes with an offset: the end of the partition, or the offset to continue at. Other errors
    are raised.
    """
    for message in messages:
        if (error := message.error()) is None:
            continue
        partition, offset = message.partition(), message.offset()
        if error.code() == PARTITION_EOF:
            if offset >= ends.get(partition, 0):
                yield partition, offset
        elif error.code() in DAMAGED:
            end = offset if offset >= ends.get(partition, 0) else skipped(partition, offset)
            if end is None:
                raise _damaged(settings, message)
            yield partition, end
        elif error.code() == AUTO_OFFSET_RESET:
            raise ConfigError(
                f"partition {message.partition()} of {settings.topic} lost events while it was "
                "read: retention removed them; verify with a newer --baseline, or raise "
                "retention.ms"
            )
        else:
            check_error(message, settings)


def _damaged(settings: Settings, message: Any) -> DynatomicError:
    partition, offset = message.partition(), message.offset()
    name = message.error().name()
    if message.error().code() == UNREADABLE_BATCH:
        return DynatomicError(
            f"partition {partition} of {settings.topic}: the Kafka client cannot unpack the batch "
            f"at offset {offset} ({name}), so its events cannot be recounted; after `dynatomic dlq "
            "skip-batch` has skipped it for the group, verify passes over it"
        )
    return DynatomicError(
        f"partition {partition} of {settings.topic}: the batch at offset {offset} is damaged "
        f"({name}), so its events cannot be recounted; check the disk of the partition's leader; "
        "after `dynatomic dlq skip-batch` has skipped it for the group, verify passes over it"
    )
