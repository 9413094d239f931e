"""The examples of a file: events, and what they must add."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from dynatomic.counting.counting import CounterAddition, Counting
from dynatomic.counting.definition import CountersFile, Example
from dynatomic.counting.reasons import EventRejected
from dynatomic.counting.records import Record
from dynatomic.errors import ConfigError

_FIELDS: Final = ("counter", "table", "key", "range", "add", "expires")


def check_examples(definition: CountersFile, counting: Counting) -> None:
    """Compute every example; raises ConfigError for the first that gives something else.

    The example of an Avro event, or of one in a frame, is the event as JSON.
    """
    written = written_as_json(definition)
    if written is not definition:
        counting = Counting(written)
    for index, example in enumerate(definition.examples, 1):
        for problem in _problems(example, counting):
            raise ConfigError(f"{definition.path}: example {index}: {problem}")


def written_as_json(definition: CountersFile) -> CountersFile:
    """Return a file for the same events, written as JSON without a frame."""
    event = definition.event
    if event.format == "json" and event.framing == "none":
        return definition
    return replace(definition, event=replace(event, format="json", framing="none"))


def _problems(example: Example, counting: Counting) -> Iterator[str]:
    try:
        additions = counting.additions(_record(example))
    except EventRejected as error:
        if error.reason != example.rejected:
            yield f"it is rejected with {error}"
        return
    if example.rejected is not None:
        yield f"it is not rejected with {example.rejected}"
        return
    given = [_shown(addition) for addition in additions]
    for expected in example.gives:
        unknown = sorted(expected.keys() - set(_FIELDS))
        if unknown:
            yield f"gives has no {unknown[0]!r}: {', '.join(_FIELDS)}"
        match = [entry for entry in given if _matches(expected, entry)]
        if not match:
            yield f"the event does not give {expected}; it gives {given or 'nothing'}"
        else:
            given.remove(match[0])
    if given:
        yield f"it also gives {given[0]}"


def _matches(expected: dict[str, Any], entry: dict[str, Any]) -> bool:
    return all(entry.get(name) == value for name, value in expected.items())


def _record(example: Example) -> Record:
    return Record(
        value=example.event,
        key=None if example.key is None else example.key.encode(),
        headers=tuple((name, value.encode()) for name, value in example.headers),
        timestamp_ms=example.timestamp_ms,
    )


def _shown(addition: CounterAddition) -> dict[str, Any]:
    return {
        "counter": addition.counter,
        "table": addition.table,
        "key": addition.key,
        "range": addition.range,
        "add": dict(addition.amounts),
        "expires": addition.expires_s,
    }
