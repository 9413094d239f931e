"""What each event adds to which counter, or why it does not: ``dynatomic explain``."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal

from dynatomic.console import printable
from dynatomic.counting.counting import Addition, Counting
from dynatomic.counting.examples import check_examples, written_as_json
from dynatomic.counting.file import load
from dynatomic.counting.reasons import Rejected
from dynatomic.counting.records import Record


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """The counters file, how many events to read at most, and the form of the output."""

    counters: Path
    limit: int | None = None
    output: Literal["text", "json"] = "text"


def explain(options: ExplainOptions, lines: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of output for the events, one event on each line.

    The events are JSON, also where those of the topic are Avro or have a frame.
    The events have no Kafka timestamp, so ``max_age`` and ``max_ahead`` are not checked. Raises
    ConfigError for a wrong file, or an example that gives something else.
    """
    definition = load(options.counters)
    counting = Counting(written_as_json(definition))
    check_examples(definition, counting)
    if options.output == "text":
        yield (
            f"{definition.path}: {_count(len(definition.counters), 'counter')}, "
            f"{_count(len(definition.examples), 'example')} as expected, "
            f"fingerprint {definition.fingerprint}"
        )
    events = (line.rstrip(b"\r\n") for line in lines)
    seen: Counter[str] = Counter()
    for index, event in enumerate(islice(filter(None, events), options.limit), 1):
        try:
            additions = counting.additions(Record(event, timestamp_ms=None))
        except Rejected as error:
            seen["dead letter"] += 1
            yield from _rejected(options, index, error)
        else:
            seen["counted" if additions else "taken by no counter"] += 1
            yield from _added(options, index, additions)
    if options.output == "text" and seen:
        outcomes = ", ".join(f"{seen[name]} {name}" for name in sorted(seen))
        yield f"{_count(seen.total(), 'event')}: {outcomes}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _rejected(options: ExplainOptions, index: int, error: Rejected) -> Iterator[str]:
    if options.output == "json":
        yield json.dumps({"event": index, "reason": error.reason, "detail": error.detail})
    else:
        yield f"event {index}: dead letter: {printable(str(error))}"


def _added(options: ExplainOptions, index: int, additions: list[Addition]) -> Iterator[str]:
    if options.output == "json":
        adds = [{**a._asdict(), "amounts": dict(a.amounts)} for a in additions]
        yield json.dumps({"event": index, "adds": adds})
        return
    if not additions:
        yield f"event {index}: no counter takes it"
    for addition in additions:
        item = [addition.table, addition.key, *filter(None, [addition.range])]
        amounts = [f"{attribute} {amount:+}" for attribute, amount in addition.amounts]
        parts = [f"event {index}: {addition.counter}:", *item, *amounts]
        if addition.expires_s is not None:
            moment = datetime.fromtimestamp(addition.expires_s, UTC)
            parts.append(f"expires {moment:%Y-%m-%dT%H:%M:%SZ}")
        yield printable("  ".join(parts))
