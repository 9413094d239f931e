"""What stands in the dead-letter topic: letters, and notes of which were replayed.

An event is known by its source: topic, the topic's id, partition, offset. A consumer that ended
between storing a letter and its commit stores it again, so a source may have several letters.
Which events were put back is written into the dead-letter topic itself, as messages that hold
nothing but headers `REPLAYED`, each with up to `MOST_IN_NOTE` offsets of one source partition:
``row-events:<topic id>:<partition>:12-40,44``. So a note goes wherever the letters go (mirrors,
retention), and stands behind the letters that it speaks of.
"""

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.letter import HEADERS, TOPIC_ID, DeadLetter, Headers
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
PATIENCE_S = 60.0

_NUMBER = re.compile(r"[0-9]{1,19}")
_SPAN = re.compile(r"([0-9]{1,19})(?:-([0-9]{1,19}))?")
_NOTE = re.compile(r"([A-Za-z0-9._-]{1,249}):([0-9a-f]{32})?:([0-9]{1,10}):([0-9,-]+)")
_WORD = 64

Source = tuple[str, str, int]
"""Topic, its id (empty if not known) and partition."""


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A letter as the dead-letter topic has it: what it holds, who stored it, when and where."""

    letter: DeadLetter
    group: str
    topic_id: str
    time_ms: int
    partition: int
    offset: int

    @property
    def source(self) -> Source:
        """The partition that the event comes from."""
        return self.letter.topic, self.topic_id, self.letter.partition


def opened(message: Any) -> StoredLetter | None:
    """Return the letter in a message of the dead-letter topic, None if it is none of ours."""
    headers = headers_of(message)
    size = len(HEADERS) + (headers[-1:] != () and headers[-1][0] == TOPIC_ID)
    own = headers[-size:]  # the event's headers may have any names, ours stand behind them
    if tuple(name for name, _ in own[: len(HEADERS)]) != HEADERS:
        return None
    topic, partition, offset, why, detail, group, *topic_id = (
        (value or b"").decode(errors="replace") for _, value in own
    )
    if not (_NUMBER.fullmatch(partition) and _NUMBER.fullmatch(offset)):
        return None
    place = (topic, int(partition), int(offset))
    content = (message.key(), message.value(), headers[:-size])
    return StoredLetter(
        DeadLetter(*place, *content, why, detail),
        group,
        topic_id[0] if topic_id else "",
        message.timestamp()[1],
        message.partition(),
        message.offset(),
    )


def headers_of(message: Any) -> Headers:
    """Return a message's headers, none where the client cannot give their names."""
    try:
        return tuple(message.headers() or ())
    except (SystemError, UnicodeError):
        return ()


def note(sources: Mapping[Source, Collection[int]]) -> list[tuple[str, bytes]]:
    """Return the headers that say which events were replayed, by source."""
    found = []
    for (topic, topic_id, partition), offsets in sources.items():
        text = f"{topic}:{topic_id}:{partition}:{','.join(_spans(sorted(offsets)))}"
        found.append((REPLAYED, text.encode()))
    return found


def _spans(offsets: list[int]) -> Iterator[str]:
    first = 0
    for index in range(1, len(offsets) + 1):
        if index == len(offsets) or offsets[index] != offsets[index - 1] + 1:
            low, high = offsets[first], offsets[index - 1]
            yield f"{low}-{high}" if low < high else str(low)
            first = index


def noted(message: Any) -> list[tuple[Source, list[int]]]:
    """Return what a note says; nothing for any other message."""
    headers = headers_of(message)
    if not headers or any(name != REPLAYED for name, _ in headers):
        return []
    return [found for _, value in headers if (found := _read_note(value or b"")) is not None]


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


