"""Committing offsets, and where to begin when there is none. Knows librdkafka's consumer.

Correctness never rests on a commit having succeeded: a failed one is sent again, and one that
never arrives makes events be read twice.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from consumer.partition import Partition

log = logging.getLogger(__name__)

RETRY_S = 0.5
LOST_S = 60.0
LOOK_UP_S = 1.0


class Offsets:
    """Commits what partitions have settled, one request at a time, without waiting for it."""

    def __init__(
        self,
        topic: str,
        group: str,
        *,
        reset: str = "earliest",
        commits: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._group = group
        self._reset = reset
        self._commits = commits
        self._clock = clock
        self._since: float | None = None
        self._not_before = 0.0
        self._no_look_before = 0.0
        self.trouble: str | None = None

    def commit(self, consumer: Any, partitions: Collection[Partition], *, now: bool) -> None:
        """Commit what is settled; ``now`` does not wait for the answer to the commit before."""
        if not self._commits:
            for partition in partitions:
                partition.sent = partition.committed = partition.settled
            return
        time_ = self._clock()
        if self._since is not None and time_ - self._since >= LOST_S:
            self._since = None
            for partition in partitions:
                partition.sent = partition.committed
        waiting = self._since is not None
        if not now and (waiting or time_ < self._not_before):
            return
        due = [p for p in partitions if p.settled > p.sent]
        if not due:
            return
        places = [TopicPartition(self._topic, p.number, p.settled) for p in due]
        try:
            consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:
            self._failed(error.args[0])
            return
        self._since = time_
        for partition in due:
            partition.sent = partition.settled

    def answered(
        self,
        error: KafkaError | None,
        places: list[TopicPartition],
        partitions: Mapping[int, Partition],
    ) -> None:
        """Take in the answer to a commit: each partition has its own."""
        self._since = None
        failed = None
        for place in places:
            partition = partitions.get(place.partition)
            problem = place.error or error
            if partition is None:
                if problem is not None:
                    fields = {"partition": place.partition, "cause": problem.name()}
                    log.warning("commit after a revocation failed", extra={"fields": fields})
            elif problem is None:
                partition.committed = max(partition.committed, place.offset)
                partition.progress = self._clock()
            else:
                partition.sent = partition.committed
                failed = problem
        if failed is not None:
            self._failed(failed)
        elif places:
            self.trouble = None

    def _failed(self, error: KafkaError) -> None:
        if self.trouble is None:
            log.warning("commit failed", extra={"fields": {"cause": error.name()}})
        self.trouble = error.name()
        self._not_before = self._clock() + RETRY_S

    def begin(self, consumer: Any, partition: Partition) -> None:
        """Begin a partition that has no offset, or stop one whose offset the topic no longer has.

        librdkafka tells both by one error. A topic that lost the committed offset lost events
        with it: to go on silently would count too little, so a person decides.
        """
        if self._clock() < self._no_look_before:
            return
        place = TopicPartition(self._topic, partition.number)
        try:
            (found,) = consumer.committed([place], timeout=LOOK_UP_S)
            problem = found.error
            fresh = problem is None and found.offset < 0 and partition.position < 0
            if fresh and self._begin_anew(consumer, partition):
                return
        except KafkaException as error:
            problem = error.args[0]
        if problem is not None:
            self._no_look_before = self._clock() + RETRY_S
            fields = {"partition": partition.number, "cause": problem.name()}
            log.warning("committed offset unknown, trying again", extra={"fields": fields})
            return
        partition.reset = False
        partition.stopped = self._why(partition, found.offset)
        fields = {"topic": self._topic, "partition": partition.number, "cause": partition.stopped}
        log.error("partition stopped", extra={"fields": fields})

    def _begin_anew(self, consumer: Any, partition: Partition) -> bool:
        if self._reset == "error":
            return False
        start = OFFSET_END if self._reset == "latest" else OFFSET_BEGINNING
        # After this error librdkafka has no fetcher to seek; the partition begins anew.
        consumer.incremental_unassign([TopicPartition(self._topic, partition.number)])
        consumer.incremental_assign([TopicPartition(self._topic, partition.number, start)])
        partition.reset = False
        return True

    def _why(self, partition: Partition, committed: int) -> str:
        place = f"{self._topic}:{partition.number}"
        fix = (
            f"stop the group, then kafka-consumer-groups.sh --group {self._group} --topic {place} "
            "--reset-offsets --to-earliest --execute"
        )
        if committed < 0 <= partition.position:
            return f"{place} no longer has the offset {partition.position}; to go on without: {fix}"
        if committed < 0:
            return f"{place} has no committed offset and auto.offset.reset is error: {fix}"
        return f"{place} no longer has the committed offset {committed}; to go on without: {fix}"
