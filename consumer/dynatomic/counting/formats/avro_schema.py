"""Avro schemas that others wrote: parsed, without what is not used, and safe to decode with.

A schema decides what its bytes cost. One that contains itself ends the process, because fastavro
decodes by recursion in C, and an array of nulls needs six bytes for gigabytes. So a schema is
refused if it contains itself, if it is very large, or if its arrays or maps have items that take
far more memory than bytes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, NamedTuple

import fastavro
from fastavro.read import LOGICAL_READERS

MAX_SCHEMA_CHARACTERS: Final = 1024 * 1024
MAX_DEPTH: Final = 48
MAX_NODES: Final = 20_000
MAX_NODES_PER_BYTE: Final = 8
MAX_DECIMAL_BYTES: Final = 26
"""Enough for 60 digits, as many as the numbers of JSON events may have."""

PRIMITIVES: Final = frozenset(
    ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
)
_EXACT_DECIMAL: Final = "dynatomic-decimal"
UNPARSABLE: Final = (
    *(ValueError, TypeError, LookupError, AttributeError, RecursionError),
    fastavro.schema.SchemaParseException,
)
"""What fastavro raises for a text that is no Avro schema."""


class SchemaRefusedError(Exception):
    """A text is no Avro schema, or one that could be abused. The message says why."""


@dataclass(frozen=True, slots=True)
class AvroSchema:
    """A schema to decode with, its text without what is not used, and what its names mean."""

    parsed: Any
    text: str
    names: Mapping[str, Any] = field(default_factory=dict)


def _read_decimal(
    data: bytes, schema: Mapping[str, Any] | None, _: object = None
) -> Decimal | bytes:
    # A decimal that is longer than any amount stays bytes: converting it takes quadratic time.
    if schema is None or len(data) > MAX_DECIMAL_BYTES:
        return data
    unscaled = int.from_bytes(data, "big", signed=True)
    return Decimal(unscaled).scaleb(-schema["scale"]) if unscaled else Decimal(0)


for _type in ("bytes", "fixed"):
    LOGICAL_READERS[f"{_type}-{_EXACT_DECIMAL}"] = _read_decimal


def read_schema(texts: Sequence[str]) -> AvroSchema:
    """Parse the last of the texts, whose names the texts before define.

    Logical types are dropped, so a time is the number that was written; only decimals are kept.
    Raises SchemaRefusedError.
    """
    if sum(map(len, texts)) > MAX_SCHEMA_CHARACTERS:
        raise SchemaRefusedError(f"it has more than {MAX_SCHEMA_CHARACTERS} characters")
    names: dict[str, Any] = {}
    parsed = cleaned = None
    try:
        for text in texts:
            cleaned = _cleaned(json.loads(text), 0)
            parsed = fastavro.parse_schema(cleaned, named_schemas=names)
    except SchemaRefusedError:
        raise
    except RecursionError:
        raise SchemaRefusedError("it is nested too deeply") from None
    except UNPARSABLE:
        raise SchemaRefusedError("it is no Avro schema") from None
    _Weigher(names).weight(parsed, 0)
    return AvroSchema(parsed, json.dumps(cleaned, sort_keys=True), names)


def _cleaned(schema: Any, depth: int) -> Any:
    """Return a schema with only what is needed to read data, in a copy."""
    if depth > MAX_DEPTH:
        raise SchemaRefusedError("it is nested too deeply")
    if isinstance(schema, str):
        return schema
    if isinstance(schema, list):
        return [_cleaned(branch, depth + 1) for branch in schema]
    kind = schema["type"]
    clean = _CLEANERS.get(kind) if isinstance(kind, str) else None
    return _cleaned(kind, depth + 1) if clean is None else clean(schema, depth + 1)


def _cleaned_record(schema: Mapping[str, Any], depth: int) -> Any:
    fields = [
        {"name": entry["name"], "type": _cleaned(entry["type"], depth)}
        for entry in schema["fields"]
    ]
    return {**_named(schema), "type": "record", "fields": fields}


_CLEANERS: Final[dict[str, Callable[[Mapping[str, Any], int], Any]]] = {
    "record": _cleaned_record,
    "error": _cleaned_record,
    "enum": lambda schema, _: {**_named(schema), "type": "enum", "symbols": schema["symbols"]},
    "fixed": lambda schema, _: {
        **_named(schema),
        "type": "fixed",
        "size": schema["size"],
        **_decimal(schema),
    },
    "array": lambda schema, depth: {"type": "array", "items": _cleaned(schema["items"], depth)},
    "map": lambda schema, depth: {"type": "map", "values": _cleaned(schema["values"], depth)},
    "bytes": lambda schema, _: {"type": "bytes", **_decimal(schema)},
}


def _named(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in ("name", "namespace") if key in schema}


def _decimal(schema: Mapping[str, Any]) -> dict[str, Any]:
    if schema.get("logicalType") != "decimal":
        return {}
    scale = schema.get("scale", 0)
    # The specification says that a decimal with a wrong scale or precision is read as bytes.
    if type(scale) is not int or not 0 <= scale <= MAX_DECIMAL_BYTES * 2:
        return {}
    return {"logicalType": _EXACT_DECIMAL, "scale": scale}


class _Weight(NamedTuple):
    """How many values a datum has at most without its arrays and maps, and its fewest bytes."""

    nodes: int
    least_bytes: int
    all_nodes: int


_NOTHING: Final = _Weight(0, 0, 0)


class _Weigher:
    """Computes weights, each named type once; raises SchemaRefusedError for what is too heavy."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self._open: set[str] = set()
        self._known: dict[str, _Weight] = {}

    def weight(self, schema: Any, depth: int) -> _Weight:
        if depth > MAX_DEPTH:
            raise SchemaRefusedError("it is nested too deeply")
        if isinstance(schema, str):
            if schema in PRIMITIVES:
                sizes = {"null": 0, "float": 4, "double": 8}
                return _Weight(1, sizes.get(schema, 1), 1)
            return self._named(schema, self._names[schema], depth)
        if isinstance(schema, list):
            return self._union(schema, depth)
        kind = schema["type"]
        if kind in {"record", "enum", "fixed"}:
            return self._named(schema["name"], schema, depth)
        if kind in {"array", "map"}:
            return self._repeated(schema, depth)
        return self.weight(kind, depth + 1)

    def _named(self, name: str, schema: Any, depth: int) -> _Weight:
        if name in self._open:
            raise SchemaRefusedError(f"{name} contains itself")
        if name not in self._known:
            self._open.add(name)
            self._known[name] = self._definition(schema, depth)
            self._open.remove(name)
        weight = self._known[name]
        if weight.all_nodes > MAX_NODES:
            raise SchemaRefusedError(f"it has more than {MAX_NODES} fields")
        return weight

    def _definition(self, schema: Any, depth: int) -> _Weight:
        if schema["type"] == "enum":
            return _Weight(1, 1, 1)
        if schema["type"] == "fixed":
            size = schema["size"]
            if type(size) is not int or size < 0:
                raise SchemaRefusedError("the size of a fixed is no number of bytes")
            return _Weight(1, size, 1)
        fields = [self.weight(entry["type"], depth + 1) for entry in schema["fields"]]
        nodes, least_bytes, all_nodes = (
            sum(parts) for parts in zip(*fields, _NOTHING, strict=True)
        )
        return _Weight(1 + nodes, least_bytes, 1 + all_nodes)

    def _union(self, schema: list[Any], depth: int) -> _Weight:
        branches = [self.weight(branch, depth + 1) for branch in schema]
        all_nodes = 1 + sum(branch.all_nodes for branch in branches)
        # The branch that has the most values for a byte is the one that an attacker writes.
        worst = max(branches, key=lambda b: b.nodes / (1 + b.least_bytes), default=_Weight(1, 0, 1))
        return _Weight(worst.nodes, 1 + worst.least_bytes, all_nodes)

    def _repeated(self, schema: Mapping[str, Any], depth: int) -> _Weight:
        is_map = schema["type"] == "map"
        item = self.weight(schema["values" if is_map else "items"], depth + 1)
        if item.nodes > MAX_NODES_PER_BYTE * (item.least_bytes + is_map):
            raise SchemaRefusedError(f"its {schema['type']}s can have items that take no bytes")
        return _Weight(1, 1, 1 + item.all_nodes)
