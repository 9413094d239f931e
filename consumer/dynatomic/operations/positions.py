"""The committed offsets of a group, and the times of the events at them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.kafka.client import (
    AUTO_OFFSET_RESET,
    PARTITION_EOF,
    ResetPolicy,
    Watermarks,
)
from dynatomic.kafka.commit_metadata import LastEvent, is_foreign, parse
from dynatomic.kafka.groups import CommittedOffset
from dynatomic.kafka.messages import Truncation, check_error

READ_S = 5.0


POLL_S, BATCH = 0.1, 100


# Only the first event from an offset on is read, so little is fetched ahead.
SMALL_FETCHES = {
    "queued.min.messages": "1",
    "fetch.min.bytes": "1",
    "fetch.wait.max.ms": "100",
    "fetch.message.max.bytes": str(64 * 1024),
}


@dataclass(frozen=True, slots=True)
class GroupPosition:
    """The committed offset of a group in a partition, and the watermarks of the partition.

    ``truncation`` is set if the partition lost events below the committed offset and this was
    checked.
    """

    partition: int
    marks: Watermarks
    committed: CommittedOffset | None
    topic_id: str | None
    truncation: Truncation | None = None

    @property
    def foreign(self) -> bool:
        """Whether the commit belongs to a deleted topic of the same name."""
        committed = self.committed
        return (
            committed is not None
            and committed.offset > 0
            and is_foreign(committed.metadata, self.topic_id)
        )

    @property
    def is_truncated(self) -> bool:
        """Whether the log lost events below the committed offset.

        If the brokers do not answer about leader epochs, a log that ends below that offset shows
        it. The commit must be known to be of this topic.
        """
        committed = self.committed
        return self.truncation is not None or (
            committed is not None
            and committed.offset > self.marks.high
            and self.topic_id is not None
            and parse(committed.metadata).topic_id == self.topic_id
        )

    @property
    def kept(self) -> int:
        """The offset where the log was cut; its end if it was not cut."""
        end = self.marks.high if self.truncation is None else self.truncation.end
        return self.marks.high if end is None else max(self.marks.low, end)

    @property
    def problem(self) -> str:
        """What is wrong with the commit, empty if nothing is; `offset_plan` proposes an offset."""
        committed, (low, high) = self.committed, self.marks
        if committed is None:
            return ""
        if self.foreign:
            return (
                f"committed in another topic of this name, id {parse(committed.metadata).topic_id}"
            )
        if self.truncation is not None:
            return f"the log was cut at {self.kept} and grew again: what is there is not counted"
        if committed.offset < low:
            return f"retention removed offsets {committed.offset} to {low - 1}"
        if committed.offset <= high:
            return ""
        cut = f": the log was cut at {high}" if self.is_truncated else ""
        return f"{committed.offset - high} beyond the end{cut}"

    @property
    def lost(self) -> int:
        """How many offsets retention removed before the group reached them."""
        if self.committed is None or self.foreign:
            return 0
        return max(0, self.marks.low - self.committed.offset)

    @property
    def lag(self) -> int | None:
        """The offsets up to the end, as in Kafka's tool; None if the commit is not usable."""
        committed, high = self.committed, self.marks.high
        if committed is None or self.foreign or committed.offset > high:
            return None
        return high - committed.offset

    @property
    def last_event(self) -> LastEvent | None:
        """The last event below the committed offset, if the commit is of this topic and says it."""
        if self.committed is None or self.foreign:
            return None
        last = parse(self.committed.metadata).last
        # A commit that was set back does not show which events below it were counted.
        return last if last is not None and last.offset < self.committed.offset else None

    def start(self, policy: ResetPolicy) -> int:
        """Return the offset at which the group continues in this partition."""
        low, high = self.marks
        if self.is_truncated:
            return self.kept
        if self.committed is None:
            return high if policy == "latest" else low
        return low if self.foreign else min(max(self.committed.offset, low), high)


class Timestamps:
    """Reads the timestamps of the first events from given offsets on.

    ``consumer`` has no subscription, `SMALL_FETCHES` in its configuration, and end-of-partition
    events. A timestamp is read again only if another offset is asked for.
    """

    def __init__(
        self, consumer: Any, settings: Settings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._consumer = consumer
        self._settings = settings
        self._clock = clock
        self._timestamps: dict[int, tuple[int, float]] = {}

    def first(self, offsets: Mapping[int, int], timeout_s: float = READ_S) -> dict[int, float]:
        """Return the time, in seconds since 1970, of the first event from each offset on.

        A partition is missing if it has no event there, if the event has no timestamp, or if no
        broker sent it within ``timeout_s``. Transaction markers are not events.
        """
        self._timestamps = {
            n: known for n, known in self._timestamps.items() if offsets.get(n) == known[0]
        }
        wanted = {n: offset for n, offset in offsets.items() if n not in self._timestamps}
        if wanted:
            self._read(wanted, self._clock() + timeout_s)
        return {partition: at for partition, (_, at) in self._timestamps.items()}

    def _read(self, wanted: dict[int, int], deadline: float) -> None:
        topic = self._settings.topic
        topic_partitions = [
            TopicPartition(topic, partition, offset) for partition, offset in wanted.items()
        ]
        self._consumer.assign(topic_partitions)
        self._consumer.resume(topic_partitions)  # librdkafka keeps a pause over assignments
        try:
            while wanted and self._clock() < deadline:
                messages = self._consumer.consume(BATCH, POLL_S)
                done = {message.partition() for message in messages if self._take(message, wanted)}
                if done and wanted:
                    self._consumer.pause([TopicPartition(topic, partition) for partition in done])
        finally:
            self._consumer.assign([])

    def _take(self, message: Any, wanted: dict[int, int]) -> bool:
        """Keep the time of a message; return whether the message was wanted."""
        partition, error = message.partition(), message.error()
        if error is not None and error.code() not in (PARTITION_EOF, AUTO_OFFSET_RESET):
            check_error(message, self._settings)
            return False
        if partition not in wanted:  # read ahead before it was paused
            return False
        offset = wanted.pop(partition)
        timestamp_type, milliseconds = message.timestamp() if error is None else (0, -1)
        if timestamp_type and milliseconds >= 0:
            self._timestamps[partition] = (offset, milliseconds / 1000)
        return True
