"""The metadata of a committed offset: which topic it belongs to, and its last event. Pure.

Kafka stores a text of at most 4,096 bytes (``offset.metadata.max.bytes``) with each committed
offset. The text is a format and pairs of key and value, separated by spaces::

    dynatomic/2 topic=6f3c09d2d3a94c5e8f0e1b2a3c4d5e6f last=41 epoch=7 time=1790000000000

A new key needs no new format: a reader ignores keys that it does not know, and formats after 2 may
only add keys. Format 1 was the topic's id alone. Any other text, such as that of Kafka's own tools,
says nothing.
"""

import re
from dataclasses import dataclass

FORMAT = "dynatomic/2"

_FORMAT = re.compile(r"dynatomic/[0-9]+")
_ID = re.compile(r"[0-9a-f]{32}")
_FINGERPRINT = re.compile(r"[0-9a-f]{8}")
_NUMBER = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class LastEvent:
    """The last event below a committed offset, as it was when it was read.

    ``epoch`` is the leader epoch of its batch (KIP-101, KIP-320): a log that lost this event and
    grew again has another event at ``offset``, with a higher epoch. ``time_ms`` is its timestamp
    in milliseconds of Unix time. Each is None if it is not known.
    """

    offset: int
    epoch: int | None = None
    time_ms: int | None = None


@dataclass(frozen=True, slots=True)
class CommitMetadata:
    """What a commit says beside its offset. ``topic_id`` has 32 hex digits.

    ``counters`` is the fingerprint of the counters file that counted the events, 8 hex digits.
    """

    topic_id: str | None = None
    last: LastEvent | None = None
    counters: str | None = None

    def encode(self) -> str:
        """Return the text to commit; empty if nothing is known."""
        last = self.last
        values = {
            "topic": self.topic_id,
            "counters": self.counters,
            "last": None if last is None else last.offset,
            "epoch": None if last is None else last.epoch,
            "time": None if last is None else last.time_ms,
        }
        pairs = [f"{key}={value}" for key, value in values.items() if value is not None]
        return " ".join([FORMAT, *pairs]) if pairs else ""


def parse(text: str) -> CommitMetadata:
    """Return what the metadata of a commit says; a value that is damaged is not known."""
    if _ID.fullmatch(text):
        return CommitMetadata(text)
    form, *pairs = text.split(" ")
    if not _FORMAT.fullmatch(form):
        return CommitMetadata()
    values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    topic_id = values.get("topic", "")
    offset = _int_or_none(values, "last")
    last = None
    if offset is not None:
        last = LastEvent(offset, _int_or_none(values, "epoch"), _int_or_none(values, "time"))
    counters = values.get("counters", "")
    return CommitMetadata(
        topic_id if _ID.fullmatch(topic_id) else None,
        last,
        counters if _FINGERPRINT.fullmatch(counters) else None,
    )


def is_foreign(metadata: str, topic_id: str | None) -> bool:
    """Return whether the metadata of a commit has the id of another topic."""
    committed_id = parse(metadata).topic_id
    return topic_id is not None and committed_id is not None and committed_id != topic_id


def _int_or_none(values: dict[str, str], key: str) -> int | None:
    text = values.get(key, "")
    return int(text) if _NUMBER.fullmatch(text) else None
