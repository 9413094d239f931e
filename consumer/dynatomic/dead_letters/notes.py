"""Notes in the dead-letter topic about the letters that were replayed, and sets of letters.

A note is a message with headers `REPLAYED` and `REPLAYED_COUNTERS` only. A header `REPLAYED` has up
to `MAX_OFFSETS_IN_NOTE` offsets of one source partition, such as
``row-events:<topic id>:<partition>:12-40,44``. A header `REPLAYED_COUNTERS` has one offset, and the
counters of its event that were replayed: ``row-events:<topic id>:<partition>:12:["daily/bytes"]``.
So mirrors and retention treat notes as they treat letters, and a note always comes after its
letters.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from dynatomic.dead_letters.topic import Source, StoredLetter
from dynatomic.kafka.messages import readable_headers
from dynatomic.kafka.replayed import read_counters

REPLAYED = "dynatomic.replayed"
REPLAYED_COUNTERS = "dynatomic.replayed-counters"
MAX_OFFSETS_IN_NOTE = 1_000

_SPAN = re.compile(r"([0-9]{1,19})(?:-([0-9]{1,19}))?")
_NOTE = re.compile(r"([A-Za-z0-9._-]{1,249}):([0-9a-f]{32})?:([0-9]{1,10}):([0-9,-]+)")
_PARTIAL_NOTE = re.compile(
    r"([A-Za-z0-9._-]{1,249}):([0-9a-f]{32})?:([0-9]{1,10}):([0-9]{1,19}):(.*)", re.DOTALL
)
_WORD = 64


class ReplayedEvent(NamedTuple):
    """Some offsets of a source partition that a note reports, and which counters of the events.

    ``counters`` None means all.
    """

    source: Source
    offsets: list[int]
    counters: tuple[str, ...] | None = None


def note_headers(sources: Mapping[Source, Collection[int]]) -> list[tuple[str, bytes]]:
    """Return the headers of a note: one for each source partition, with the replayed offsets."""
    headers = []
    for source, offsets in sources.items():
        text = f"{_source_text(source)}:{','.join(_spans(sorted(offsets)))}"
        headers.append((REPLAYED, text.encode()))
    return headers


def note_of(letters: Iterable[StoredLetter]) -> list[tuple[str, bytes]]:
    """Return the headers of the note about these letters."""
    sources: dict[Source, list[int]] = {}
    partial: list[tuple[str, bytes]] = []
    for item in letters:
        letter = item.letter
        if letter.counters is None:
            sources.setdefault(item.source, []).append(letter.offset)
        else:
            text = f"{_source_text(item.source)}:{letter.offset}:{json.dumps(letter.counters)}"
            partial.append((REPLAYED_COUNTERS, text.encode()))
    return note_headers(sources) + partial


def _source_text(source: Source) -> str:
    topic, topic_id, partition = source
    return f"{topic}:{topic_id}:{partition}"


def _spans(offsets: list[int]) -> Iterator[str]:
    first = 0
    for index in range(1, len(offsets) + 1):
        if index == len(offsets) or offsets[index] != offsets[index - 1] + 1:
            low, high = offsets[first], offsets[index - 1]
            yield f"{low}-{high}" if low < high else str(low)
            first = index


def replayed_in_note(message: Any) -> list[ReplayedEvent]:
    """Return what a note reports as replayed, an empty list for any other message."""
    headers = readable_headers(message)
    if not headers or any(name not in (REPLAYED, REPLAYED_COUNTERS) for name, _ in headers):
        return []
    readers = {REPLAYED: _read_note, REPLAYED_COUNTERS: _read_partial_note}
    entries = (readers[name]((value or b"").decode(errors="replace")) for name, value in headers)
    return [entry for entry in entries if entry is not None]


def _read_note(value: str) -> ReplayedEvent | None:
    matched = _NOTE.fullmatch(value)
    if matched is None:
        return None
    topic, topic_id, partition, text = matched.groups()
    offsets: list[int] = []
    for span in text.split(","):
        ends = _SPAN.fullmatch(span)
        if ends is None or int(ends[2] or ends[1]) - int(ends[1]) >= MAX_OFFSETS_IN_NOTE:
            return None
        offsets.extend(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
    return ReplayedEvent((topic, topic_id or "", int(partition)), offsets)


def _read_partial_note(value: str) -> ReplayedEvent | None:
    matched = _PARTIAL_NOTE.fullmatch(value)
    if matched is None:
        return None
    topic, topic_id, partition, offset, text = matched.groups()
    counters = read_counters(text.encode())
    if counters is None:
        return None
    return ReplayedEvent((topic, topic_id or "", int(partition)), [int(offset)], counters)


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
        return self.has(item.source, item.letter.offset)

    def has(self, source: Source, offset: int) -> bool:
        """Return whether the set has this offset."""
        return _holds(self._words.get(source, {}), offset)

    def absent_from(self, source: Source, messages: list[Any]) -> list[Any]:
        """Return those messages of one source partition whose offsets are not in the set."""
        words = self._words.get(source)
        return [m for m in messages if not _holds(words, m.offset())] if words else messages


def _holds(words: Mapping[int, int], offset: int) -> bool:
    return bool(words.get(offset // _WORD, 0) >> offset % _WORD & 1)


class LetteredEvents:
    """A set of events, whole or with some of their counters only.

    An event with some counters takes about 500 bytes, and there are few of them: the table must
    have taken the others.
    """

    def __init__(self) -> None:
        self._whole = SourceOffsets()
        self._counters: dict[tuple[Source, int], set[str]] = {}

    def add(self, event: ReplayedEvent) -> ReplayedEvent | None:
        """Add events; return what of them is new, None if nothing is."""
        source, offsets, counters = event
        if counters is None:
            new = [offset for offset in offsets if self._whole.add(source, offset)]
            return ReplayedEvent(source, new) if new else None
        (offset,) = offsets
        if self._whole.has(source, offset):
            return None
        known = self._counters.setdefault((source, offset), set())
        added = tuple(name for name in counters if name not in known)
        known.update(added)
        return ReplayedEvent(source, offsets, added) if added else None

    def add_letter(self, item: StoredLetter) -> StoredLetter | None:
        """Add the event of a letter; return the letter of what is new, None if nothing is."""
        letter = item.letter
        new = self.add(ReplayedEvent(item.source, [letter.offset], letter.counters))
        if new is None or new.counters == letter.counters:
            return None if new is None else item
        return replace(item, letter=replace(letter, counters=new.counters))

    def counters(self, source: Source, offset: int) -> set[str]:
        """Return the counters of an event of which the set has some only."""
        return self._counters.get((source, offset), set())

    @property
    def has_counters(self) -> bool:
        """Whether the set has an event with some counters only."""
        return bool(self._counters)

    def has_whole(self, source: Source, offset: int) -> bool:
        """Return whether the set has an event as a whole."""
        return self._whole.has(source, offset)

    def contains(self, item: StoredLetter) -> bool:
        """Return whether the set has all that a letter holds."""
        if self._whole.contains(item):
            return True
        counters = item.letter.counters
        known = self.counters(item.source, item.letter.offset)
        return counters is not None and known.issuperset(counters)

    def absent_from(self, source: Source, messages: list[Any]) -> list[Any]:
        """Return those messages of one source partition that are not in the set as a whole."""
        return self._whole.absent_from(source, messages)


def replayed_events(messages: Iterable[Any]) -> LetteredEvents:
    """Return all that the notes among some messages report as replayed."""
    replayed = LetteredEvents()
    for message in messages:
        for event in replayed_in_note(message):
            replayed.add(event)
    return replayed
