"""The state of the in-memory Kafka cluster: topics, logs, groups and faults."""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka.admin._metadata import (
    BrokerMetadata,
    ClusterMetadata,
    PartitionMetadata,
    TopicMetadata,
)

from dynatomic.testing.kafka.group import Group, TopicAndPartition

Header = tuple[str, bytes | None]


def failure(code: int, reason: str | None = None) -> KafkaException:
    """Create the exception that confluent-kafka raises for this error code."""
    return KafkaException(KafkaError(code, reason))


@dataclass(slots=True)
class Log:
    """One partition: its messages from offset ``low`` on; None is an offset without a message.

    ``transaction_start`` is the first offset of an open transaction, None if there is none.
    ``epoch_starts`` has the first offset of each leader epoch (KIP-101), the current one last.
    """

    low: int = 0
    messages: list[Message | None] = field(default_factory=list)
    transaction_start: int | None = None
    epoch_starts: dict[int, int] = field(default_factory=lambda: {0: 0})

    @property
    def high(self) -> int:
        """The offset that the next message gets."""
        return self.low + len(self.messages)

    @property
    def stable(self) -> int:
        """The last stable offset: ``read_committed`` gives the messages below it."""
        return self.high if self.transaction_start is None else self.transaction_start

    def end(self, isolation_level: str) -> int:
        """Return the offset after the last one that a consumer with this setting can read."""
        return self.high if isolation_level == "read_uncommitted" else self.stable

    def read(self, offset: int, limit: int, end: int) -> tuple[list[Message], int]:
        """Return up to ``limit`` messages from ``offset`` to ``end``, and the offset after them."""
        end = max(offset, end)
        rest = itertools.islice(self.messages, offset - self.low, end - self.low)
        messages = list(itertools.islice((m for m in rest if m is not None), limit))
        if len(messages) < limit:
            return messages, end
        return messages, (messages[-1].offset() or 0) + 1

    @property
    def leader_epoch(self) -> int:
        """The current leader epoch."""
        return max(self.epoch_starts)

    def end_of_epoch(self, epoch: int) -> int:
        """Return the offset after the last message up to a leader epoch (OffsetsForLeaderEpoch)."""
        later = [start for other, start in self.epoch_starts.items() if other > epoch]
        return min(later, default=self.high)

    def epoch_of(self, offset: int) -> int:
        """Return the leader epoch in which an offset was given."""
        return max(epoch for epoch, start in self.epoch_starts.items() if start <= max(0, offset))

    def elect(self, end: int) -> None:
        """Begin a new leader epoch, with a leader that has nothing from ``end`` on."""
        del self.messages[max(0, end - self.low) :]
        if self.transaction_start is not None and self.transaction_start >= self.high:
            self.transaction_start = None
        starts = {e: start for e, start in self.epoch_starts.items() if start < self.high}
        self.epoch_starts = {0: 0} | starts | {self.leader_epoch + 1: self.high}

    def delete_before(self, offset: int) -> None:
        """Delete the messages below an offset, as retention does."""
        del self.messages[: max(0, offset - self.low)]
        self.low = max(self.low, offset)


@dataclass(frozen=True, slots=True)
class CommitFault:
    """The answer to a commit: ``code`` for these partitions, or for all."""

    code: int
    partitions: frozenset[int] | None
    applied: bool


@dataclass(slots=True)
class BrokerFaults:
    """The faults of the broker; see also `FakeBroker.expire` and `FakeBroker.kill`.

    ``down``: the broker does not answer. ``consume()`` returns ``[]``, asynchronous commits and
    produced messages wait until it is False again, and synchronous requests raise.
    ``answers_held``: commits are applied, but ``on_commit`` is not called until it is False again.
    """

    down: bool = False
    answers_held: bool = False
    commits: deque[CommitFault] = field(default_factory=deque)
    deliveries: deque[tuple[int, bool]] = field(default_factory=deque)

    def fail_commits(
        self,
        code: int,
        times: int = 1,
        *,
        partitions: Iterable[int] | None = None,
        applied: bool = False,
    ) -> None:
        """Answer the next commits with this code; ``applied`` stores the offsets anyway.

        With ``partitions`` the others of the same commit are stored.
        """
        only = None if partitions is None else frozenset(partitions)
        self.commits.extend([CommitFault(code, only, applied)] * times)

    def fail_deliveries(self, code: int, times: int = 1, *, stored: bool = False) -> None:
        """Report this code for the next produced messages; ``stored`` stores them anyway."""
        self.deliveries.extend([(code, stored)] * times)