class ReplayedOffsets:
    """A set of offsets by source partition.

    2 bytes an event where offsets follow each other, as where a consumer threw everything away,
    and at most some 150 where they do not.
    """

    def __init__(self) -> None:
        self._words: dict[Source, dict[int, int]] = {}

    def add(self, source: Source, offset: int) -> bool:
        """Add one; return whether it is new."""
        words = self._words.setdefault(source, {})
        word, bit = words.get(offset // _WORD, 0), 1 << offset % _WORD
        words[offset // _WORD] = word | bit
        return not word & bit

    def has(self, item: StoredLetter) -> bool:
        """Tell whether the event of a letter is among them."""
        return _holds(self._words.get(item.source, {}), item.letter.offset)

    def others(self, source: Source, run: list[Any]) -> list[Any]:
        """Return the messages of a source partition, in a run, that are not among them."""
        words = self._words.get(source)
        return [m for m in run if not _holds(words, m.offset())] if words else run


def _holds(words: Mapping[int, int], offset: int) -> bool:
    return bool(words.get(offset // _WORD, 0) >> offset % _WORD & 1)


def reader_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of a consumer that reads the dead-letter topic, in no group.

    What retention removes meanwhile is passed over. Little is fetched ahead: a letter may be large.
    """
    return consumer_config(settings, eof=True) | {
        "auto.offset.reset": "earliest",
        "queued.max.messages.kbytes": "16384",
    }


class DeadLetterTopic:
    """The dead-letter topic from its first message to the end that it has now.

    Raises ConfigError if there is none, UnavailableError if no broker answers, both when it is made
    and when it is read.
    """

    def __init__(
        self,
        consumer: Any,
        topic: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.name = topic
        self._consumer = consumer
        self._marks = watermarks(consumer, topic)
        self._clock = clock
        self._patience_s = patience_s

    def messages(self) -> Iterator[Any]:
        """Yield all messages, partition by partition, the oldest first; each time anew."""
        for number, marks in sorted(self._marks.items()):
            if marks.low < marks.high:
                yield from self._read(number, marks)
        self._consumer.assign([])

    def _read(self, number: int, marks: Watermarks) -> Iterator[Any]:
        self._consumer.assign([TopicPartition(self.name, number, marks.low)])
        deadline, trouble = self._clock() + self._patience_s, ""
        while True:
            message = self._consumer.poll(0.2)
            if message is None:
                if self._clock() >= deadline:
                    raise UnavailableError(
                        f"topic {self.name!r}, partition {number}: no broker gave a message for "
                        f"{self._patience_s:.0f} s{trouble}; check that Kafka is running"
                    )
                continue
            if message.error() is not None and message.error().code() != PARTITION_EOF:
                trouble = f" ({self._trouble(message.error())})"
                continue
            if message.partition() != number:
                continue  # read ahead of the partition before
            if message.error() is None and message.offset() < marks.high:
                yield message
                deadline = self._clock() + self._patience_s
            if message.offset() >= marks.high - (message.error() is None):
                return

    def _trouble(self, error: Any) -> str:
        if error.code() in DENIED:
            raise ConfigError(f"topic {self.name!r} may not be read; allow Read on it")
        if error.code() == FATAL or error.fatal():
            raise DynatomicError(f"the Kafka client failed for good: {reason(error)}; try again")
        return reason(error)


def replayed_in(messages: Iterable[Any]) -> ReplayedOffsets:
    """Return all events of which a note says that they were replayed."""
    found = ReplayedOffsets()
    for message in messages:
        for source, offsets in noted(message):
            for offset in offsets:
                found.add(source, offset)
    return found


def letters_of(
    messages: Iterable[Any], topic: str, topic_id: str | None, group: str
) -> Callable[[int, list[Any]], list[Any]]:
    """Return what takes, of a run of a partition of a topic, the events without a letter.

    Letters of other groups do not count: they say nothing of what this one has counted.
    """
    found = ReplayedOffsets()
    for message in messages:
        item = opened(message)
        if item is None or (item.letter.topic, item.group) != (topic, group):
            continue
        if item.topic_id in ("", topic_id or ""):
            found.add((topic, "", item.letter.partition), item.letter.offset)
    return lambda number, run: found.others((topic, "", number), run)
