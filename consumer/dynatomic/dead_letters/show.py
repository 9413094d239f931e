"""``dynatomic dlq show``: prints the dead letters, one line each.

Rows contain keys, so they are written to stdout and never to a log.
"""

import heapq
import json
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from dynatomic.config.settings import Settings
from dynatomic.console import plural, printable
from dynatomic.dead_letters.notes import LetteredEvents, replayed_in_note
from dynatomic.dead_letters.topic import (
    DeadLetterTopic,
    StoredLetter,
    reader_config,
    stored_letter,
)
from dynatomic.errors import RowError
from dynatomic.events.payload import PayloadReader
from dynatomic.events.row import Row
from dynatomic.events.schema import load_writer_schema
from dynatomic.kafka.client import kafka_errors, new_consumer
from dynatomic.kafka.reachability import START_S, wait_for_kafka

_HEADINGS = ("TIME", "SOURCE", "REASON", "STATE", "GROUP", "ROW", "DETAIL")
_YEAR_10000_MS = 253_402_300_800_000
_MAX_HEX_BYTES, _MAX_ROW_LENGTH, _MAX_CELL_LENGTH = 32, 160, 200


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """Which letters to show: those with ``reason``, and only the newest ``limit`` of them."""

    reason: str | None = None
    limit: int | None = None
    output: Literal["text", "json"] = "text"


def show(settings: Settings, options: ShowOptions) -> int:
    """Print the letters to stdout, the oldest first, and their number to stderr; return 0.

    With ``output`` json, a line has the whole letter, with its bytes in base64. Raises ConfigError
    if the topic does not exist or Read on it is denied, UnavailableError if no broker answers.
    """
    schema = load_writer_schema(settings.writer_schema)
    wait_for_kafka(settings, START_S)
    with closing(new_consumer(reader_config(settings))) as consumer, kafka_errors():
        topic = DeadLetterTopic(consumer, settings.dead_letters)
        report = LetterReport(topic, options, PayloadReader({}, writer_schema=schema))
        for line in report.lines():
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()  # before the summary
    for line in report.summary():
        sys.stderr.write(f"{line}\n")
    return 0


