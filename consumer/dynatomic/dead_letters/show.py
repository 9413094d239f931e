"""``dynatomic dlq show``: the dead letters, a line each, for whoever may see the rows.

Rows hold keys: they go to stdout, never into a log.
"""

import heapq
import json
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from confluent_kafka import KafkaException

from dynatomic.config.settings import Settings
from dynatomic.console import printable
from dynatomic.dead_letters.topic import (
    DeadLetterTopic,
    ReplayedOffsets,
    StoredLetter,
    noted,
    opened,
    reader_config,
)
from dynatomic.errors import DynatomicError, RowError
from dynatomic.events.payload import PayloadReader
from dynatomic.events.row import Row
from dynatomic.events.schema import load_writer_schema
from dynatomic.kafka.client import new_consumer, reason, wait_for_kafka

START_S = 10.0

_HEADINGS = ("TIME", "SOURCE", "REASON", "STATE", "GROUP", "ROW", "DETAIL")
_YEAR_10000_MS = 253_402_300_800_000
_HEX_BYTES, _LONGEST_ROW, _LONGEST_TEXT = 32, 160, 200


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """What to show: letters of one reason, and only the newest ones, as with ``tail -n``."""

    reason: str | None = None
    limit: int | None = None
    output: Literal["text", "json"] = "text"


def show(settings: Settings, options: ShowOptions) -> int:
    """Print the letters, the oldest first, to stdout, and how many there are to stderr; return 0.

    With ``output`` json each line has the whole letter: bytes in base64. Raises ConfigError if
    there is no such topic or it may not be read, UnavailableError if no broker answers.
    """
    schema = load_writer_schema(settings.writer_schema)
    consumer = new_consumer(reader_config(settings))
    try:
        wait_for_kafka(settings, START_S)
        topic = DeadLetterTopic(consumer, settings.dead_letters)
        shown = LetterReport(topic, options, PayloadReader({}, writer_schema=schema))
        for line in shown.lines():
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()  # before the summary
    except KafkaException as error:
        raise DynatomicError(f"Kafka: {reason(error)}; try again") from None
    finally:
        consumer.close()
    for line in shown.summary():
        sys.stderr.write(f"{line}\n")
    return 0


class LetterReport:
    """The lines of the letters that ``options`` ask for, and then their summary.

    The topic is read twice: whether a letter was replayed, and which are the newest ones, is only
    known at its end, and it need not fit into memory.
    """

    def __init__(self, topic: DeadLetterTopic, options: ShowOptions, reader: PayloadReader) -> None:
        self._topic = topic
        self._options = options
        self._reader = reader
        self._counts: Counter[str] = Counter()
        self._replayed: Counter[str] = Counter()
        self._shown = self._foreign = 0

    def lines(self) -> Iterator[str]:
        """Yield a line a letter, in text under a line of headings."""
        replayed, newest = self._look()
        line: Callable[[StoredLetter, bool], str] = self._json
        if self._options.output == "text":
            yield _columns(*_HEADINGS)
            line = self._text
        for message in self._topic.messages():
            item = opened(message)
            if item is None:
                self._foreign += not noted(message)
            elif self._options.reason in (None, item.letter.reason):
                self._counts[item.letter.reason] += 1
                self._replayed[item.letter.reason] += replayed.has(item)
                if newest is None or _age(item) in newest:
                    self._shown += 1
                    yield line(item, replayed.has(item))

    def _look(self) -> tuple[ReplayedOffsets, set[tuple[int, int, int]] | None]:
        """Return what was replayed, and the newest letters if only some are asked for."""
        replayed, newest, limit = (
            ReplayedOffsets(),
            list[tuple[int, int, int]](),
            self._options.limit,
        )
        for message in self._topic.messages():
            for source, offsets in noted(message):
                for offset in offsets:
                    replayed.add(source, offset)
            item = opened(message) if limit else None
            if item is not None and self._options.reason in (None, item.letter.reason):
                heapq.heappush(newest, _age(item))
                if len(newest) > (limit or 0):
                    heapq.heappop(newest)
        return replayed, None if limit is None else set(newest)

    def summary(self) -> Iterator[str]:
        """Yield how many letters there are, by reason, after `lines` is exhausted."""
        total = self._counts.total()
        letters = "dead letter" if total == 1 else "dead letters"
        more = f", {self._shown:,} shown" if self._shown < total else ""
        yield f"{total:,} {letters} in {self._topic.name}{more}"
        for why, count in self._counts.most_common():
            done = f", {self._replayed[why]:,} replayed" if self._replayed[why] else ""
            yield f"  {header_text(why)}: {count:,}{done}"
        if self._foreign:
            yield f"{self._foreign:,} messages are no letters of a dynatomic consumer, not shown"

    def _row(self, item: StoredLetter) -> Row | None:
        return row_of(self._reader, item.letter.value)

    def _text(self, item: StoredLetter, replayed: bool) -> str:  # noqa: FBT001 - one of two lines
        letter, row = item.letter, self._row(item)
        if row is not None:
            content = _cut(json.dumps(_without_none(row)), _LONGEST_ROW)
        else:
            content = _hex(letter.value)
        return _columns(
            _time(item.time_ms),
            f"{letter.topic}:{letter.partition}:{letter.offset}",
            letter.reason,
            "replayed" if replayed else "waiting",
            item.group,
            content,
            letter.detail,
        )

    def _json(self, item: StoredLetter, replayed: bool) -> str:  # noqa: FBT001 - one of two lines
        letter, row = item.letter, self._row(item)
        fields = {
            **letter.fields(),
            "topic_id": item.topic_id or None,
            "group": item.group,
            "time": _time(item.time_ms),
            "replayed": replayed,
            "dead_letter_partition": item.partition,
            "dead_letter_offset": item.offset,
            "row": None if row is None else row._asdict(),
            "key": _base64(letter.key),
            "value": _base64(letter.value),
            "headers": [[name, _base64(value)] for name, value in letter.headers],
        }
        return json.dumps(fields)


def row_of(reader: PayloadReader, payload: bytes | None) -> Row | None:
    """Return the row in a payload, whether or not it can be counted; None if there is none."""
    try:
        names, incr, _ = reader.read(payload)
        return Row(*names, incr)
    except RowError:
        return None


def header_text(text: str) -> str:
    """Return the text of a header as a terminal may show it: one line of bounded length."""
    return printable(text, _LONGEST_TEXT)


def _age(item: StoredLetter) -> tuple[int, int, int]:
    return item.time_ms, item.partition, item.offset


def _columns(*cells: str) -> str:
    widths = (24, 20, 20, 8, 10, 0, 0)
    shown = (header_text(cell).ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(shown).rstrip()


def _without_none(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row._asdict().items() if value is not None}


def _hex(payload: bytes | None) -> str:
    if not payload:
        return "no payload" if payload is None else "0 bytes"
    more = "..." if len(payload) > _HEX_BYTES else ""
    return f"0x{payload[:_HEX_BYTES].hex()}{more} ({len(payload):,} bytes)"


def _time(milliseconds: int) -> str:
    if not 0 <= milliseconds < _YEAR_10000_MS:
        return "-"
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _base64(content: bytes | None) -> str | None:
    return None if content is None else b64encode(content).decode()


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
