"""Reading given offsets of a partition again, within a bound of memory."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from confluent_kafka import KafkaException, TopicPartition

from dynatomic.dead_letters.letter import message_size
from dynatomic.errors import UnavailableError
from dynatomic.kafka.client import PARTITION_EOF

MAX_BATCH = 1_000


class Reread(NamedTuple):
    """Messages by offset. Below ``end`` no further message of the wanted offsets exists."""

    messages: Mapping[int, Any]
    end: int


ReadAgain = Callable[[int, Iterable[int]], Reread]
"""Takes a partition and ascending offsets, and reads at least the first of them."""


class MessageReader(Protocol):
    """The methods of ``confluent_kafka.Consumer`` that are used to read again."""

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read these partitions."""

    def consume(self, num_messages: int, timeout: float) -> list[Any]:
        """Return messages."""

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        """Return the first offset and the end offset."""

    def close(self) -> None:
        """Close the client."""


def read_again(  # noqa: PLR0913 - two are for tests
    make_reader: Callable[[], MessageReader],
    topic: str,
    partition: int,
    offsets: Iterable[int],
    *,
    max_bytes: int,
    timeout_s: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
) -> Reread:
    """Return the messages at some offsets, if the topic still has them.

    It ends early when the messages have ``max_bytes`` bytes; the last one may exceed it. Raises
    UnavailableError if the broker sends nothing for ``timeout_s`` seconds.
    """
    wanted = set(offsets)
    last, deadline = max(wanted), clock() + timeout_s
    nothing = Reread({}, last + 1)
    reader = make_reader()
    try:
        low, high = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=10.0)
        start = max(low, min(wanted))
        if start > last or start >= high:
            return nothing
        reader.assign([TopicPartition(topic, partition, start)])
        reading = _Reading(wanted, max_bytes)
        while not reading.is_done:
            if clock() > deadline:
                raise UnavailableError(
                    f"partition {partition} of {topic} could not be read again; try again"
                )
            # The deadline limits the time without a message, not the time for a long range.
            if reading.take(reader.consume(reading.batch, timeout=0.2)):
                deadline = clock() + timeout_s
    except KafkaException as error:
        raise UnavailableError(
            f"partition {partition} of {topic}: {error.args[0].str()}; try again"
        ) from None
    finally:
        reader.close()
    return Reread(reading.messages, reading.end)


class _Reading:
    """What was read so far. ``batch`` is how many messages may be read at once.

    Messages that are not wanted take memory too, until the next batch comes. The first batch is
    small, because nothing is known of their size.
    """

    def __init__(self, wanted: Collection[int], max_bytes: int) -> None:
        self.messages: dict[int, Any] = {}
        self.end = 0
        self.is_done = False
        self.batch = 10
        self._wanted = wanted
        self._last = max(wanted)
        self._max_bytes = max_bytes
        self._bytes = 0

    def take(self, batch: Iterable[Any]) -> bool:
        """Take in a batch; return whether it had a message."""
        largest = 0
        for message in batch:
            if (error := message.error()) is not None:
                if error.code() == PARTITION_EOF and not self.is_done:
                    self.end, self.is_done = self._last + 1, True
                continue
            size = message_size(message)
            largest = max(largest, size)
            if not self.is_done:
                self._take(message, size)
        if largest:
            self.batch = max(1, min(MAX_BATCH, self._max_bytes // largest))
        return bool(largest)

    def _take(self, message: Any, size: int) -> None:
        offset = message.offset()
        self.end = offset + 1
        if offset in self._wanted:
            self.messages[offset] = message
            self._bytes += size
        self.is_done = offset >= self._last or self._bytes >= self._max_bytes