class LetterReport:
    """The lines of the letters that ``options`` select, and their summary.

    The topic is read twice. Only at its end it is known which letters were replayed and which are
    the newest, and the letters may not fit into memory.
    """

    def __init__(self, topic: DeadLetterTopic, options: ShowOptions, reader: PayloadReader) -> None:
        self._topic = topic
        self._options = options
        self._reader = reader
        self._counts: Counter[str] = Counter()
        self._replayed: Counter[str] = Counter()
        self._shown = self._other_messages = 0

    def lines(self) -> Iterator[str]:
        """Yield one line for each letter, in text below a line of headings."""
        replayed, newest = self._scan()
        line: Callable[[StoredLetter, bool], str] = self._json
        if self._options.output == "text":
            yield _columns(*_HEADINGS)
            line = self._text
        for message in self._topic.messages():
            stored = stored_letter(message)
            if stored is None:
                self._other_messages += not replayed_in_note(message)
            elif self._options.reason in (None, stored.letter.reason):
                self._counts[stored.letter.reason] += 1
                self._replayed[stored.letter.reason] += replayed.contains(stored)
                if newest is None or _age(stored) in newest:
                    self._shown += 1
                    yield line(stored, replayed.contains(stored))

    def _scan(self) -> tuple[LetteredEvents, set[tuple[int, int, int]] | None]:
        """Return the replayed offsets and, if there is a limit, the newest letters."""
        replayed, limit = LetteredEvents(), self._options.limit
        newest: list[tuple[int, int, int]] = []
        for message in self._topic.messages():
            for event in replayed_in_note(message):
                replayed.add(event)
            stored = stored_letter(message) if limit else None
            if stored is not None and self._options.reason in (None, stored.letter.reason):
                heapq.heappush(newest, _age(stored))
                if len(newest) > (limit or 0):
                    heapq.heappop(newest)
        return replayed, None if limit is None else set(newest)

    def summary(self) -> Iterator[str]:
        """Yield the number of letters by reason, after `lines` is exhausted."""
        total = self._counts.total()
        more = f", {self._shown:,} shown" if self._shown < total else ""
        yield f"{total:,} {plural(total, 'dead letter')} in {self._topic.name}{more}"
        for reason, count in self._counts.most_common():
            replayed = f", {self._replayed[reason]:,} replayed" if self._replayed[reason] else ""
            yield f"  {header_text(reason)}: {count:,}{replayed}"
        if self._other_messages:
            yield f"{self._other_messages:,} messages are no letters of dynatomic, not shown"

    def _text(self, stored: StoredLetter, replayed: bool) -> str:  # noqa: FBT001 - as _json
        letter, row = stored.letter, row_of(self._reader, stored.letter.value)
        if row is not None:
            content = printable(json.dumps(_without_none(row)), _MAX_ROW_LENGTH)
        else:
            content = _text_of(letter.value) or _hex(letter.value)
        if letter.whole is not None:
            content += f", cut: the whole value has {letter.whole.value_bytes:,} bytes"
        return _columns(
            _time(stored.time_ms),
            f"{letter.topic}:{letter.partition}:{letter.offset}",
            letter.reason,
            "replayed" if replayed else "waiting",
            stored.group,
            content,
            letter.detail + (f"; only {', '.join(letter.counters)}" if letter.counters else ""),
        )

    def _json(self, stored: StoredLetter, replayed: bool) -> str:  # noqa: FBT001 - as _text
        letter, row = stored.letter, row_of(self._reader, stored.letter.value)
        fields = {
            **letter.fields(),
            "topic_id": stored.topic_id or None,
            "group": stored.group,
            "time": _time(stored.time_ms),
            "replayed": replayed,
            "dead_letter_partition": stored.partition,
            "dead_letter_offset": stored.offset,
            "row": None if row is None else row._asdict(),
            "counters": letter.counters,
            "event_time": None if letter.timestamp_ms is None else _time(letter.timestamp_ms),
            "key": _base64(letter.key),
            "value": _base64(letter.value),
            "headers": [[name, _base64(value)] for name, value in letter.headers],
            "batch_end": letter.batch_end,
            "cut": None if letter.whole is None else letter.whole.fields(),
        }
        return json.dumps(fields)


def row_of(reader: PayloadReader, payload: bytes | None) -> Row | None:
    """Return the row in a payload, also if it cannot be counted; None if there is no row."""
    try:
        names, incr, _ = reader.read(payload)
        return Row._make((*names, incr))
    except RowError:
        return None


def header_text(text: str) -> str:
    """Return the text of a header as a terminal may show it: one line of bounded length."""
    return printable(text, _MAX_CELL_LENGTH)


def _age(stored: StoredLetter) -> tuple[int, int, int]:
    return stored.time_ms, stored.partition, stored.offset


def _columns(*cells: str) -> str:
    widths = (24, 20, 20, 8, 10, 0, 0)
    shown = (header_text(cell).ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(shown).rstrip()


def _without_none(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row._asdict().items() if value is not None}


def _text_of(payload: bytes | None) -> str:
    """Return a payload that is JSON as text, else nothing."""
    if not payload or payload.lstrip()[:1] not in (b"{", b"["):
        return ""
    try:
        return printable(payload.decode(), _MAX_ROW_LENGTH)
    except UnicodeDecodeError:
        return ""


def _hex(payload: bytes | None) -> str:
    if not payload:
        return "no payload" if payload is None else "0 bytes"
    more = "..." if len(payload) > _MAX_HEX_BYTES else ""
    return f"0x{payload[:_MAX_HEX_BYTES].hex()}{more} ({len(payload):,} bytes)"


def _time(milliseconds: int) -> str:
    if not 0 <= milliseconds < _YEAR_10000_MS:
        return "-"
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _base64(content: bytes | None) -> str | None:
    return None if content is None else b64encode(content).decode()
