"""Commits offsets, and decides where reading starts.

No count depends on a commit that succeeds: a failed commit is sent again, and after a lost one the
events are read again.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from dynatomic.kafka.commit_metadata import CommitMetadata, is_foreign, parse
from dynatomic.telemetry.durations import Durations
from dynatomic.telemetry.logs import RateLimiter
from dynatomic.worker.partition import Partition
from dynatomic.worker.stop_reasons import StopReasons

log = logging.getLogger(__name__)

RETRY_S = 0.5
COMMIT_TIMEOUT_S = 60.0
FETCH_TIMEOUT_S = 1.0
LOG_INTERVAL_S = 10.0


class Offsets:
    """Commits the committable offsets of partitions, one request at a time, without blocking.

    Each commit carries the topic id, the last event and the fingerprint of the counters file as its
    metadata. So the offsets of a deleted topic are not used for a new topic of the same name, and a
    log that lost counted events or another file is noticed. ``tables`` are those that have fences,
    for the messages. ``commits`` counts the commits by outcome. ``last_commit`` is the Unix time of
    the last commit that succeeded, or 0.
    """

    def __init__(  # noqa: PLR0913 - the last five have defaults
        self,
        topic: str,
        group: str,
        *,
        topic_id: str | None = None,
        fingerprint: str | None = None,
        tables: tuple[str, ...] = (),
        reset: str = "earliest",
        commits: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._topic_id = topic_id
        self._fingerprint = fingerprint
        self._reasons = StopReasons(topic, group, topic_id, tables)
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
        offsets = [
            TopicPartition(self._topic, p.id, p.committable_offset, self._metadata(p)) for p in due
        ]
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            self._commit_failed(error.args[0])
            return
        self._commit_sent_at = time_s
        for partition in due:
            partition.commit_sent()

    def _metadata(self, partition: Partition) -> str:
        return CommitMetadata(self._topic_id, partition.last_event, self._fingerprint).encode()

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
        read again. If the leader epoch of the last event is known, the client compares it with the
        epochs of the broker before events are taken (KIP-320). A commit without a topic id is
        accepted, because the tools of Kafka write no id. During a rebalance nothing may be assigned
        (``may_assign`` is False).
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
            if partition.needs_validation:
                # Until a fetch has returned something, the client loses a seek without an error.
                if may_assign and partition.position >= 0:
                    self._validate_start(consumer, partition, start)
            elif 0 <= partition.first_read_offset <= start:
                partition.confirm_start()
            elif may_assign and (start < 0 or partition.first_read_offset >= 0):
                self._assign_at(consumer, partition, start)

    def _take_committed(self, partition: Partition, offset: int, metadata: str) -> None:
        if offset > 0 and is_foreign(metadata, self._topic_id):
            partition.reset_position()
            self._stop(partition, self._reasons.foreign_offset(partition, offset, parse(metadata)))
        elif offset < 0 and self._reset == "error":
            self._stop(partition, self._reasons.missing_offset(partition, offset))
        else:
            partition.set_start(offset, parse(metadata).last)

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
        start = partition.start_offset or 0
        if partition.position < 0 and _validated_offset(partition, start) < start:
            # Retention removed what lies between the last event and the committed offset.
            partition.clear_out_of_range()
            partition.clear_last_event()
            self._assign_at(consumer, partition, start)
            return
        for committed in self._fetch_committed(consumer, [partition]):
            partition.clear_out_of_range()
            if committed.offset >= 0 or partition.position >= 0:
                self._stop(partition, self._reasons.missing_offset(partition, committed.offset))
            else:
                partition.clear_start()

    def handle_truncation(self, partition: Partition) -> None:
        """Stop a partition whose log lost events that were read.

        What was read of it is written and committed. The log may have other events at the offsets
        of the lost ones, so a person decides (`dynatomic offsets`).
        """
        if partition.truncation is not None and partition.stop_reason is None:
            self._stop(partition, self._reasons.truncated(partition, partition.truncation))

    def _validate_start(self, consumer: Any, partition: Partition, start: int) -> None:
        """Let the client continue after the last event, if the log still has it.

        Offsets between the last event and the committed offset have no events. If the log lost the
        event, the client reports a `Truncation` and reads nothing.
        """
        last = partition.last_event
        topic_partition = TopicPartition(
            self._topic,
            partition.id,
            _validated_offset(partition, start),
            leader_epoch=None if last is None else last.epoch,
        )
        try:
            consumer.seek(topic_partition)
        except KafkaException as error:
            # The client stopped after an error, which it reports.
            if error.args[0].code() != KafkaError._STATE:  # noqa: SLF001 - it has no public name
                raise
        else:
            partition.start_again()

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


def _validated_offset(partition: Partition, start: int) -> int:
    """Return the offset after the last event below ``start``."""
    last = partition.last_event
    return start if last is None or last.epoch is None else min(start, last.offset + 1)
