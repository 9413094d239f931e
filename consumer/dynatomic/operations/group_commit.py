"""Commits offsets for a group that is stopped, and reads them back."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.console import UNKNOWN, table_lines
from dynatomic.errors import DynatomicError, UnavailableError
from dynatomic.kafka.client import watermarks
from dynatomic.kafka.commit_metadata import CommitMetadata
from dynatomic.kafka.groups import CommittedOffset, committed_offsets, denied_or_unavailable

# The mock cluster keeps members that left until their session times out, by default after 45 s.
JOIN_S = 50.0


class GroupCommit:
    """Commits for a group without members. ``join`` returns a consumer that may subscribe."""

    def __init__(
        self,
        settings: Settings,
        consumer: Any,
        join: Callable[[], Any],
        topic_id: str | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._join = join
        self._metadata = CommitMetadata(topic_id).encode()
        self._clock = clock

    def commit(self, offsets: Mapping[int, int], *, alone: bool) -> None:
        """Commit offsets by partition, with the topic's id.

        With ``alone`` it may join the group where the brokers do not report whether it has members.
        Raises UnavailableError if it has, and what `denied_or_unavailable` returns.
        """
        topic = self._settings.topic
        topic_partitions = [
            TopicPartition(topic, partition, offset, self._metadata)
            for partition, offset in offsets.items()
        ]
        try:
            _commit(self._consumer, topic_partitions)
        except KafkaException as error:
            code = error.args[0].code()
            if code != KafkaError.UNKNOWN_MEMBER_ID:
                raise denied_or_unavailable(error, self._settings) from None
            if not alone:
                raise self.group_is_active() from None
            self._commit_as_member(topic_partitions)

    def _commit_as_member(self, topic_partitions: list[TopicPartition]) -> None:
        """Commit as the only member of the group, for brokers that accept no other commit."""
        settings = self._settings
        with closing(self._join()) as consumer:
            consumer.subscribe([settings.topic])
            deadline = self._clock() + JOIN_S
            everything = set(watermarks(consumer, settings.topic))
            while {
                topic_partition.partition for topic_partition in consumer.assignment()
            } != everything:
                if self._clock() >= deadline:
                    raise self.group_is_active()
                consumer.poll(0.1)  # joins the group; messages are ignored
            try:
                _commit(consumer, topic_partitions)
            except KafkaException as error:
                raise denied_or_unavailable(error, settings) from None

    def group_is_active(self) -> UnavailableError:
        """Return the error for a group that has members."""
        return UnavailableError(
            f"group {self._settings.group_id} is active: stop its consumers, wait until their "
            "sessions have ended, and try again; nothing was changed"
        )

    def read_back(self, offsets: Mapping[int, int]) -> Iterator[str]:
        """Yield the committed offsets. Raises DynatomicError if others are in effect."""
        committed = committed_offsets(self._consumer, self._settings, offsets)
        yield "committed, and read back:"
        rows = [("PARTITION", "CURRENT-OFFSET")]
        rows += [(str(n), str(committed[n].offset) if n in committed else UNKNOWN) for n in offsets]
        yield from table_lines(rows, {0, 1})
        for partition, offset in offsets.items():
            if committed.get(partition) != CommittedOffset(offset, self._metadata):
                raise DynatomicError(
                    f"{self._settings.topic}:{partition}: {offset} was committed, but another "
                    "offset is in effect: stop what else commits for the group, and try again"
                )


def _commit(consumer: Any, topic_partitions: list[TopicPartition]) -> None:
    for topic_partition in consumer.commit(offsets=topic_partitions, asynchronous=False):
        if topic_partition.error is not None:
            raise KafkaException(topic_partition.error)
