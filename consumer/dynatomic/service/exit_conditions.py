"""When the loop ends without a signal: all events are counted, or a restart is likely to help."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.dynamodb.tables import refusal_message
from dynatomic.errors import DynatomicError
from dynatomic.kafka.client import Watermarks
from dynatomic.kafka.commit_metadata import is_foreign
from dynatomic.kafka.replaceable import has_brokers
from dynatomic.worker.causes import Stall
from dynatomic.worker.health import RESTART_AFTER_S
from dynatomic.worker.loop import Worker
from dynatomic.worker.snapshot import PartitionSnapshot

CHECK_INTERVAL_S = 1.0
MAX_UNANSWERED = 2
"""The process ends after this many failed checks in a row, half a minute apart."""


class RestartDecision:
    """Decides whether a restart of the process is likely to help.

    It helps if brokers answer other clients but not the client of the group, in two checks in a
    row: that client has lost its brokers (see `kafka.replaceable`). For other stalls it is not
    known whether a restart helps, so they get more time.
    """

    def __init__(
        self, consumer: Any, topic: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._clock = clock
        self._last_stall: Stall | None = None
        self._since = 0.0
        self._unanswered = 0

    def error_for(self, stall: Stall | None) -> DynatomicError | None:
        """Return the error to end with, None to continue. Requests metadata once for each stall."""
        if stall is None:
            self._last_stall, self._unanswered = None, 0
            return None
        if stall is self._last_stall:
            return None
        now = self._clock()
        if self._last_stall is None or not stall.cause.restart:
            self._since = now
        self._last_stall = stall
        is_answered = has_brokers(self._consumer, self._topic)
        self._unanswered = 0 if is_answered else self._unanswered + 1
        if self._unanswered < MAX_UNANSWERED and now - self._since < RESTART_AFTER_S:
            return None
        return DynatomicError(
            f"no progress for {stall.seconds:.0f} s ({stall.cause.word}: {stall.detail}); a new "
            "process may recover: start it again"
        )


class DrainCondition:
    """Whether the group has committed the topic up to the end offsets of its start.

    Events that come later do not delay it. ``blocked`` has the partitions that cannot continue,
    because they are stopped or a table refuses their writes. The other partitions are counted.
    The partitions of other members are checked by their committed offsets.
    """

    def __init__(
        self,
        worker: Worker,
        settings: Settings,
        ends: Mapping[int, Watermarks],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._settings = settings
        self._ends = {id_: marks.high for id_, marks in ends.items() if marks.high > marks.low}
        self._clock = clock
        self._checked_at = float("-inf")
        self.blocked: dict[int, DynatomicError] = {}

    @property
    def error(self) -> DynatomicError | None:
        """Why the first blocked partition cannot continue, None if none is blocked."""
        return next(iter(self.blocked.values()), None)

    def done(self) -> bool:
        """Return whether all partitions that are not blocked are committed."""
        not_owned, self.blocked, is_drained = [], {}, True
        for partition_id, end in self._ends.items():
            partition = self._worker.partitions.get(partition_id)
            if partition is None:
                not_owned.append(TopicPartition(self._settings.topic, partition_id))
            elif partition.is_committed_to(end):
                continue
            elif error := _blocking_error(PartitionSnapshot.of(partition)):
                self.blocked[partition_id] = error
            else:
                is_drained = False
        return is_drained and (not not_owned or self._others_drained(not_owned))

    def _others_drained(self, topic_partitions: list[TopicPartition]) -> bool:
        if self._clock() - self._checked_at < CHECK_INTERVAL_S:
            return False
        self._checked_at = self._clock()
        try:
            committed = self._worker.consumer.committed(topic_partitions, timeout=5.0)
        except KafkaException:
            return False  # the next check is in a second
        return all(
            topic_partition.offset >= self._ends[topic_partition.partition]
            and not is_foreign(topic_partition.metadata or "", self._worker.topic_id)
            for topic_partition in committed
        )


def _blocking_error(partition: PartitionSnapshot) -> DynatomicError | None:
    """Return why a partition cannot continue, None if it can."""
    if partition.stop_reason:
        return DynatomicError(partition.stop_reason)
    for table, cause in partition.refused_tables.items():
        message = refusal_message(cause, f"table {table}", "the write")
        return DynatomicError(f"table {table} refuses writes: {message}")
    return None
