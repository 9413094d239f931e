"""The Avro schema of the row event: encoding a row, and checking the schema of other writers."""

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import fastavro

from dynatomic.errors import ConfigError
from dynatomic.events.row import Row, check

# What fastavro and json raise for a file that holds no schema.
_NO_SCHEMA = (
    *(OSError, ValueError, TypeError, LookupError, RecursionError),
    fastavro.schema.SchemaParseException,
)


_PRIMITIVE = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
_SIMPLE = {*_PRIMITIVE, "enum"}


@cache
def schema() -> Any:
    """Return the row's parsed Avro schema."""
    package = Path(__file__).parents[1]
    # An editable install does not see the copy that the wheel holds.
    checkout = package.parents[1]
    path = next(p for p in (package / "schemas", checkout / "schemas") if p.is_dir())
    return fastavro.parse_schema(json.loads((path / "row.avsc").read_text()))


def encode(row: Row) -> bytes:
    """Return the row as an Avro datum; raises RowError if `check` does."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema(), check(row)._asdict())
    return out.getvalue()


def load_writer_schema(path: Path | None) -> Any:
    """Return the parsed schema that producers write with, when it is a later version of ours.

    Without a file it is our own schema, so None. It must be a record that begins with our five
    fields, so that the length of a payload shows its version. Types are compared by their parsing
    canonical forms (Avro specification): ``{"type": "string"}`` has the same bytes as
    ``"string"``. Further fields must have simple types, because with a type that nests or repeats a
    few bytes could cost gigabytes. Raises ConfigError otherwise.
    """
    if path is None:
        return None
    try:
        raw = json.loads(path.read_text())
        fastavro.parse_schema(raw)
    except _NO_SCHEMA as error:
        raise ConfigError(f"writer schema {path}: {error}") from None
    fields = raw.get("fields", []) if isinstance(raw, dict) else []
    ours = [(f["name"], f["type"]) for f in schema()["fields"]]
    if [(f.get("name"), _canonical(f.get("type"))) for f in fields[: len(ours)]] != ours:
        raise ConfigError(f"writer schema {path}: its first fields must be those of row.avsc")
    for field, (_, kind) in zip(fields, ours, strict=False):
        field["type"] = kind  # without a logical type, which would change the values that are read
    if len({field["name"] for field in fields}) < len(fields):
        raise ConfigError(f"writer schema {path}: two fields have one name")
    for field in fields[len(ours) :]:
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        if not all(_is_simple(kind) for kind in kinds):
            raise ConfigError(
                f"writer schema {path}: field {field['name']!r} may only be of a simple type"
            )
    return fastavro.parse_schema(raw)


def _canonical(kind: Any) -> Any:
    """Return the parsing canonical form of a primitive type or of a union of them."""
    if isinstance(kind, list):
        return [_canonical(branch) for branch in kind]
    if isinstance(kind, dict) and kind.get("type") in _PRIMITIVE:
        return kind["type"]
    return kind


def _is_simple(kind: Any) -> bool:
    """Return whether a type holds one small value, and remove its logical type.

    The field is not used, and a value that its logical type cannot hold (a time after the year
    9999) would make the whole row undecodable.
    """
    if isinstance(kind, dict):
        if kind.pop("logicalType", None) == "decimal":
            return False
        kind = kind.get("type")
    return isinstance(kind, str) and kind in _SIMPLE
