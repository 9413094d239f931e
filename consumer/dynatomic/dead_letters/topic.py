"""The content of the dead-letter topic: letters, and notes about which were replayed (`notes`).

An event is identified by its source: topic, topic id, partition and offset. A consumer that ended
after it stored a letter and before its commit stores the letter again, so an event can have
several letters.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.letter import (
    BATCH_END,
    CUT,
    HEADERS,
    TOPIC_ID,
    DeadLetter,
    WholeMessage,
    split_headers,
    timestamp_in,
)
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.kafka.client import (
    DENIED,
    FATAL,
    PARTITION_EOF,
    Watermarks,
    consumer_config,
    reason,
    watermarks,
)
from dynatomic.kafka.messages import readable_headers
from dynatomic.kafka.replayed import COUNTERS, read_counters

SILENCE_TIMEOUT_S = 60.0

_NUMBER = re.compile(r"[0-9]{1,19}")

Source = tuple[str, str, int]
"""Topic, its id (empty if not known) and partition."""


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A letter in the dead-letter topic: its content, and which group stored it when and where."""

    letter: DeadLetter
    group: str
    topic_id: str
    time_ms: int
    partition: int
    offset: int

    @property
    def source(self) -> Source:
        """The source partition of the event."""
        return self.letter.topic, self.topic_id, self.letter.partition


def stored_letter(message: Any) -> StoredLetter | None:
    """Return the letter in a message of the dead-letter topic, None for any other message."""
    parts = split_headers(readable_headers(message) or ())
    if parts is None:
        return None
    headers, own = parts
    whole = WholeMessage.from_header(own[CUT]) if CUT in own else None
    counters = read_counters(own[COUNTERS]) if COUNTERS in own else None
    topic, partition, offset, reason_word, detail, group, topic_id = (
        own.get(name, b"").decode(errors="replace") for name in (*HEADERS, TOPIC_ID)
    )
    batch_end = own.get(BATCH_END, b"").decode(errors="replace")
    is_valid = (
        _NUMBER.fullmatch(partition)
        and _NUMBER.fullmatch(offset)
        and (whole is None) == (CUT not in own)
        and (counters is None) == (COUNTERS not in own)
        and (BATCH_END not in own or _NUMBER.fullmatch(batch_end))
    )
    if not is_valid:
        return None
    return StoredLetter(
        letter=DeadLetter(
            topic=topic,
            partition=int(partition),
            offset=int(offset),
            key=message.key(),
            value=message.value(),
            headers=headers,
            reason=reason_word,
            detail=detail,
            whole=whole,
            timestamp_ms=timestamp_in(own),
            counters=counters,
            batch_end=int(batch_end) if batch_end else None,
        ),
        group=group,
        topic_id=topic_id,
        time_ms=message.timestamp()[1],
        partition=message.partition(),
        offset=message.offset(),
    )


def reader_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of a consumer that reads the dead-letter topic, without a group.

    It skips letters that retention removes meanwhile. It prefetches little, because a letter can be
    large.
    """
    return consumer_config(settings, eof=True) | {
        "auto.offset.reset": "earliest",
        "queued.max.messages.kbytes": "16384",
    }


class DeadLetterTopic:
    """The messages of the dead-letter topic, up to its end at the time of construction.

    Reading begins at ``starts`` where it is given, else at the first message.

    The constructor and `messages` raise ConfigError if the topic does not exist or Read on it is
    denied, and UnavailableError if no broker answers.
    """

    def __init__(
        self,
        consumer: Any,
        topic: str,
        *,
        starts: Mapping[int, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
        silence_timeout_s: float = SILENCE_TIMEOUT_S,
    ) -> None:
        self.name = topic
        self._consumer = consumer
        self._starts = starts or {}
        self._watermarks = watermarks(consumer, topic)
        self._clock = clock
        self._silence_timeout_s = silence_timeout_s

    @property
    def ends(self) -> dict[int, int]:
        """The offset at which reading ends, by partition."""
        return {partition: marks.high for partition, marks in self._watermarks.items()}

    def messages(self) -> Iterator[Any]:
        """Yield all messages, partition by partition, the oldest first. Each call reads again."""
        for partition, (low, high) in sorted(self._watermarks.items()):
            marks = Watermarks(max(low, self._starts.get(partition, 0)), high)
            if marks.low < marks.high:
                yield from self._read(partition, marks)
        self._consumer.assign([])

    def _read(self, partition: int, marks: Watermarks) -> Iterator[Any]:
        self._consumer.assign([TopicPartition(self.name, partition, marks.low)])
        deadline, cause = self._clock() + self._silence_timeout_s, ""
        while True:
            message = self._consumer.poll(0.2)
            if message is None:
                if self._clock() >= deadline:
                    raise UnavailableError(
                        f"topic {self.name!r}, partition {partition}: no broker sent a message for "
                        f"{self._silence_timeout_s:.0f} s{cause}; check that Kafka is running"
                    )
                continue
            if message.error() is not None and message.error().code() != PARTITION_EOF:
                cause = f" ({self._check_error(message.error())})"
                continue
            if message.partition() != partition:
                continue  # read ahead of the partition before
            if message.error() is None and message.offset() < marks.high:
                yield message
                deadline = self._clock() + self._silence_timeout_s
            if message.offset() >= marks.high - (message.error() is None):
                return

    def _check_error(self, error: Any) -> str:
        if error.code() in DENIED:
            raise ConfigError(f"topic {self.name!r}: Read is denied; allow Read on it")
        if error.code() == FATAL or error.fatal():
            raise DynatomicError(f"the Kafka client failed for good: {reason(error)}; try again")
        return reason(error)