class Cluster:
    """The state that all clients of a fake broker share. Each client locks it for each access.

    ``sleep`` is called with the time-out of a ``consume()`` or ``poll()`` that has nothing to
    return, so that a test can move its own clock; by default nothing waits. ``clock`` gives the
    messages' timestamps, in seconds.
    """

    def __init__(
        self,
        *,
        sleep: Callable[[float], object] = lambda _seconds: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.faults = BrokerFaults()
        self.sleep = sleep
        self.lock = threading.RLock()
        self.logs: dict[str, list[Log]] = {}
        self.topic_ids: dict[str, str] = {}
        self.groups: dict[str, Group] = {}
        self._clock = clock
        self._ids = itertools.count(1)

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic, or add partitions to it. Raises `ValueError` if it has more."""
        with self.lock:
            logs = self.logs.setdefault(name, [])
            self.topic_ids.setdefault(name, self._topic_id())
            if len(logs) > partitions:
                raise ValueError(f"topic {name} has {len(logs)} partitions already")
            logs.extend(Log() for _ in range(partitions - len(logs)))
            for group in self.groups.values():
                group.rebalance(self.partitions_of)

    def recreate_topic(self, name: str, partitions: int = 1) -> None:
        """Delete a topic and create it again, empty and with another id, under running consumers.

        They continue at their positions without an error, as librdkafka does.
        """
        with self.lock:
            self.logs[name] = [Log() for _ in range(partitions)]
            self.topic_ids[name] = self._topic_id()

    def _topic_id(self) -> str:
        return f"{next(self._ids):08x}{0:024x}"

    def append_gap(self, topic: str, partition: int, count: int = 1) -> None:
        """Skip offsets, so that no message has them, as transactions and compaction do."""
        with self.lock:
            self.logs[topic][partition].messages.extend([None] * count)

    def open_transaction(self, topic: str, partition: int) -> None:
        """Begin a transaction: what is appended from now on cannot be read before its end.

        Raises `ValueError` if one is open.
        """
        with self.lock:
            log = self.logs[topic][partition]
            if log.transaction_start is not None:
                raise ValueError(f"{topic}:{partition} has an open transaction")
            log.transaction_start = log.high

    def end_transaction(self, topic: str, partition: int, aborted: Collection[int] = ()) -> None:
        """End the open transaction, with a marker; ``aborted`` offsets never give a message."""
        with self.lock:
            log = self.logs[topic][partition]
            for offset in aborted:
                log.messages[offset - log.low] = None
            log.messages.append(None)
            log.transaction_start = None

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Delete the messages below an offset, as retention does."""
        with self.lock:
            self.logs[topic][partition].delete_before(offset)

    def elect_leader(self, topic: str, partition: int, end: int | None = None) -> None:
        """Elect a new leader, which has lost the offsets from ``end`` on, or none.

        This is what a power failure or an unclean election does. A consumer that reads the
        partition, or seeks with a leader epoch, gets an error for it (KIP-320).
        """
        with self.lock:
            log = self.logs[topic][partition]
            log.elect(log.high if end is None else end)

    def messages(self, topic: str) -> list[Message]:
        """Return every message of a topic, partition by partition."""
        with self.lock:
            return [m for log in self.logs[topic] for m in log.messages if m is not None]

    def committed(self, group: str, topic: str, partition: int) -> int | None:
        """Return the group's committed offset of a partition, or None."""
        with self.lock:
            return self.group(group).offsets.get((topic, partition))

    def group(self, group_id: str) -> Group:
        """Return a group; create it if it is missing."""
        return self.groups.setdefault(group_id, Group())

    def log(self, topic: str, partition: int) -> Log | None:
        """Return a partition, or None if there is none."""
        logs = self.logs.get(topic, [])
        return logs[partition] if 0 <= partition < len(logs) else None

    def partitions_of(self, topics: Iterable[str]) -> list[TopicAndPartition]:
        """Return all partitions of these topics, in order."""
        return [(t, p) for t in sorted(topics) for p in range(len(self.logs.get(t, ())))]

    def append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header],
    ) -> int:
        """Store a message and return its offset."""
        log = self.logs[topic][partition]
        offset = log.high
        log.messages.append(
            Message(
                topic=topic,
                partition=partition,
                offset=offset,
                key=key,
                value=value,
                headers=list(headers) or None,
                timestamp=(1, int(self._clock() * 1000)),
                leader_epoch=log.leader_epoch,
            )
        )
        return offset

    def metadata(self, topic: str | None = None) -> ClusterMetadata:
        """Return what ``list_topics`` returns. Raises `KafkaException` while down."""
        if self.faults.down:
            raise failure(KafkaError._TRANSPORT, "Failed to get metadata")
        cluster: Any = ClusterMetadata()
        broker: Any = BrokerMetadata()
        broker.id, broker.host, broker.port = 1, "fake", 0
        cluster.cluster_id, cluster.controller_id = "fake", 1
        cluster.brokers = {1: broker}
        names = list(self.logs) if topic is None else [topic]
        cluster.topics = {name: self._topic_metadata(name) for name in names}
        return cast("ClusterMetadata", cluster)

    def _topic_metadata(self, name: str) -> TopicMetadata:
        metadata: Any = TopicMetadata()
        metadata.topic = name
        if name not in self.logs:
            metadata.error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        for partition_id in range(len(self.logs.get(name, ()))):
            partition: Any = PartitionMetadata()
            partition.id, partition.leader = partition_id, 1
            partition.replicas = partition.isrs = [1]
            metadata.partitions[partition_id] = partition
        return cast("TopicMetadata", metadata)
