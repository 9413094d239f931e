"""Checks the paths of a counters file with an Avro schema. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from dynatomic.counting.compiler import KAFKA_ROOT, FieldPath
from dynatomic.counting.definition import CountersFile
from dynatomic.counting.expression import Expression
from dynatomic.counting.formats.avro_schema import PRIMITIVES, AvroSchema
from dynatomic.errors import ConfigError

_MISSING: Final = "missing"
_TEXT_OR_INTEGER: Final = frozenset(("string", "int", "long", "enum"))
_INTEGER: Final = frozenset(("int", "long", "decimal"))
_TIME_NUMBER: Final = frozenset(("int", "long"))
_CLOUDEVENT: Final = "data"


def check_schema(definition: CountersFile, schema: AvroSchema, label: str) -> list[str]:
    """Return warnings for fields that may be null; ``label`` names the schema in messages.

    Raises ConfigError for a path that no event has, for a key that is neither text nor an integer,
    for an amount that is not a number, and for a time whose type does not match ``time_unit``.
    """
    warnings: list[str] = []
    for location, expression, allowed in _uses(definition):
        for path in sorted(expression.paths):
            steps = _steps(definition, path)
            if steps is None:
                continue
            kinds = frozenset(_kinds(schema.parsed, schema, steps))
            where = f"{definition.path}: {location}: {expression.text}"
            if kinds <= {_MISSING, "null"}:
                raise ConfigError(f"{where}: {label} has no field {'.'.join(path)}")
            if not _is_path(expression) or allowed is None:
                continue
            wrong = sorted(kinds - allowed - {_MISSING, "null"})
            if wrong:
                raise ConfigError(
                    f"{where}: it has the type {wrong[0]} in {label}; possible types: "
                    f"{', '.join(sorted(allowed))}"
                )
            if kinds & {"null", _MISSING}:
                warnings.append(
                    f"{where}: it may be null in {label}; such an event is a dead letter, unless "
                    "a filter leaves it out"
                )
    return warnings


def _uses(definition: CountersFile) -> Iterator[tuple[str, Expression, frozenset[str] | None]]:
    """Yield the place of each expression, and the types that it may have; None if any."""
    event = definition.event
    if event.time is not None:
        kinds = frozenset(("string",)) if event.time_unit is None else _TIME_NUMBER
        yield "[event]: time", event.time, kinds
    for counter in definition.counters:
        location = f"counter {counter.name!r}"
        if counter.when is not None:
            yield f"{location}: when", counter.when, None
        for name, template in (("key", counter.key), ("range", counter.range)):
            for expression in template.expressions if template else ():
                yield f"{location}: {name}", expression, _TEXT_OR_INTEGER
        for amount in counter.amounts:
            if amount.field is not None:
                yield f"{location}: {amount.attribute}", amount.field, _INTEGER


def _is_path(expression: Expression) -> bool:
    """Return whether the expression is a path alone, so that its value has the field's type."""
    (path,) = expression.paths if len(expression.paths) == 1 else ((),)
    node = expression.tree
    names: list[str] = []
    while node["type"] == "subexpression" and len(node["children"]) == 2:  # noqa: PLR2004 - a.b
        node, last = node["children"]
        names.insert(0, last.get("value", ""))
    if node["type"] == "subexpression":
        names = [child.get("value", "") for child in node["children"]]
    else:
        names.insert(0, node.get("value", ""))
    return tuple(names) == path


def _steps(definition: CountersFile, path: FieldPath) -> FieldPath | None:
    """Return a path of the event as a path of the schema; None if it leads elsewhere."""
    if not path or path[0] == KAFKA_ROOT:
        return None
    if definition.event.envelope == "cloudevents":
        return path[1:] if path[0] == _CLOUDEVENT else None
    return path


def _kinds(node: Any, schema: AvroSchema, path: FieldPath) -> Iterator[str]:
    """Yield the types that the value at a path can have, and ``missing``."""
    if isinstance(node, str) and node not in PRIMITIVES:
        node = schema.names[node]
    if isinstance(node, list):
        for branch in node:
            yield from _kinds(branch, schema, path)
        return
    kind = node if isinstance(node, str) else node["type"]
    if not path:
        yield "decimal" if isinstance(node, dict) and "logicalType" in node else kind
    elif kind == "record":
        fields = {field["name"]: field["type"] for field in node["fields"]}
        if path[0] in fields:
            yield from _kinds(fields[path[0]], schema, path[1:])
        else:
            yield _MISSING
    elif kind == "map":
        yield _MISSING
        yield from _kinds(node["values"], schema, path[1:])
    else:
        yield _MISSING
