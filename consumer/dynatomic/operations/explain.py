"""What each event adds to which counter, or why it does not: ``dynatomic explain``."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from dynatomic.config.settings import Settings
from dynatomic.console import plural, printable
from dynatomic.counting.counting import CounterAddition, Counting
from dynatomic.counting.definition import CountersFile
from dynatomic.counting.examples import check_examples, written_as_json
from dynatomic.counting.file import load
from dynatomic.counting.reasons import EventRejected
from dynatomic.counting.records import Record
from dynatomic.dead_letters.topic import DeadLetterTopic, reader_config
from dynatomic.kafka.client import kafka_errors, new_consumer, watermarks
from dynatomic.kafka.messages import readable_headers
from dynatomic.kafka.reachability import START_S, wait_for_kafka
from dynatomic.registry.open import open_schemas

NEWEST = 20
"""How many events of the topic are explained without a limit."""


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
    events = filter(None, (line.rstrip(b"\r\n") for line in lines))
    records = (
        (index, f"event {index}", Record(event, timestamp_ms=None))
        for index, event in enumerate(islice(events, options.limit), 1)
    )
    yield from _explained(options, definition, counting, records)


def explain_topic(settings: Settings, options: ExplainOptions) -> Iterator[str]:
    """Yield the lines of output for the newest events of the topic, `NEWEST` without a limit.

    They are read as no member of the group. Raises ConfigError for a wrong file or topic, and
    UnavailableError if Kafka or the schema registry does not answer.
    """
    definition = load(options.counters)
    counting = Counting(definition, open_schemas(definition))
    check_examples(definition, Counting(written_as_json(definition)))
    wait_for_kafka(settings, START_S)
    with closing(new_consumer(reader_config(settings))) as consumer, kafka_errors():
        messages = newest(consumer, settings, NEWEST if options.limit is None else options.limit)
    records = (
        (index, f"{message.partition()}:{message.offset()}", _record(message))
        for index, message in enumerate(messages, 1)
    )
    yield from _explained(options, definition, counting, records)


def newest(consumer: Any, settings: Settings, limit: int) -> list[Any]:
    """Return so many of the newest messages of a topic, the oldest first."""
    marks = watermarks(consumer, settings.topic)
    starts = {partition: max(low, high - limit) for partition, (low, high) in marks.items()}
    messages = list(DeadLetterTopic(consumer, settings.topic, starts=starts).messages())
    messages.sort(key=lambda message: (message.timestamp()[1], message.offset()))
    return messages[len(messages) - limit :] if limit < len(messages) else messages


def _record(message: Any) -> Record:
    stamp = message.timestamp()[1]
    return Record(
        value=message.value(),
        key=message.key(),
        headers=readable_headers(message) or (),
        timestamp_ms=stamp if stamp >= 0 else None,
        partition=message.partition(),
        offset=message.offset(),
        topic=message.topic(),
    )


def _explained(
    options: ExplainOptions,
    definition: CountersFile,
    counting: Counting,
    records: Iterable[tuple[int, str, Record]],
) -> Iterator[str]:
    if options.output == "text":
        counters, examples = len(definition.counters), len(definition.examples)
        yield (
            f"{definition.path}: {counters} {plural(counters, 'counter')}, "
            f"{examples} {plural(examples, 'example')} as expected, "
            f"fingerprint {definition.fingerprint}"
        )
    seen: Counter[str] = Counter()
    for index, label, record in records:
        try:
            additions = counting.additions(record)
        except EventRejected as error:
            seen["dead letter"] += 1
            yield from _rejected(options, index, label, error)
        else:
            seen["counted" if additions else "taken by no counter"] += 1
            yield from _added(options, index, label, additions)
    if options.output == "text" and seen:
        outcomes = ", ".join(f"{seen[name]} {name}" for name in sorted(seen))
        yield f"{seen.total()} {plural(seen.total(), 'event')}: {outcomes}"


def _rejected(
    options: ExplainOptions, index: int, label: str, error: EventRejected
) -> Iterator[str]:
    if options.output == "json":
        yield json.dumps({"event": index, "reason": error.reason, "detail": error.detail})
    else:
        yield f"{label}: dead letter: {printable(str(error))}"


def _added(
    options: ExplainOptions, index: int, label: str, additions: list[CounterAddition]
) -> Iterator[str]:
    if options.output == "json":
        adds = [{**a._asdict(), "amounts": dict(a.amounts)} for a in additions]
        yield json.dumps({"event": index, "adds": adds})
        return
    if not additions:
        yield f"{label}: no counter takes it"
    for addition in additions:
        item = [addition.table, addition.key, *filter(None, [addition.range])]
        amounts = [f"{attribute} {amount:+}" for attribute, amount in addition.amounts]
        parts = [f"{label}: {addition.counter}:", *item, *amounts]
        if addition.expires_s is not None:
            moment = datetime.fromtimestamp(addition.expires_s, UTC)
            parts.append(f"expires {moment:%Y-%m-%dT%H:%M:%SZ}")
        yield printable("  ".join(parts))
