"""``dynatomic dlq skip-batch``: skips one batch that the Kafka client cannot unpack.

Kafka compresses messages in batches, and the client unpacks a batch as a whole. librdkafka refuses
a batch whose unpacked size is above its limit (100 MB for zstd), each time that it reads it. So the
consumer stops at the first offset of such a batch. This command finds the last offset of the batch,
stores one dead letter for it and commits the offset after it. For gzip librdkafka has no limit, and
a process without enough memory is killed, so the batch is first read in a bounded process.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from shlex import quote
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.letter import DeadLetter
from dynatomic.dead_letters.store import DeadLetters
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.events.row import Reason
from dynatomic.kafka.bounded_read import is_fatal
from dynatomic.kafka.client import (
    PARTITION_EOF,
    Watermarks,
    admin_config,
    consumer_config,
    kafka_errors,
    new_admin,
    new_consumer,
    new_producer,
    producer_config,
    reason,
    topic_partitions,
    watermarks,
)
from dynatomic.kafka.commit_metadata import CommitMetadata, is_foreign, parse
from dynatomic.kafka.groups import committed_offsets, denied_or_unavailable, describe_group
from dynatomic.kafka.messages import UNREADABLE_BATCHES
from dynatomic.kafka.reachability import START_S, wait_for_kafka
from dynatomic.kafka.replaceable import ReplaceableClient
from dynatomic.kafka.topics import topic_id

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class SkipOptions:
    """The first offset of the batch to skip, and whether to skip it or only to report."""

    partition: int
    offset: int
    execute: bool = False


class BatchFinder:
    """Finds the ends of a batch that the client cannot unpack.

    The error of the client has the first offset of the batch, for a read at any offset of it. So a
    binary search finds the last offset, with about 20 reads for a million offsets.
    """

    def __init__(
        self,
        consumer: Any,
        topic: str,
        partition: int,
        marks: Watermarks,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._partition = partition
        self._marks = marks
        self._clock = clock

    def first_offset(self, offset: int) -> int | None:
        """Return the first offset of the unreadable batch at ``offset``, None if it can be read.

        Raises UnavailableError if no broker answers within `TIMEOUT_S` seconds.
        """
        if offset >= self._marks.high:
            return None
        self._consumer.assign([TopicPartition(self._topic, self._partition, offset)])
        deadline, cause = self._clock() + TIMEOUT_S, ""
        while self._clock() < deadline:
            message = self._consumer.poll(0.2)
            if message is None:
                continue
            error = message.error()
            if error is None or error.code() == PARTITION_EOF:
                return None
            if error.code() in UNREADABLE_BATCHES:
                first: int = message.offset()
                return first
            cause = f" ({reason(error)})"
        raise UnavailableError(
            f"topic {self._topic!r}, partition {self._partition}: no broker sent a message for "
            f"{TIMEOUT_S:.0f} s{cause}; check that Kafka is running"
        )

    def end_offset(self, first: int) -> int:
        """Return the offset after the batch that begins at ``first``."""
        inside, step = first, 1
        while self.first_offset(first + step) == first:
            inside, step = first + step, step * 2
        outside = min(first + step, self._marks.high)
        while outside - inside > 1:
            middle = (inside + outside) // 2
            if self.first_offset(middle) == first:
                inside = middle
            else:
                outside = middle
        return outside


class FatalBatchFinder(BatchFinder):
    """Finds the end of a batch that kills the process that reads it, at whatever offset of it."""

    def __init__(self, settings: Settings, first: int, partition: int, marks: Watermarks) -> None:
        super().__init__(None, settings.topic, partition, marks)
        self._settings = settings
        self._first = first

    def first_offset(self, offset: int) -> int | None:
        """Return the offset at which the group reads the batch, None if ``offset`` is behind it."""
        is_inside = offset < self._marks.high and is_fatal(self._settings, self._partition, offset)
        return self._first if is_inside else None


def skip_batch(settings: Settings, options: SkipOptions) -> int:
    """Print what is skipped and, with ``execute``, skip it; return 0.

    Raises ConfigError if the next event of the group is not in such a batch, and UnavailableError
    if the group has members or a server does not answer. Nothing is committed before the letter is
    stored.
    """
    config = consumer_config(settings, eof=True)
    wait_for_kafka(settings, START_S)
    with closing(new_consumer(config)) as consumer, kafka_errors():
        admin = new_admin(admin_config(settings))
        topic_partitions(consumer, settings.dead_letters)
        current_id = topic_id(admin, settings.topic)
        first, end = _batch(settings, consumer, options, current_id)
        for line in _plan_lines(settings, options.partition, first, end):
            sys.stdout.write(f"{line}\n")
        if not options.execute:
            sys.stdout.write("nothing was changed: add --execute\n")
            return 0
        group = describe_group(admin, settings)
        if group is not None and group.active:
            raise UnavailableError(_active_message(settings))
        _store(settings, options.partition, first, end, current_id)
        _commit(
            settings,
            consumer,
            TopicPartition(
                settings.topic, options.partition, end, CommitMetadata(current_id).encode()
            ),
        )
    sys.stdout.write(f"one dead letter was stored, and offset {end} was committed\n")
    return 0


def _batch(
    settings: Settings, consumer: Any, options: SkipOptions, current_id: str | None
) -> tuple[int, int]:
    """Return the first offset of the batch and the offset after it."""
    topic, partition = settings.topic, options.partition
    marks = watermarks(consumer, topic).get(partition)
    if marks is None:
        raise ConfigError(f"--partition {partition}: topic {topic!r} has no such partition")
    committed = committed_offsets(consumer, settings, [partition]).get(partition)
    if committed is not None and is_foreign(committed.metadata, current_id):
        raise ConfigError(
            f"{topic}:{partition}: group {settings.group_id} committed offset {committed.offset} "
            f"of a topic with the id {parse(committed.metadata).topic_id}, and this one's is "
            f"{current_id}: nothing was skipped; decide first where the group continues: "
            f"`dynatomic offsets -g {quote(settings.group_id)} -t {topic} --partition {partition}`"
        )
    start = marks.low if committed is None else max(committed.offset, marks.low)
    finder = BatchFinder(consumer, topic, partition, marks)
    if start < marks.high and is_fatal(settings, partition, start):
        finder = FatalBatchFinder(settings, start, partition, marks)
    first = finder.first_offset(start)
    if first is None:
        raise ConfigError(
            f"{topic}:{partition}: the event at offset {start}, the next one of group "
            f"{settings.group_id}, can be read: nothing was skipped; start the consumers, and use "
            "the offset at which they stop"
        )
    if first != options.offset:
        raise ConfigError(
            f"{topic}:{partition}: the next batch of group {settings.group_id} that cannot be "
            f"unpacked begins at {first}, not at {options.offset}: nothing was skipped; "
            f"use --offset {first}"
        )
    return first, finder.end_offset(first)


def _plan_lines(settings: Settings, partition: int, first: int, end: int) -> Iterator[str]:
    offsets = f"offset {first}" if end == first + 1 else f"offsets {first} to {end - 1}"
    yield (
        f"{settings.topic}:{partition}: skips {offsets}, one batch that the Kafka client cannot "
        "unpack; its events are not counted"
    )


def _active_message(settings: Settings) -> str:
    return (
        f"group {settings.group_id} is active: stop its consumers, wait until their sessions have "
        "ended, and try again; nothing was skipped"
    )


def _store(
    settings: Settings, partition: int, first: int, end: int, current_id: str | None
) -> None:
    producer = ReplaceableClient(lambda: new_producer(producer_config(settings)))
    letters = DeadLetters(producer, settings.dead_letters, settings.group_id, topic_id=current_id)
    letter = DeadLetter(
        topic=settings.topic,
        partition=partition,
        offset=first,
        key=None,
        value=None,
        headers=(),
        reason=Reason.BATCH_UNREADABLE,
        detail=f"the batch of the offsets {first} to {end - 1} cannot be unpacked",
        batch_end=end,
    )
    letters.store(letter, lambda: None)
    deadline = time.monotonic() + TIMEOUT_S
    while letters.pending:
        letters.poll(0.1)
        if time.monotonic() >= deadline:
            raise UnavailableError(
                f"topic {settings.dead_letters!r} did not store the dead letter "
                f"({letters.last_error or 'no answer'}); nothing was skipped, try again"
            )


def _commit(settings: Settings, consumer: Any, topic_partition: TopicPartition) -> None:
    try:
        (result,) = consumer.commit(offsets=[topic_partition], asynchronous=False)
    except KafkaException as error:
        raise denied_or_unavailable(error, settings) from None
    if result.error is not None:
        raise denied_or_unavailable(KafkaException(result.error), settings)
