"""The part of a fake consumer that belongs to its group: rebalances and commits."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from confluent_kafka import OFFSET_INVALID, KafkaError, Message, TopicPartition

from dynatomic.testing.kafka.cluster import Cluster, failure
from dynatomic.testing.kafka.group import Member, TopicAndPartition

if TYPE_CHECKING:
    from dynatomic.testing.kafka.cluster import CommitFault

TopicPartitions = list[TopicPartition]
OnRebalance = Callable[[Any, TopicPartitions], object]


class AnsweredPartition(TopicPartition):
    """A TopicPartition with an error. The class of confluent-kafka cannot be given one."""

    def __init__(self, topic: str, partition: int, offset: int, error: KafkaError | None) -> None:
        super().__init__(topic, partition, offset)
        self._error = error

    @property
    def error(self) -> KafkaError | None:  # type: ignore[override]
        """The error of this partition."""
        return self._error

    # confluent-kafka does not compare subclasses.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, TopicPartition) and self._topic_partition() == (
            other.topic,
            other.partition,
        )

    def __lt__(self, other: TopicPartition) -> bool:
        return self._topic_partition() < (other.topic, other.partition)

    def __hash__(self) -> int:
        return super().__hash__()

    def _topic_partition(self) -> TopicAndPartition:
        return self.topic, self.partition


def topic_partition(partition: TopicPartition) -> TopicAndPartition:
    """Return the topic and the id of a partition."""
    return partition.topic, partition.partition


_NO_PARTITION = -1  # confluent-kafka shows it as None


def event(
    code: int, reason: str, topic: str | None, partition: int | None, offset: int = OFFSET_INVALID
) -> Message:
    """Create an error message as ``consume()`` returns it."""
    return Message(
        topic=topic,
        partition=_NO_PARTITION if partition is None else partition,
        offset=offset,
        value=reason.encode(),
        error=KafkaError(code, reason),
        timestamp=(0, -1),
    )


class Membership:
    """The membership of one consumer in its group.

    ``take`` and ``stop_reading`` change the partitions that the consumer reads. They are called
    after ``on_assign`` and after ``on_revoke`` or ``on_lost``, as in librdkafka.
    """

    def __init__(self, cluster: Cluster, conf: Mapping[str, Any], name: str) -> None:
        if not conf.get("group.id"):
            raise failure(KafkaError._INVALID_ARG, "group.id must be set")
        self.group_id = str(conf["group.id"])
        self.member = Member(name)
        self.events: deque[Message] = deque()
        self._cluster = cluster
        self._on_commit = conf.get("on_commit")
        self._callbacks: dict[str, OnRebalance | None] = {}
        self._waiting: deque[TopicPartitions] = deque()
        self._answers: deque[tuple[KafkaError | None, TopicPartitions]] = deque()

    def take(self, partitions: list[TopicAndPartition]) -> None:
        """Start to read these partitions."""
        raise NotImplementedError

    def stop_reading(self, partitions: list[TopicAndPartition]) -> None:
        """Stop reading these partitions."""
        raise NotImplementedError

    def _rebalance(self) -> None:
        member, group = self.member, self._cluster.group(self.group_id)
        if member.expired:
            reason = "Application maximum poll interval exceeded"
            self.events.append(event(KafkaError._MAX_POLL_EXCEEDED, reason, None, 0))
            self._give_up("revoke", sorted(member.asked))
            self._give_up("lost", sorted(member.owned))
        with self._cluster.lock:
            if not member.joined:
                group.join(member, self._cluster.partitions_of)
                self._report_missing_topics()
            is_new, member.generation = member.generation != group.generation, group.generation
            surplus = sorted(member.owned - member.target)
        self._give_up("revoke", surplus)
        with self._cluster.lock:
            gained = group.gained(member)
        if gained or is_new:
            self._call("assign", gained)
            with self._cluster.lock:
                member.owned.update(gained)
                self.take(gained)

    def _give_up(self, kind: str, partitions: list[TopicAndPartition]) -> None:
        if not partitions:
            return
        try:
            self._call(kind, partitions)
        finally:
            with self._cluster.lock:
                self.member.owned.difference_update(partitions)
                self.stop_reading(partitions)

    def _call(self, kind: str, partitions: list[TopicAndPartition]) -> None:
        if callback := self._callbacks.get(kind):
            callback(self, [TopicPartition(topic, id_) for topic, id_ in partitions])

    def _report_missing_topics(self) -> None:
        for topic in sorted(self.member.topics - self._cluster.logs.keys()):
            code = KafkaError.UNKNOWN_TOPIC_OR_PART
            reason = f"Subscribed topic not available: {topic}"
            self.events.append(event(code, reason, topic, 0))

    def _serve_commits(self) -> None:
        while self._waiting and not self._cluster.faults.down:
            self._answers.append(self._commit(self._waiting.popleft()))

    def _answer(self) -> None:
        self._serve_commits()
        while self._answers and not self._cluster.faults.answers_held:
            error, partitions = self._answers.popleft()
            if self._on_commit:
                self._on_commit(error, partitions)

    def _commit(self, asked: TopicPartitions) -> tuple[KafkaError | None, TopicPartitions]:
        """Store offsets. An error is reported for each partition, as in librdkafka."""
        offsets = [p for p in asked if p.offset >= 0]
        if not offsets:
            return KafkaError(KafkaError._NO_OFFSET, "Commit failed"), asked
        with self._cluster.lock:
            group = self._cluster.group(self.group_id)
            faults = self._cluster.faults.commits
            fault = faults.popleft() if faults else None
            is_stranger = self.member.expired or (group.members and not self.member.joined)
            code = 0
            for partition in offsets:
                refusal, is_stored = self._outcome(partition, fault)
                if is_stranger:
                    refusal, is_stored = KafkaError.UNKNOWN_MEMBER_ID, False
                if is_stored:
                    group.offsets[topic_partition(partition)] = partition.offset
                    group.metadata[topic_partition(partition)] = partition.metadata or ""
                code = code or refusal
        error = KafkaError(code, "Commit failed") if code else None
        return error, [AnsweredPartition(p.topic, p.partition, p.offset, error) for p in asked]

    def _outcome(self, partition: TopicPartition, fault: "CommitFault | None") -> tuple[int, bool]:
        if self._cluster.log(*topic_partition(partition)) is None:
            return KafkaError.UNKNOWN_TOPIC_OR_PART, False
        if fault and (fault.partitions is None or partition.partition in fault.partitions):
            return fault.code, fault.applied
        return 0, True
