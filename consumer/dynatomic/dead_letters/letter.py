"""A dead letter: a message that cannot be counted, its position in the topic, and the reason.

A message of a compressed batch can be larger than the limit of any topic. A letter of more than
`MAX_LETTER_BYTES` would always be refused, so it is cut: it keeps the head of its value, and the
size and the SHA-256 hash of the whole value. The header `CUT` says so.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, Self

from dynatomic.kafka.messages import readable_headers
from dynatomic.kafka.replayed import (
    COUNTERS,
    TIMESTAMP,
    Headers,
    counters_of_replay,
    milliseconds,
    original_timestamp_ms,
)

HEADERS = (
    "dynatomic.topic",
    "dynatomic.partition",
    "dynatomic.offset",
    "dynatomic.reason",
    "dynatomic.detail",
    "dynatomic.group",
)


TOPIC_ID = "dynatomic.topic-id"
"""The header after these, if the brokers have topic ids: a new topic of the name has another id."""

BATCH_END = "dynatomic.batch-end"
"""The offset after the batch that ``dlq skip-batch`` skipped; the letter has the first offset."""

CUT = "dynatomic.cut"
"""The last header of a letter that was cut: the content of the whole message, as JSON."""

MAX_LETTER_BYTES = 900_000
"""A letter of this size fits a topic with Kafka's default limit of 1 MiB."""
MAX_HEAD_BYTES = 64 * 1024
"""Bytes that a cut letter keeps of a value."""
MAX_CUT_KEY_BYTES = 4 * 1024
MESSAGE_BYTES = 300
"""The memory of a message without its content."""
HEADER_BYTES = 200
"""The memory of a header without its name and value. In a message it takes 3 bytes."""


@dataclass(frozen=True, slots=True)
class WholeMessage:
    """What a message had before its letter was cut. Sizes are in bytes, hashes are SHA-256."""

    value_bytes: int
    value_sha256: str
    key_bytes: int
    key_sha256: str
    headers: int

    @classmethod
    def of(cls, key: bytes | None, value: bytes | None, headers: Headers) -> Self:
        """Return the sizes and hashes of a message."""
        return cls(
            value_bytes=len(value or b""),
            value_sha256=hashlib.sha256(value or b"").hexdigest(),
            key_bytes=len(key or b""),
            key_sha256=hashlib.sha256(key or b"").hexdigest(),
            headers=len(headers),
        )

    @classmethod
    def from_header(cls, text: bytes) -> Self | None:
        """Return what a header `CUT` says, None if it is not of this form."""
        try:
            fields = json.loads(text)
            return cls(**fields)
        except (ValueError, TypeError, RecursionError):
            return None

    def fields(self) -> dict[str, str | int]:
        """Return the fields by name."""
        return {name: getattr(self, name) for name in self.__slots__}

    def header(self) -> bytes:
        """Return the value of the header `CUT`."""
        return json.dumps(self.fields()).encode()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that cannot be counted: its position, its content and the reason.

    ``timestamp_ms`` is its Kafka timestamp; of a replayed event, that of the original one.
    ``counters`` are those that the table refused, None if none counts it. ``whole`` is None unless
    the letter was cut. ``batch_end`` is the offset after a batch that was skipped as a whole, which
    begins at ``offset``; None if the letter is of one event.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    reason: str
    detail: str
    whole: WholeMessage | None = None
    timestamp_ms: int | None = None
    counters: tuple[str, ...] | None = None
    batch_end: int | None = None

    @property
    def size(self) -> int:
        """An estimate of the bytes of key, value and headers, in memory and as a message."""
        return len(self.key or b"") + len(self.value or b"") + _size_of(self.headers)

    def fields(self) -> dict[str, str | int]:
        """Return the fields that a log line may have: position and reason, never the content."""
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "reason": self.reason,
            "detail": self.detail,
        }

    def cut(
        self, max_head_bytes: int = MAX_HEAD_BYTES, max_key_bytes: int = MAX_CUT_KEY_BYTES
    ) -> "DeadLetter":
        """Return the letter with the head of its value only.

        A long key is cut too, and headers are left out if they are longer than the head.
        """
        return replace(
            self,
            key=None if self.key is None else self.key[:max_key_bytes],
            value=None if self.value is None else self.value[:max_head_bytes],
            headers=self.headers if _size_of(self.headers) <= max_head_bytes else (),
            whole=self.whole or WholeMessage.of(self.key, self.value, self.headers),
        )


def _size_of(headers: Headers) -> int:
    return sum(HEADER_BYTES + len(name.encode()) + len(value or b"") for name, value in headers)


def dead_letter_of(
    message: Any, reason: str, detail: str, counters: tuple[str, ...] | None = None
) -> DeadLetter:
    """Return the letter of a consumed message, cut if it is larger than `MAX_LETTER_BYTES`.

    ``counters`` are those that the table refused, None if none counts the message.
    """
    known = readable_headers(message)
    headers = known or ()
    if known is None:
        detail += "; its headers are left out, because their names are not UTF-8"
    stamp = message.timestamp()[1]
    letter = DeadLetter(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        key=message.key(),
        value=message.value(),
        headers=headers,
        reason=reason,
        detail=detail,
        timestamp_ms=original_timestamp_ms(headers, stamp if stamp >= 0 else None),
        counters=counters or counters_of_replay(headers),
    )
    return letter.cut() if letter.size > MAX_LETTER_BYTES else letter


def message_size(message: Any) -> int:
    """Return an estimate of the memory of a consumed message, in bytes."""
    content = len(message.key() or b"") + len(message.value() or b"")
    return content + _size_of(readable_headers(message) or ()) + MESSAGE_BYTES


def own_headers(letter: DeadLetter, group: str, topic_id: str | None) -> list[tuple[str, bytes]]:
    """Return the headers that a letter has after those of its event."""
    position = (letter.topic, str(letter.partition), str(letter.offset))
    values = (*position, letter.reason, letter.detail, group)
    own = [(name, text.encode()) for name, text in zip(HEADERS, values, strict=True)]
    if topic_id is not None:
        own.append((TOPIC_ID, topic_id.encode()))
    if letter.timestamp_ms is not None:
        own.append((TIMESTAMP, str(letter.timestamp_ms).encode()))
    if letter.counters is not None:
        own.append((COUNTERS, json.dumps(letter.counters).encode()))
    if letter.batch_end is not None:
        own.append((BATCH_END, str(letter.batch_end).encode()))
    if letter.whole is not None:
        own.append((CUT, letter.whole.header()))
    return own


_OPTIONAL = (TOPIC_ID, TIMESTAMP, COUNTERS, BATCH_END, CUT)


def split_headers(headers: Headers) -> tuple[Headers, dict[str, bytes]] | None:
    """Return the headers of the event and those of its letter; None if it is no letter.

    The headers of the event can have any names, so those of the letter are taken from the end.
    """
    end = len(headers)
    names = [name for name, _ in headers]
    for name in reversed(_OPTIONAL):
        end -= end > 0 and names[end - 1] == name
    start = end - len(HEADERS)
    if start < 0 or tuple(names[start:end]) != HEADERS:
        return None
    return headers[:start], {name: value or b"" for name, value in headers[start:]}


def timestamp_in(own: dict[str, bytes]) -> int | None:
    """Return the Kafka timestamp that the headers of a letter have."""
    return milliseconds(own.get(TIMESTAMP, b""))
