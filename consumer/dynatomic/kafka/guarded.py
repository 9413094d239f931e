"""A consumer that never fetches some batches: those that kill the process that reads them."""

from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, Message, TopicPartition

from dynatomic.kafka.bounded_read import FatalBatch, StoredEvent
from dynatomic.kafka.messages import UNREADABLE_BATCH


class GuardedConsumer:
    """Wraps a ``confluent_kafka.Consumer``, whose partitions in ``batches`` stay paused.

    `consume` gives the events before such a batch, which were read in another process, and then the
    error of a batch that cannot be unpacked, at its offset, as librdkafka does for other formats.
    """

    def __init__(self, consumer: Any, topic: str, batches: Mapping[int, FatalBatch]) -> None:
        self._consumer = consumer
        self._topic = topic
        self._batches = batches
        self._next: dict[int, int] = {}
        """The offset that is read next of each of these partitions that is assigned."""
        self._paused: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the consumer."""
        return getattr(self._consumer, name)

    def subscribe(
        self,
        topics: list[str],
        on_assign: Callable[..., None],
        on_revoke: Callable[..., None],
        on_lost: Callable[..., None],
    ) -> None:
        """Join the group."""

        def assigned(consumer: Any, partitions: list[TopicPartition]) -> None:
            guarded, _ = self._split(partitions)
            if guarded:
                # The client assigns after this callback, and keeps the pause. It ignores a pause of
                # a topic that it does not know yet, and `position` makes it known.
                self._consumer.position(guarded)
                self._consumer.pause(guarded)
            self._next |= {p.partition: -1 for p in guarded}
            on_assign(consumer, partitions)

        def dropping(callback: Callable[..., None]) -> Callable[..., None]:
            def dropped(consumer: Any, partitions: list[TopicPartition]) -> None:
                for partition in partitions:
                    self._next.pop(partition.partition, None)
                callback(consumer, partitions)

            return dropped

        self._consumer.subscribe(
            topics, on_assign=assigned, on_revoke=dropping(on_revoke), on_lost=dropping(on_lost)
        )

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read partitions without a group."""
        guarded, others = self._split(partitions)
        self._consumer.assign(others)
        self._next = {p.partition: p.offset for p in guarded}

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Read more partitions; those that are guarded are read from their offset."""
        self._read_from(partitions, self._consumer.incremental_assign)

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Stop reading partitions."""
        _, others = self._split(partitions)
        if others:
            self._consumer.incremental_unassign(others)

    def seek(self, partition: TopicPartition) -> None:
        """Read a partition from another offset."""
        self._read_from([partition], lambda others: self._consumer.seek(others[0]))

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Return no events of partitions until `resume`."""
        guarded, others = self._split(partitions)
        self._paused |= {p.partition for p in guarded}
        if others:
            self._consumer.pause(others)

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Return events of partitions again."""
        guarded, others = self._split(partitions)
        self._paused -= {p.partition for p in guarded}
        if others:
            self._consumer.resume(others)

    def consume(self, count: int, timeout: float) -> list[Any]:
        """Return events: first those before the batches that are not read."""
        ready = [partition for partition in self._next if partition not in self._paused]
        messages = [m for partition in ready for m in self._events(partition, count)]
        if messages:
            return messages
        fetched: list[Any] = self._consumer.consume(count, timeout)
        # The error is repeated, as the client does, until the partition is paused.
        still = [p for p in ready if p in self._next and p not in self._paused]
        return fetched + [self._error(partition) for partition in still]

    def _split(
        self, partitions: list[TopicPartition]
    ) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """Return those that are guarded, and the others."""
        guarded = [p for p in partitions if p.partition in self._batches]
        return guarded, [p for p in partitions if p.partition not in self._batches]

    def _read_from(
        self, partitions: list[TopicPartition], otherwise: Callable[[list[Any]], None]
    ) -> None:
        guarded, others = self._split(partitions)
        self._next |= {p.partition: p.offset for p in guarded}
        if others:
            otherwise(others)

    def _events(self, partition: int, count: int) -> list[Message]:
        first, batch = self._next[partition], self._batches[partition]
        events = [event for event in batch.events or () if event[0] >= first][:count]
        self._next[partition] = events[-1][0] + 1 if events else batch.offset
        return [self._message(partition, event) for event in events]

    def _message(self, partition: int, event: StoredEvent) -> Message:
        offset, key, value, headers, timestamp, epoch = event
        return Message(
            topic=self._topic,
            partition=partition,
            offset=offset,
            key=key,
            value=value,
            headers=headers,
            timestamp=timestamp,
            leader_epoch=-1 if epoch is None else epoch,
        )

    def _error(self, partition: int) -> Message:
        return Message(
            topic=self._topic,
            partition=partition,
            offset=self._batches[partition].offset,
            value=b"a process with bounded memory was killed while it read this batch",
            error=KafkaError(UNREADABLE_BATCH),
            timestamp=(0, -1),
        )
