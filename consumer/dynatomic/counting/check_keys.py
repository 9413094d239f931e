"""Checks a counters file against the key schemas of its tables. Pure."""

from collections.abc import Iterator, Mapping

from dynatomic.counting.definition import CounterDefinition, CountersFile
from dynatomic.counting.template import Template, ValuePart
from dynatomic.errors import ConfigError
from dynatomic.events.row import KeySchema


def check_keys(definition: CountersFile, keys: Mapping[str, KeySchema]) -> None:
    """Raise ConfigError for the first counter that its table cannot have.

    Tables that are not in ``keys`` are not checked.
    """
    lifetimes: dict[tuple[str, str, str], CounterDefinition] = {}
    for counter in definition.counters:
        range_text = counter.range.text if counter.range else ""
        other = lifetimes.setdefault((counter.table, counter.key.text, range_text), counter)
        if counter.table not in keys:
            continue
        problems = list(_problems(counter, keys[counter.table]))
        if other.expires_s != counter.expires_s:
            problems.append(
                f"expires: counter {other.name!r} adds to the same items and has another value; an "
                "item has one time to live"
            )
        for problem in problems:
            raise ConfigError(f"{definition.path}: counter {counter.name!r}: {problem}")


def _problems(counter: CounterDefinition, keys: KeySchema) -> Iterator[str]:
    table = counter.table
    if counter.range is None and keys.range_name is not None:
        yield f"range is missing: table {table} has the range key {keys.range_name!r}"
    if counter.range is not None and keys.range_name is None:
        yield f"range: table {table} has no range key; leave range out"
    for template, name, kind in (
        (counter.key, "key", keys.hash_type),
        (counter.range, "range", keys.range_type),
    ):
        if template is not None and kind == "N" and not _is_one_value(template):
            yield f"{name}: the key of {table} is a number: the template must be one path"
    for amount in counter.amounts:
        attribute = amount.attribute
        if attribute in (keys.hash_name, keys.range_name):
            yield f"{attribute} is a key attribute of table {table}: name another attribute"
        elif attribute in keys.index_names:
            yield f"{attribute} is a key attribute of an index of {table}: name another attribute"
        elif attribute == keys.ttl_name:
            yield f"{attribute} is the TTL attribute of table {table}: name another attribute"
    if counter.expires_s is not None and keys.ttl_name is None:
        yield (
            f"expires: table {table} has no TTL attribute, or it may not be read "
            "(dynamodb:DescribeTimeToLive); switch it on: aws dynamodb update-time-to-live "
            f"--table-name {table} --time-to-live-specification "
            "Enabled=true,AttributeName=expires_at"
        )


def _is_one_value(template: Template) -> bool:
    return len(template.parts) == 1 and isinstance(template.parts[0], ValuePart)
