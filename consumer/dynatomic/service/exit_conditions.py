"""When the loop ends by itself: all is counted, or another process would get on."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.dynamodb.tables import refusal_message
from dynatomic.errors import DynatomicError
from dynatomic.kafka.client import Watermarks
from dynatomic.kafka.replaceable import has_brokers
from dynatomic.kafka.topics import is_foreign
from dynatomic.worker.causes import Stall
from dynatomic.worker.health import RESTART_AFTER_S
from dynatomic.worker.loop import Worker

CHECK_INTERVAL_S = 1.0
MAX_UNANSWERED = 2
"""How often in a row no broker must have answered the group's client, half a minute apart."""


class RestartDecision:
    """Judges whether another process would get on where this one does not.

    It would where brokers answer others but not the group's own client, asked twice, which has
    lost them (see `kafka.replaceable`). Of anything else that a restart mends nobody knows, so that
    has time.
    """

    def __init__(
        self, consumer: Any, topic: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._clock = clock
        self._judged: Stall | None = None
        self._since = 0.0
        self._unheard = 0

    def error_for(self, stuck: Stall | None) -> DynatomicError | None:
        """Return the error to end with, None to go on. Asks the brokers about what is new."""
        if stuck is None:
            self._judged, self._unheard = None, 0
            return None
        if stuck is self._judged:
            return None
        now = self._clock()
        if self._judged is None or not stuck.cause.restart:
            self._since = now
        self._judged = stuck
        lost = not has_brokers(self._consumer, self._topic)
        self._unheard = self._unheard + 1 if lost else 0
        if self._unheard < MAX_UNANSWERED and now - self._since < RESTART_AFTER_S:
            return None
        return DynatomicError(
            f"no progress for {stuck.seconds:.0f} s ({stuck.cause.word}: {stuck.detail}), which a "
            "new process may mend; start it again"
        )


class DrainCondition:
    """Tells when a group has counted a topic up to the end offsets found at the start.

    Partitions of other members count as well: they are asked for by their committed offsets.
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
        self._ends = {n: marks.high for n, marks in ends.items() if marks.high > marks.low}
        self._clock = clock
        self._looked = float("-inf")

    def done(self) -> bool:
        """Return whether all is counted; raises DynatomicError if that cannot come to pass."""
        others = []
        for number, end in self._ends.items():
            partition = self._worker.partitions.get(number)
            if partition is None:
                others.append(TopicPartition(self._settings.topic, number))
                continue
            if partition.stop_reason:
                raise DynatomicError(partition.stop_reason)
            write = partition.closing.write if partition.closing else None
            if write is not None and write.refused_tables:
                table, cause = next(iter(write.refused_tables.items()))
                what = refusal_message(cause, f"table {table}", "the write")
                raise DynatomicError(f"table {table} refuses to be written: {what}")
            counted = partition.start_confirmed and partition.is_empty and partition.position >= end
            if not counted or partition.committed_offset < partition.committable_offset:
                return False
        return not others or self._others_done(others)

    def _others_done(self, others: list[TopicPartition]) -> bool:
        if self._clock() - self._looked < CHECK_INTERVAL_S:
            return False
        self._looked = self._clock()
        try:
            found = self._worker.consumer.committed(others, timeout=5.0)
        except KafkaException:
            return False  # asked again in a second
        return all(
            place.offset >= self._ends[place.partition]
            and not is_foreign(place.metadata or "", self._worker.topic_id)
            for place in found
        )
