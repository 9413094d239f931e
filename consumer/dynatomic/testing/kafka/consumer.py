"""The consuming client of the fake broker.

Source: confluent-kafka 2.16 and librdkafka, as observed by the contract suite.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from confluent_kafka import (
    OFFSET_INVALID,
    OFFSET_STORED,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from dynatomic.testing.kafka.cluster import Cluster, failure
from dynatomic.testing.kafka.fetch import Fetch
from dynatomic.testing.kafka.group import TopicAndPartition
from dynatomic.testing.kafka.membership import (
    Membership,
    OnRebalance,
    TopicPartitions,
    topic_partition,
)

if TYPE_CHECKING:
    from confluent_kafka.admin._metadata import ClusterMetadata


class FakeConsumer(Membership):
    """A fake of ``confluent_kafka.Consumer``.

    Rebalances are incremental and happen inside ``consume()`` and ``poll()``. As with the real
    one, commits of partitions that it does not own are accepted while it is a member.
    """

    def __init__(self, cluster: Cluster, conf: Mapping[str, Any], name: str) -> None:
        super().__init__(cluster, conf, name)
        self.closed = False
        self._conf = conf
        self._fetches: dict[TopicAndPartition, Fetch] = {}
        self._pauses: set[TopicAndPartition] = set()
        self._turn = 0
        self._has_assigned = False
        self._is_fatal = False
        self._said_down = False

    def subscribe(
        self,
        topics: Sequence[str],
        on_assign: OnRebalance | None = None,
        on_revoke: OnRebalance | None = None,
        on_lost: OnRebalance | None = None,
    ) -> None:
        """Join the group at the next ``consume()``."""
        self._open()
        self.member.topics = frozenset(topics)
        self._callbacks = {"assign": on_assign, "revoke": on_revoke, "lost": on_lost or on_revoke}

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        """Run the due callbacks and return up to ``num_messages`` messages and events at once."""
        self._open()
        if self._is_fatal or self._is_down():
            self._cluster.sleep(max(timeout, 0))
            return []
        self._answer()
        if self.member.topics:
            self._rebalance()
        with self._cluster.lock:
            messages = self._events(num_messages) or self._fetch(num_messages)
        if not messages and timeout > 0:
            self._cluster.sleep(timeout)
        return messages

    def poll(self, timeout: float = -1) -> Message | None:
        """Run the due callbacks and return one message or event, or None."""
        messages = self.consume(1, timeout)
        return messages[0] if messages else None

    def assign(self, partitions: TopicPartitions) -> None:
        """Read these partitions from their offsets; only without a subscription."""
        self._open()
        if self.member.topics:
            reason = "Failed to set assignment: use incremental_assign() in a cooperative group"
            raise failure(KafkaError._STATE, reason)
        self._fetches = {
            topic_partition(p): self._new_fetch(topic_partition(p), p.offset) for p in partitions
        }

    def incremental_assign(self, partitions: TopicPartitions) -> None:
        """Add partitions from their offsets: in ``on_assign``, or after `incremental_unassign`."""
        self._open()
        for partition in partitions:
            if topic_partition(partition) in self._fetches:
                reason = f"{partition.topic} [{partition.partition}] is already part of the current"
                raise failure(KafkaError._CONFLICT, f"{reason} assignment")
        self._fetches |= {
            topic_partition(p): self._new_fetch(topic_partition(p), p.offset) for p in partitions
        }
        self._has_assigned = True

    def incremental_unassign(self, partitions: TopicPartitions) -> None:
        """Stop reading partitions; in the group they remain partitions of this consumer."""
        self._open()
        for partition in partitions:
            if topic_partition(partition) not in self._fetches:
                reason = f"{partition.topic} [{partition.partition}] can't be unassigned since it"
                raise failure(KafkaError._INVALID_ARG, f"{reason} is not in the current assignment")
        for partition in partitions:
            del self._fetches[topic_partition(partition)]

    def assignment(self) -> TopicPartitions:
        """Return the partitions that it reads."""
        self._open()
        return [TopicPartition(f.topic, f.partition, f.start) for f in self._fetches.values()]

    def pause(self, partitions: TopicPartitions) -> None:
        """Return no messages of these partitions. Partitions that are not read are ignored."""
        self._set_paused(partitions, paused=True)

    def resume(self, partitions: TopicPartitions) -> None:
        """Return messages of these partitions again. Partitions that are not read are ignored."""
        self._set_paused(partitions, paused=False)

    def seek(self, partition: TopicPartition) -> None:
        """Continue from another offset, if the log still has the event of its leader epoch.

        Raises `KafkaException` for a partition that is not read, and for a partition that stopped
        after ``_AUTO_OFFSET_RESET``. The latter needs `incremental_unassign` and
        `incremental_assign`. Before the partition returned a message or its end, it does nothing.
        """
        self._open()
        fetch = self._fetches.get(topic_partition(partition))
        if fetch is None or fetch.stopped:
            is_known = fetch or partition.topic in self.member.topics
            code = KafkaError._STATE if is_known else KafkaError._UNKNOWN_PARTITION
            raise failure(code, f"Failed to seek to offset {partition.offset}")
        # As in librdkafka, a seek is lost, without an error, while the fetch is being started.
        if fetch.next is not None:
            fetch.seek(partition.offset, partition.leader_epoch)

    def position(self, partitions: TopicPartitions) -> TopicPartitions:
        """Return the offset after the last message returned, or OFFSET_INVALID, of each."""
        self._open()
        fetches = ((p, self._fetches.get(topic_partition(p))) for p in partitions)
        return [
            TopicPartition(p.topic, p.partition, fetch.position if fetch else OFFSET_INVALID)
            for p, fetch in fetches
        ]

    def committed(self, partitions: TopicPartitions, timeout: float = -1) -> TopicPartitions:
        """Return the group's committed offsets, or OFFSET_INVALID, of each."""
        self._open()
        if self._cluster.faults.down:
            self._cluster.sleep(max(timeout, 0))
            raise failure(KafkaError._TIMED_OUT, "Failed to get committed offsets")
        with self._cluster.lock:
            group = self._cluster.group(self.group_id)
            offsets = [
                (p, group.offsets.get(topic_partition(p), OFFSET_INVALID)) for p in partitions
            ]
            return [
                TopicPartition(
                    p.topic, p.partition, offset, group.metadata.get(topic_partition(p), "")
                )
                for p, offset in offsets
            ]

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = -1, *, cached: bool = False
    ) -> tuple[int, int]:
        """Return the low and the high watermark. Cached ones exist only after a read."""
        self._open()
        if self._cluster.faults.down and not cached:
            self._cluster.sleep(max(timeout, 0))
            raise failure(KafkaError._TIMED_OUT, "Failed to get watermark offsets")
        with self._cluster.lock:
            log = self._cluster.log(*topic_partition(partition))
            if log is None:
                raise failure(KafkaError._UNKNOWN_PARTITION, "Failed to get watermark offsets")
            fetch = self._fetches.get(topic_partition(partition))
            if cached and (fetch is None or fetch.next is None):
                return OFFSET_INVALID, OFFSET_INVALID
            return log.low, log.end(str(self._conf.get("isolation.level")))

    def list_topics(
        self,
        topic: str | None = None,
        timeout: float = -1,  # noqa: ARG002 - nothing waits
    ) -> "ClusterMetadata":
        """Return the metadata of one topic or of all."""
        self._open()
        return self._cluster.metadata(topic)

    def memberid(self) -> str | None:
        """Return the id of the member, or None before it joined."""
        self._open()
        return self.member.name if self.member.joined else None

    def commit(
        self,
        message: Message | None = None,
        offsets: TopicPartitions | None = None,
        *,
        asynchronous: bool = True,
    ) -> TopicPartitions | None:
        """Commit offsets; an asynchronous commit is answered by ``on_commit`` in ``consume()``."""
        self._open()
        if message is not None:
            next_offset = (message.offset() or 0) + 1
            offsets = [TopicPartition(message.topic() or "", message.partition() or 0, next_offset)]
        asked = list(offsets or ())
        if asynchronous:
            self._waiting.append(asked)
            self._serve_commits()
            return None
        if self._cluster.faults.down:
            raise failure(KafkaError._TIMED_OUT, "Commit failed")
        error, answered = self._commit(asked)
        if error is not None:
            raise KafkaException(error)
        return answered

    def close(self) -> None:
        """Call ``on_revoke``, or ``on_lost`` if it was expelled, answer commits, and leave."""
        if self.closed:
            return
        self._give_up("lost" if self.member.expired else "revoke", sorted(self.member.owned))
        self._answer()
        with self._cluster.lock:
            self._cluster.group(self.group_id).leave(self.member, self._cluster.partitions_of)
        self.closed = True
        self._fetches = {}

    def take(self, partitions: list[TopicAndPartition]) -> None:
        """Read these from the committed offsets, if ``on_assign`` did not set the start."""
        if not self._has_assigned:
            self._fetches |= {p: self._new_fetch(p, OFFSET_STORED) for p in partitions}

    def stop_reading(self, partitions: list[TopicAndPartition]) -> None:
        """Stop reading these."""
        for partition in partitions:
            self._fetches.pop(partition, None)

    def _call(self, kind: str, partitions: list[TopicAndPartition]) -> None:
        self._has_assigned = False
        super()._call(kind, partitions)

    def _events(self, limit: int) -> list[Message]:
        events: list[Message] = []
        while self.events and len(events) < limit:
            events.append(self.events.popleft())
            error = events[-1].error()
            if error is not None and error.code() == KafkaError._FATAL:
                self._is_fatal = True
        return events

    def _fetch(self, limit: int) -> list[Message]:
        """Read the partitions one after the other. Each call starts with another partition."""
        messages: list[Message] = []
        fetches = list(self._fetches.values())
        self._turn += 1
        for index in range(len(fetches)):
            fetch = fetches[(self._turn + index) % len(fetches)]
            log = self._cluster.log(fetch.topic, fetch.partition)
            if log is not None and len(messages) < limit:
                stored = self._cluster.committed(self.group_id, fetch.topic, fetch.partition)
                messages += fetch.read(log, limit - len(messages), stored, self._conf)
        return messages

    def _open(self) -> None:
        if self.closed:
            raise RuntimeError("Consumer closed")

    def _is_down(self) -> bool:
        down = self._cluster.faults.down
        if down and not self._said_down and self._conf.get("error_cb"):
            self._conf["error_cb"](KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
        self._said_down = down
        return down

    def _new_fetch(self, partition: TopicAndPartition, start: int) -> Fetch:
        return Fetch(*partition, start, paused=partition in self._pauses)

    def _set_paused(self, partitions: TopicPartitions, *, paused: bool) -> None:
        self._open()
        for partition in partitions:
            key = topic_partition(partition)
            # As in librdkafka, a pause outlives the assignment, and may come before it.
            if partition.topic in self.member.topics or key in self._fetches:
                (self._pauses.add if paused else self._pauses.discard)(key)
            if fetch := self._fetches.get(key):
                fetch.paused = paused
