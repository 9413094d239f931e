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
from dynatomic.telemetry.logs import Every
from dynatomic.worker.partition import Partition

log = logging.getLogger(__name__)

RETRY_S = 0.5
LOST_S = 60.0
LOOK_UP_S = 1.0
SAY_S = 10.0


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
        self._since: float | None = None
        self._not_before = 0.0
        self._no_look_before = 0.0
        self._may_say = Every(SAY_S, clock)
        self.trouble: str | None = None
        self.commits = {"ok": 0, "failed": 0}
        self.last_commit = 0.0
        self.durations = Durations()

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
        about = self._topic_id or ""
        places = [TopicPartition(self._topic, p.number, p.settled, about) for p in due]
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
        if self._since is not None:
            self.durations.add(self._clock() - self._since)
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
            self.commits["ok"] += 1
            self.last_commit = time.time()

    def _failed(self, error: KafkaError) -> None:
        self.commits["failed"] += 1
        if self.trouble is None:
            log.warning("commit failed", extra={"fields": {"cause": error.name()}})
        self.trouble = error.name()
        self._not_before = self._clock() + RETRY_S

    def know(
        self, consumer: Any, partitions: Collection[Partition], *, may_begin: bool = True
    ) -> None:
        """Make sure that partitions begin at the committed offset of this topic, or stop them.

        librdkafka has looked it up as well, at another time, and believes that of a deleted topic
        of this name: what was read from beyond is dropped, and read again from the right place. A
        commit without an id, such as that of Kafka's own tools, is believed. Within a rebalance
        nothing may begin (``may_begin``).
        """
        unknown = [p for p in partitions if not p.known and p.stopped is None]
        asked = [p for p in unknown if p.start is None]
        if asked and self._clock() >= self._no_look_before:
            mine = {p.number: p for p in asked}
            for place in self._look_up(consumer, asked):
                self._found(mine[place.partition], place.offset, place.metadata or "")
        for partition in unknown:
            start = partition.start
            if start is None or partition.stopped is not None:
                continue
            if 0 <= partition.began <= start:
                partition.known = True
            elif may_begin and (start < 0 or partition.began >= 0):
                partition.forget()
                self._begin_at(consumer, partition, start)

    def _found(self, partition: Partition, offset: int, about: str) -> None:
        if offset > 0 and is_foreign(about, self._topic_id):
            partition.forget()
            self._stop(partition, self._stale(partition, offset, about))
        elif offset < 0 and self._reset == "error":
            self._stop(partition, self._why(partition, offset))
        else:
            partition.start = offset

    def _look_up(self, consumer: Any, asked: Collection[Partition]) -> list[Any]:
        places = [TopicPartition(self._topic, p.number) for p in asked]
        try:
            found = consumer.committed(places, timeout=LOOK_UP_S)
            problem = next((place.error for place in found if place.error is not None), None)
        except KafkaException as error:
            found, problem = [], error.args[0]
        if problem is not None:
            self._no_look_before = self._clock() + RETRY_S
            fields = {"partitions": [p.number for p in asked], "cause": problem.name()}
            if self._may_say():
                log.warning("committed offset unknown, trying again", extra={"fields": fields})
        return [place for place in found if place.error is None]

    def begin(self, consumer: Any, partition: Partition) -> None:
        """Stop a partition whose offset the topic no longer has.

        librdkafka tells by the same error that there is none; then `know` begins it. A topic that
        lost the committed offset lost events with it: to go on silently would count too little,
        so a person decides.
        """
        if self._clock() < self._no_look_before:
            return
        for found in self._look_up(consumer, [partition]):
            partition.reset = False
            if found.offset >= 0 or partition.position >= 0:
                self._stop(partition, self._why(partition, found.offset))
            else:
                partition.start, partition.known = None, False

    def _stop(self, partition: Partition, why: str) -> None:
        partition.stopped = why
        fields = {"topic": self._topic, "partition": partition.number, "cause": why}
        log.error("partition stopped", extra={"fields": fields})

    def _begin_at(self, consumer: Any, partition: Partition, offset: int) -> None:
        if offset < 0:
            offset = OFFSET_END if self._reset == "latest" else OFFSET_BEGINNING
        # After an error librdkafka has no fetcher to seek; the partition begins anew.
        consumer.incremental_unassign([TopicPartition(self._topic, partition.number)])
        consumer.incremental_assign([TopicPartition(self._topic, partition.number, offset)])
        partition.reset, partition.known = False, True

    def _why(self, partition: Partition, committed: int) -> str:
        place, fix = self._place(partition), self._fix(partition)
        if committed < 0 <= partition.position:
            return f"{place} no longer has the offset {partition.position}; to go on without: {fix}"
        if committed < 0:
            return f"{place} has no committed offset and auto.offset.reset is error: {fix}"
        return f"{place} no longer has the committed offset {committed}; to go on without: {fix}"

    def _stale(self, partition: Partition, committed: int, topic_id: str) -> str:
        place, fix = self._place(partition), self._fix(partition)
        return (
            f"{place} has the committed offset {committed} of a topic with the id {topic_id}, and "
            f"this one's is {self._topic_id}: it was deleted and made again, or is on another "
            f"cluster; to count it from its beginning: {fix}"
        )

    def _place(self, partition: Partition) -> str:
        return f"{self._topic}:{partition.number}"

    def _fix(self, partition: Partition) -> str:
        return (
            f"stop the group, then `dynatomic offsets -g {quote(self._group)} -t {self._topic} "
            f"--partition {partition.number} --execute`"
        )
