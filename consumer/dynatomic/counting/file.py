"""Reads ``counters.toml`` and checks all of it that needs no server.

Every problem is a ConfigError that names the file, the counter and the key.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from dynatomic.config.checks import COUNTER_NAME, TABLE_NAME
from dynatomic.counting.definition import (
    Amount,
    CounterDefinition,
    CountersFile,
    Example,
)
from dynatomic.counting.event_section import read_event
from dynatomic.counting.expression import parse
from dynatomic.counting.toml_values import (
    at,
    check_names,
    duration,
    expression,
    table,
    tables,
    template,
    text,
)
from dynatomic.errors import ConfigError
from dynatomic.events.row import INT64_MAX, INT64_MIN

MAX_COUNTERS_PER_FILE: Final = 100
MAX_SCALE: Final = 18

_TOP: Final = ("event", "counter", "example")
_COUNTER: Final = ("name", "when", "table", "key", "range", "add", "subtract", "expires")
_EXAMPLE: Final = ("event", "gives", "rejected", "key", "headers", "timestamp")


def load(path: Path) -> CountersFile:
    """Read and check a file; raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return loads(text, str(path))


def loads(text: str, path: str = "counters.toml") -> CountersFile:
    """Check the text of a file; ``path`` is named in messages."""
    with at(path):
        try:
            document = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"not TOML: {error or 'nested too deeply'}") from None
        check_names(document, _TOP)
        event = read_event(table(document, "event"), Path(path).parent)
        counters = tuple(_counters(tables(document, "counter")))
        examples = tuple(
            _example(raw, f"example {index}")
            for index, raw in enumerate(tables(document, "example"), 1)
        )
    meaning = {"event": document.get("event", {}), "counter": document["counter"]}
    if event.schemas:
        meaning["schemas"] = [schema.text for schema in event.schemas.values()]
    canonical = json.dumps(meaning, sort_keys=True, separators=(",", ":"), default=str)
    fingerprint = hashlib.blake2b(canonical.encode(), digest_size=4).hexdigest()
    return CountersFile(path, event, counters, examples, fingerprint)


def _counters(raws: list[Mapping[str, Any]]) -> Iterator[CounterDefinition]:
    if not raws:
        raise ConfigError("there is no [[counter]]")
    if len(raws) > MAX_COUNTERS_PER_FILE:
        raise ConfigError(f"{len(raws)} counters; at most {MAX_COUNTERS_PER_FILE} are possible")
    names: set[str] = set()
    for index, raw in enumerate(raws, 1):
        name = raw.get("name")
        shown = f"counter {name!r}" if isinstance(name, str) else f"counter {index}"
        with at(shown):
            counter = _counter(raw)
            if counter.name in names:
                raise ConfigError("another counter has this name")
            names.add(counter.name)
        yield counter


def _counter(raw: Mapping[str, Any]) -> CounterDefinition:
    check_names(raw, _COUNTER)
    name, table = text(raw, "name"), text(raw, "table")
    if not name:
        raise ConfigError("name is missing")
    if not table or not TABLE_NAME.fullmatch(table):
        raise ConfigError("table is missing or not a table name: 3 to 255 of A-Za-z0-9_.-, no ARN")
    key = template(raw, "key")
    if key is None:
        raise ConfigError("key is missing: the template of the item's hash key")
    amounts = tuple(_amounts(raw))
    counter = CounterDefinition(
        name=name,
        table=table,
        key=key,
        range=template(raw, "range"),
        amounts=amounts,
        when=expression(raw, "when"),
        expires_s=duration(raw, "expires"),
    )
    if counter.expires_s is not None and counter.bucket is None:
        raise ConfigError("expires needs a bucket of time in key or range, such as {time|day}")
    return counter


def _amounts(raw: Mapping[str, Any]) -> Iterator[Amount]:
    attributes: set[str] = set()
    for key, negative in (("add", False), ("subtract", True)):
        for attribute, value in table(raw, key).items():
            with at(f"{key}.{attribute}"):
                if not COUNTER_NAME.fullmatch(attribute):
                    raise ConfigError("not a counter's name: 1 to 255 of A-Za-z0-9_.-")
                if attribute in attributes:
                    raise ConfigError("the attribute is in add and in subtract")
                attributes.add(attribute)
                yield _amount(attribute, value, negative=negative)
    if not attributes:
        raise ConfigError(
            'add is missing: what to add, such as add = { requests = 1, bytes = "size" }'
        )


def _amount(attribute: str, value: Any, *, negative: bool) -> Amount:
    if type(value) is int:
        if not INT64_MIN < value <= INT64_MAX:
            raise ConfigError(f"{value} is not an int64")
        return Amount(attribute, constant=value, negative=negative)
    if isinstance(value, str):
        return Amount(attribute, field=parse(value), negative=negative)
    if not isinstance(value, dict):
        raise ConfigError("must be an integer, a path in quotes, or { path = ..., scale = ... }")
    check_names(value, ("path", "scale"))
    path, scale = expression(value, "path"), value.get("scale", 0)
    if path is None:
        raise ConfigError("path is missing")
    if type(scale) is not int or not 0 <= scale <= MAX_SCALE:
        raise ConfigError(f"scale must be an integer from 0 to {MAX_SCALE}")
    return Amount(attribute, field=path, scale=scale, negative=negative)


def _example(raw: Mapping[str, Any], location: str) -> Example:
    with at(location):
        check_names(raw, _EXAMPLE)
        event = raw.get("event")
        if not isinstance(event, str):
            raise ConfigError("event is missing: the event's text in quotes")
        gives, rejected = raw.get("gives"), text(raw, "rejected")
        if (gives is None) == (rejected is None):
            raise ConfigError("set gives (what the event adds) or rejected (the reason), not both")
        if gives is not None and not (
            isinstance(gives, list) and all(isinstance(entry, dict) for entry in gives)
        ):
            raise ConfigError("gives must be an array of tables")
        timestamp = raw.get("timestamp")
        if timestamp is not None and type(timestamp) is not int:
            raise ConfigError("timestamp must be an integer, in milliseconds of Unix time")
        headers = table(raw, "headers")
        if any(not isinstance(value, str) for value in headers.values()):
            raise ConfigError("a header's value must be text in quotes")
        return Example(
            event=event.encode(),
            gives=tuple(gives or ()),
            rejected=rejected,
            key=text(raw, "key"),
            headers=tuple(headers.items()),
            timestamp_ms=timestamp,
        )
