"""A dead letter: a message that cannot be counted, its position in the topic, and the reason."""

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
"""The last header, if the brokers have topic ids: another topic of the same name has another id."""


Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that cannot be counted: its position, its content and the reason."""

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
        """Return the fields that a log line may have: position and reason, never the content."""
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
    except (SystemError, UnicodeError):  # the client cannot decode names that are not UTF-8
        headers = ()
        detail += "; its headers are left out, because their names are not UTF-8"
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
