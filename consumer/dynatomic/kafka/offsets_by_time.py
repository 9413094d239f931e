"""Offsets by time: the first event of a partition at or after a time, from the brokers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from dynatomic.kafka.client import Watermarks


@dataclass(frozen=True, slots=True)
class OffsetsByTime:
    """Asks for the offsets of one topic.

    With ``strict`` the error of a partition raises KafkaException. Without it the answers leave
    that partition out.
    """

    consumer: Any
    topic: str
    timeout_s: float
    strict: bool = False

    def first(self, partitions: Collection[int], time_ms: int) -> dict[int, int | None]:
        """Return the first offset at or after a time, None if there is no such event.

        Raises KafkaException if the brokers do not answer.
        """
        if not partitions:
            return {}
        wanted = [TopicPartition(self.topic, partition, time_ms) for partition in partitions]
        answers = self.consumer.offsets_for_times(wanted, timeout=self.timeout_s)
        offsets: dict[int, int | None] = {}
        for answer in answers:
            if answer.error is None:
                offsets[answer.partition] = answer.offset if answer.offset >= 0 else None
            elif self.strict:
                raise KafkaException(answer.error)
        return offsets

    def unsupported(
        self, marks: Mapping[int, Watermarks], first: Mapping[int, int | None]
    ) -> set[int]:
        """Return the partitions where ``first`` has no offset because the brokers have no times.

        Brokers without this request answer that there is no such event. A partition that has
        events, but none since 1970 either, shows them. Raises KafkaException as `first` does.
        """
        missing = [
            partition
            for partition, (low, high) in marks.items()
            if low < high and first.get(partition) is None
        ]
        since_1970 = self.first(missing, 0)
        return {partition for partition in missing if since_1970.get(partition) is None}
