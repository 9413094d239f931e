"""The content of the dead-letter topic: letters, and notes about which letters were replayed.

An event is identified by its source: topic, topic id, partition and offset. A consumer that ended
after it stored a letter and before its commit stores the letter again, so an event can have
several letters. Replays write notes into the dead-letter topic. A note is a message with headers
`REPLAYED` only. Each header has up to `MAX_OFFSETS_IN_NOTE` offsets of one source partition:
``row-events:<topic id>:<partition>:12-40,44``. So mirrors and retention treat notes as they treat
letters, and a note always comes after its letters.
"""

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.letter import (
    CUT,
    HEADERS,
    TOPIC_ID,
    DeadLetter,
    Headers,
    WholeMessage,
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

REPLAYED = "dynatomic.replayed"
MAX_OFFSETS_IN_NOTE = 1_000
SILENCE_TIMEOUT_S = 60.0

_NUMBER = re.compile(r"[0-9]{1,19}")
_SPAN = re.compile(r"([0-9]{1,19})(?:-([0-9]{1,19}))?")
_NOTE = re.compile(r"([A-Za-z0-9._-]{1,249}):([0-9a-f]{32})?:([0-9]{1,10}):([0-9,-]+)")
_WORD = 64

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
    headers = headers_of(message)
    whole = None
    if headers and headers[-1][0] == CUT:
        whole = WholeMessage.from_header(headers[-1][1] or b"")
        headers = headers[:-1]
        if whole is None:
            return None
    size = len(HEADERS) + (headers[-1:] != () and headers[-1][0] == TOPIC_ID)
    own = headers[-size:]  # after the headers of the event, which can have any names
    if tuple(name for name, _ in own[: len(HEADERS)]) != HEADERS:
        return None
    topic, partition, offset, reason_word, detail, group, *topic_id = (
        (value or b"").decode(errors="replace") for _, value in own
    )
    if not (_NUMBER.fullmatch(partition) and _NUMBER.fullmatch(offset)):
        return None
    return StoredLetter(
        letter=DeadLetter(
            topic=topic,
            partition=int(partition),
            offset=int(offset),
            key=message.key(),
            value=message.value(),
            headers=headers[:-size],
            reason=reason_word,
            detail=detail,
            whole=whole,
        ),
        group=group,
        topic_id=topic_id[0] if topic_id else "",
        time_ms=message.timestamp()[1],
        partition=message.partition(),
        offset=message.offset(),
    )


def headers_of(message: Any) -> Headers:
    """Return a message's headers, none if the client cannot decode their names."""
    try:
        return tuple(message.headers() or ())
    except (SystemError, UnicodeError):
        return ()


def note_headers(sources: Mapping[Source, Collection[int]]) -> list[tuple[str, bytes]]:
    """Return the headers of a note: one for each source partition, with the replayed offsets."""
    headers = []
    for (topic, topic_id, partition), offsets in sources.items():
        text = f"{topic}:{topic_id}:{partition}:{','.join(_spans(sorted(offsets)))}"
        headers.append((REPLAYED, text.encode()))
    return headers


def _spans(offsets: list[int]) -> Iterator[str]:
    first = 0
    for index in range(1, len(offsets) + 1):
        if index == len(offsets) or offsets[index] != offsets[index - 1] + 1:
            low, high = offsets[first], offsets[index - 1]
            yield f"{low}-{high}" if low < high else str(low)
            first = index


def replayed_in_note(message: Any) -> list[tuple[Source, list[int]]]:
    """Return the replayed offsets in a note by source, an empty list for any other message."""
    headers = headers_of(message)
    if not headers or any(name != REPLAYED for name, _ in headers):
        return []
    return [entry for _, value in headers if (entry := _read_note(value or b"")) is not None]


def _read_note(value: bytes) -> tuple[Source, list[int]] | None:
    matched = _NOTE.fullmatch(value.decode(errors="replace"))
    if matched is None:
        return None
    topic, topic_id, partition, text = matched.groups()
    offsets: list[int] = []
    for span in text.split(","):
        ends = _SPAN.fullmatch(span)
        if ends is None or int(ends[2] or ends[1]) - int(ends[1]) >= MAX_OFFSETS_IN_NOTE:
            return None
        offsets.extend(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
    return (topic, topic_id or "", int(partition)), offsets


class SourceOffsets:
    """A set of offsets by source partition.

    It takes 2 bytes for each consecutive offset, as when a consumer rejects every event, and up to
    about 150 bytes for each single one.
    """

    def __init__(self) -> None:
        self._words: dict[Source, dict[int, int]] = {}

    def add(self, source: Source, offset: int) -> bool:
        """Add an offset; return whether it is new."""
        words = self._words.setdefault(source, {})
        word, bit = words.get(offset // _WORD, 0), 1 << offset % _WORD
        words[offset // _WORD] = word | bit
        return not word & bit

    def contains(self, item: StoredLetter) -> bool:
        """Return whether the set has the event of this letter."""
        return _holds(self._words.get(item.source, {}), item.letter.offset)

    def absent_from(self, source: Source, messages: list[Any]) -> list[Any]:
        """Return those messages of one source partition whose offsets are not in the set."""
        words = self._words.get(source)
        return [m for m in messages if not _holds(words, m.offset())] if words else messages


def _holds(words: Mapping[int, int], offset: int) -> bool:
    return bool(words.get(offset // _WORD, 0) >> offset % _WORD & 1)


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
                        f"topic {self.name!r}, partition {partition}: no broker gave a message for "
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


def replayed_offsets(messages: Iterable[Any]) -> SourceOffsets:
    """Return the sources of all events that the notes report as replayed."""
    replayed = SourceOffsets()
    for message in messages:
        for source, offsets in replayed_in_note(message):
            for offset in offsets:
                replayed.add(source, offset)
    return replayed
