"""A dead letter: a message that cannot be counted, where it was in the topic, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

HEADERS = (
    "dynatomic.topic",
    "dynatomic.partition",
    "dynatomic.offset",
    "dynatomic.reason",
    "dynatomic.detail",
    "dynatomic.group",
)


TOPIC_ID = "dynatomic.topic-id"
"""The last header, where the brokers give topics an id: tells a topic from one made again."""


Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that cannot be counted: where it stood, what it held, and why."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    reason: str
    detail: str

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.key or b"") + len(self.value or b"")

    def fields(self) -> dict[str, str | int]:
        """Return what a log may say of it: where it stood and why, never what it held."""
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "reason": self.reason,
            "detail": self.detail,
        }


def dead_letter_of(message: Any, reason: str, detail: str) -> DeadLetter:
    """Return the letter of a consumed message."""
    try:
        headers: Headers = tuple(message.headers() or ())
    except (SystemError, UnicodeError):  # the client cannot give names that are not UTF-8
        headers = ()
        detail += "; the names of its headers are not UTF-8, they are left out"
    return DeadLetter(
        message.topic(),
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        headers,
        reason,
        detail,
    )
