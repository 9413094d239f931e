"""Commits offsets, and decides where reading starts.

No count depends on a commit that succeeds: a failed commit is sent again, and after a lost one the
events are read again.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from shlex import quote
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from dynatomic.kafka.commit_metadata import CommitMetadata, is_foreign, parse
from dynatomic.telemetry.durations import Durations
from dynatomic.telemetry.logs import RateLimiter
from dynatomic.worker.partition import Partition

log = logging.getLogger(__name__)

RETRY_S = 0.5
COMMIT_TIMEOUT_S = 60.0
FETCH_TIMEOUT_S = 1.0
LOG_INTERVAL_S = 10.0


class Offsets:
    """Commits the committable offsets of partitions, one request at a time, without blocking.

    Each commit carries the topic id and the fingerprint of the counters file as its metadata. So
    the offsets of a deleted topic are not used for a new topic of the same name, and another file
    is noticed. ``commits`` counts the commits by outcome. ``last_commit`` is the Unix time of the
    last commit that succeeded, or 0.
    """

    def __init__(  # noqa: PLR0913 - the last four have defaults
        self,
        topic: str,
        group: str,
        *,
        topic_id: str | None = None,
        fingerprint: str | None = None,
        reset: str = "earliest",
        commits: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._group = group
        self._topic_id = topic_id
        self._fingerprint = fingerprint
        self._reset = reset
        self._is_enabled = commits
        self._clock = clock
        self._commit_sent_at: float | None = None
        self._no_commit_before = 0.0
        self._no_fetch_before = 0.0
        self._should_log = RateLimiter(LOG_INTERVAL_S, clock)
        self.last_error: str | None = None
        self.commits = {"ok": 0, "failed": 0}
        self.last_commit = 0.0
        self.commit_durations = Durations()

    def commit(self, consumer: Any, partitions: Collection[Partition], *, now: bool) -> None:
        """Commit the committable offsets; with ``now`` also while another commit is in flight."""
        if not self._is_enabled:
            for partition in partitions:
                partition.commit_skipped()
            return
        time_s = self._clock()
        if self._commit_sent_at is not None and time_s - self._commit_sent_at >= COMMIT_TIMEOUT_S:
            self._commit_sent_at = None
            for partition in partitions:
                partition.commit_failed()
        is_pending = self._commit_sent_at is not None
        if not now and (is_pending or time_s < self._no_commit_before):
            return
        due = [p for p in partitions if p.is_commit_due]
        if not due:
            return
        metadata = CommitMetadata(self._topic_id, counters=self._fingerprint).encode()
        offsets = [TopicPartition(self._topic, p.id, p.committable_offset, metadata) for p in due]
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            self._commit_failed(error.args[0])
            return
        self._commit_sent_at = time_s
        for partition in due:
            partition.commit_sent()

    def on_commit_result(
        self,
        error: KafkaError | None,
        results: list[TopicPartition],
        partitions: Mapping[int, Partition],
    ) -> None:
        """Handle the answer to a commit, which has a result for each partition."""
        if self._commit_sent_at is not None:
            self.commit_durations.add(self._clock() - self._commit_sent_at)
        self._commit_sent_at = None
        last_failure = None
        for result in results:
            partition = partitions.get(result.partition)
            failure = result.error or error
            if partition is None:
                if failure is not None:
                    fields = {"partition": result.partition, "cause": failure.name()}
                    log.warning("commit after a revocation failed", extra={"fields": fields})
            elif failure is None:
                partition.committed_to(result.offset, self._clock())
            else:
                partition.commit_failed()
                last_failure = failure
        if last_failure is not None:
            self._commit_failed(last_failure)
        elif results:
            self.last_error = None
            self.commits["ok"] += 1
            self.last_commit = time.time()

    def _commit_failed(self, error: KafkaError) -> None:
        self.commits["failed"] += 1
        if self.last_error is None:
            log.warning("commit failed", extra={"fields": {"cause": error.name()}})
        self.last_error = error.name()
        self._no_commit_before = self._clock() + RETRY_S

    def ensure_start(
        self, consumer: Any, partitions: Collection[Partition], *, may_assign: bool = True
    ) -> None:
        """Make sure that partitions are read from the committed offset of this topic, or stop them.

        librdkafka fetches the committed offset too, at another time. It also accepts the offset of
        a deleted topic of the same name. Events that it read from a wrong offset are dropped, and
        read again. A commit without a topic id is accepted, because the tools of Kafka write no id.
        During a rebalance nothing may be assigned (``may_assign`` is False).
        """
        unconfirmed = [p for p in partitions if not p.start_confirmed and p.stop_reason is None]
        unfetched = {p.id: p for p in unconfirmed if p.start_offset is None}
        if unfetched and self._clock() >= self._no_fetch_before:
            for committed in self._fetch_committed(consumer, list(unfetched.values())):
                partition = unfetched[committed.partition]
                self._take_committed(partition, committed.offset, committed.metadata or "")
        for partition in unconfirmed:
            start = partition.start_offset
            if start is None or partition.stop_reason is not None:
                continue
            if 0 <= partition.first_read_offset <= start:
                partition.confirm_start()
            elif may_assign and (start < 0 or partition.first_read_offset >= 0):
                self._assign_at(consumer, partition, start)

    def _take_committed(self, partition: Partition, offset: int, metadata: str) -> None:
        if offset > 0 and is_foreign(metadata, self._topic_id):
            partition.reset_position()
            self._stop(partition, self._foreign_offset_message(partition, offset, metadata))
        elif offset < 0 and self._reset == "error":
            self._stop(partition, self._missing_offset_message(partition, offset))
        else:
            partition.set_start(offset)

    def _fetch_committed(self, consumer: Any, partitions: Collection[Partition]) -> list[Any]:
        """Return the committed offsets from the coordinator of the group."""
        query = [TopicPartition(self._topic, p.id) for p in partitions]
        try:
            committed = consumer.committed(query, timeout=FETCH_TIMEOUT_S)
            failure = next((c.error for c in committed if c.error is not None), None)
        except KafkaException as error:
            committed, failure = [], error.args[0]
        if failure is not None:
            self._no_fetch_before = self._clock() + RETRY_S
            fields = {"partitions": [p.id for p in partitions], "cause": failure.name()}
            if self._should_log():
                log.warning("committed offset unknown, trying again", extra={"fields": fields})
        return [c for c in committed if c.error is None]

    def handle_out_of_range(self, consumer: Any, partition: Partition) -> None:
        """Stop a partition whose offset the topic no longer has.

        A topic that lost the committed offset has also lost events. To continue without a message
        would count too little, so a person decides. librdkafka reports the same error for a group
        without a committed offset. Then `ensure_start` assigns the partition.
        """
        if self._clock() < self._no_fetch_before:
            return
        for committed in self._fetch_committed(consumer, [partition]):
            partition.clear_out_of_range()
            if committed.offset >= 0 or partition.position >= 0:
                self._stop(partition, self._missing_offset_message(partition, committed.offset))
            else:
                partition.clear_start()

    def _stop(self, partition: Partition, reason: str) -> None:
        partition.stop(reason)
        fields = {"topic": self._topic, "partition": partition.id, "cause": reason}
        log.error("partition stopped", extra={"fields": fields})

    def _assign_at(self, consumer: Any, partition: Partition, offset: int) -> None:
        if offset < 0:
            offset = OFFSET_END if self._reset == "latest" else OFFSET_BEGINNING
        # After an error librdkafka cannot seek in the partition, so the partition is assigned
        # again.
        consumer.incremental_unassign([TopicPartition(self._topic, partition.id)])
        consumer.incremental_assign([TopicPartition(self._topic, partition.id, offset)])
        partition.start_again()

    def _missing_offset_message(self, partition: Partition, committed: int) -> str:
        name, fix = self._topic_partition(partition), self._fix_command(partition)
        if committed < 0 <= partition.position:
            return f"{name} no longer has the offset {partition.position}; to go on without: {fix}"
        if committed < 0:
            return f"{name} has no committed offset and auto.offset.reset is error: {fix}"
        return f"{name} no longer has the committed offset {committed}; to go on without: {fix}"

    def _foreign_offset_message(self, partition: Partition, committed: int, metadata: str) -> str:
        name, fix = self._topic_partition(partition), self._fix_command(partition)
        topic_id = parse(metadata).topic_id
        return (
            f"{name} has the committed offset {committed} of a topic with the id {topic_id}, and "
            f"this one's is {self._topic_id}: it was deleted and made again, or is on another "
            f"cluster; to count it from its beginning: {fix}"
        )

    def _topic_partition(self, partition: Partition) -> str:
        return f"{self._topic}:{partition.id}"

    def _fix_command(self, partition: Partition) -> str:
        return (
            f"stop the group, then `dynatomic offsets -g {quote(self._group)} -t {self._topic} "
            f"--partition {partition.id} --execute`"
        )
