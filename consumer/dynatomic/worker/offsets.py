"""Committing offsets, and where to begin when there is none. Knows librdkafka's consumer.

Correctness never rests on a commit having succeeded: a failed one is sent again, and one that
never arrives makes events be read twice.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from shlex import quote
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from dynatomic.kafka.topics import is_foreign
from dynatomic.telemetry.durations import Durations
from dynatomic.telemetry.logs import RateLimiter
from dynatomic.worker.partition import Partition

log = logging.getLogger(__name__)

RETRY_S = 0.5
COMMIT_TIMEOUT_S = 60.0
FETCH_TIMEOUT_S = 1.0
LOG_INTERVAL_S = 10.0


class Offsets:
    """Commits what partitions have settled, one request at a time, without waiting for it.

    Each commit carries the topic's id as its metadata: when the topic is deleted and made again,
    the offsets of the old one are not taken for the new one's. ``commits`` counts them by outcome,
    ``last_commit`` is when one succeeded last, in Unix time; 0 if none has.
    """

    def __init__(  # noqa: PLR0913 - the last four have defaults
        self,
        topic: str,
        group: str,
        *,
        topic_id: str | None = None,
        reset: str = "earliest",
        commits: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._group = group
        self._topic_id = topic_id
        self._reset = reset
        self._commits = commits
        self._clock = clock
        self._commit_sent_at: float | None = None
        self._not_before = 0.0
        self._no_fetch_before = 0.0
        self._may_say = RateLimiter(LOG_INTERVAL_S, clock)
        self.last_error: str | None = None
        self.commits = {"ok": 0, "failed": 0}
        self.last_commit = 0.0
        self.commit_durations = Durations()

    def commit(self, consumer: Any, partitions: Collection[Partition], *, now: bool) -> None:
        """Commit what is settled; ``now`` does not wait for the answer to the commit before."""
        if not self._commits:
            for partition in partitions:
                partition.sent_offset = partition.committed_offset = partition.committable_offset
            return
        time_ = self._clock()
        if self._commit_sent_at is not None and time_ - self._commit_sent_at >= COMMIT_TIMEOUT_S:
            self._commit_sent_at = None
            for partition in partitions:
                partition.sent_offset = partition.committed_offset
        waiting = self._commit_sent_at is not None
        if not now and (waiting or time_ < self._not_before):
            return
        due = [p for p in partitions if p.committable_offset > p.sent_offset]
        if not due:
            return
        about = self._topic_id or ""
        places = [TopicPartition(self._topic, p.id, p.committable_offset, about) for p in due]
        try:
            consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            self._commit_failed(error.args[0])
            return
        self._commit_sent_at = time_
        for partition in due:
            partition.sent_offset = partition.committable_offset

    def on_commit_result(
        self,
        error: KafkaError | None,
        places: list[TopicPartition],
        partitions: Mapping[int, Partition],
    ) -> None:
        """Take in the answer to a commit: each partition has its own."""
        if self._commit_sent_at is not None:
            self.commit_durations.add(self._clock() - self._commit_sent_at)
        self._commit_sent_at = None
        failed = None
        for place in places:
            partition = partitions.get(place.partition)
            problem = place.error or error
            if partition is None:
                if problem is not None:
                    fields = {"partition": place.partition, "cause": problem.name()}
                    log.warning("commit after a revocation failed", extra={"fields": fields})
            elif problem is None:
                partition.committed_offset = max(partition.committed_offset, place.offset)
                partition.progress_at = self._clock()
            else:
                partition.sent_offset = partition.committed_offset
                failed = problem
        if failed is not None:
            self._commit_failed(failed)
        elif places:
            self.last_error = None
            self.commits["ok"] += 1
            self.last_commit = time.time()

    def _commit_failed(self, error: KafkaError) -> None:
        self.commits["failed"] += 1
        if self.last_error is None:
            log.warning("commit failed", extra={"fields": {"cause": error.name()}})
        self.last_error = error.name()
        self._not_before = self._clock() + RETRY_S

    def ensure_start(
        self, consumer: Any, partitions: Collection[Partition], *, may_begin: bool = True
    ) -> None:
        """Make sure that partitions begin at the committed offset of this topic, or stop them.

        librdkafka has looked it up as well, at another time, and believes that of a deleted topic
        of this name: what was read from beyond is dropped, and read again from the right place. A
        commit without an id, such as that of Kafka's own tools, is believed. Within a rebalance
        nothing may begin (``may_begin``).
        """
        unknown = [p for p in partitions if not p.start_confirmed and p.stop_reason is None]
        asked = [p for p in unknown if p.start_offset is None]
        if asked and self._clock() >= self._no_fetch_before:
            mine = {p.id: p for p in asked}
            for place in self._fetch_committed(consumer, asked):
                self._take_committed(mine[place.partition], place.offset, place.metadata or "")
        for partition in unknown:
            start = partition.start_offset
            if start is None or partition.stop_reason is not None:
                continue
            if 0 <= partition.first_read_offset <= start:
                partition.start_confirmed = True
            elif may_begin and (start < 0 or partition.first_read_offset >= 0):
                partition.reset_position()
                self._assign_at(consumer, partition, start)

    def _take_committed(self, partition: Partition, offset: int, about: str) -> None:
        if offset > 0 and is_foreign(about, self._topic_id):
            partition.reset_position()
            self._stop(partition, self._foreign_offset_message(partition, offset, about))
        elif offset < 0 and self._reset == "error":
            self._stop(partition, self._missing_offset_message(partition, offset))
        else:
            partition.start_offset = offset

    def _fetch_committed(self, consumer: Any, asked: Collection[Partition]) -> list[Any]:
        places = [TopicPartition(self._topic, p.id) for p in asked]
        try:
            found = consumer.committed(places, timeout=FETCH_TIMEOUT_S)
            problem = next((place.error for place in found if place.error is not None), None)
        except KafkaException as error:
            found, problem = [], error.args[0]
        if problem is not None:
            self._no_fetch_before = self._clock() + RETRY_S
            fields = {"partitions": [p.id for p in asked], "cause": problem.name()}
            if self._may_say():
                log.warning("committed offset unknown, trying again", extra={"fields": fields})
        return [place for place in found if place.error is None]

    def handle_out_of_range(self, consumer: Any, partition: Partition) -> None:
        """Stop a partition whose offset the topic no longer has.

        librdkafka tells by the same error that there is none; then `know` begins it. A topic that
        lost the committed offset lost events with it: to go on silently would count too little,
        so a person decides.
        """
        if self._clock() < self._no_fetch_before:
            return
        for found in self._fetch_committed(consumer, [partition]):
            partition.out_of_range = False
            if found.offset >= 0 or partition.position >= 0:
                self._stop(partition, self._missing_offset_message(partition, found.offset))
            else:
                partition.start_offset, partition.start_confirmed = None, False

    def _stop(self, partition: Partition, why: str) -> None:
        partition.stop_reason = why
        fields = {"topic": self._topic, "partition": partition.id, "cause": why}
        log.error("partition stopped", extra={"fields": fields})

    def _assign_at(self, consumer: Any, partition: Partition, offset: int) -> None:
        if offset < 0:
            offset = OFFSET_END if self._reset == "latest" else OFFSET_BEGINNING
        # After an error librdkafka has no fetcher to seek; the partition begins anew.
        consumer.incremental_unassign([TopicPartition(self._topic, partition.id)])
        consumer.incremental_assign([TopicPartition(self._topic, partition.id, offset)])
        partition.out_of_range, partition.start_confirmed = False, True

    def _missing_offset_message(self, partition: Partition, committed: int) -> str:
        place, fix = self._topic_partition(partition), self._fix_command(partition)
        if committed < 0 <= partition.position:
            return f"{place} no longer has the offset {partition.position}; to go on without: {fix}"
        if committed < 0:
            return f"{place} has no committed offset and auto.offset.reset is error: {fix}"
        return f"{place} no longer has the committed offset {committed}; to go on without: {fix}"

    def _foreign_offset_message(self, partition: Partition, committed: int, topic_id: str) -> str:
        place, fix = self._topic_partition(partition), self._fix_command(partition)
        return (
            f"{place} has the committed offset {committed} of a topic with the id {topic_id}, and "
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
