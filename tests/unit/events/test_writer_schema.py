"""Writer schemas: which later versions of the schema are read, and which files are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from dynatomic.errors import ConfigError
from dynatomic.events.row import Row
from dynatomic.events.schema import load_writer_schema

AVSC = Path(__file__).parents[3] / "schemas" / "row.avsc"


def later(*fields: Any, **changes: Any) -> dict[str, Any]:
    """Make a later version of the schema: these fields behind ours."""
    raw: dict[str, Any] = json.loads(AVSC.read_text())
    return raw | {"fields": raw["fields"] + list(fields)} | changes


def load(folder: Path, raw: Any) -> Any:
    path = folder / "writer.avsc"
    path.write_text(raw if isinstance(raw, str) else json.dumps(raw))
    return load_writer_schema(path)


SIMPLE = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]


@pytest.mark.parametrize(
    "kind",
    [
        *SIMPLE,
        ["null", "string"],
        {"type": "string"},
        {"type": "long", "logicalType": "timestamp-millis"},
        {"type": "enum", "name": "Unit", "symbols": ["bytes", "calls"]},
        ["null", {"type": "enum", "name": "Unit", "symbols": ["bytes", "calls"]}],
    ],
)
def test_a_later_version_may_add_simple_fields(kind: Any, tmp_path: Path) -> None:
    found = load(tmp_path, later({"name": "more", "type": kind}))
    assert [field["name"] for field in found["fields"]] == [*Row._fields, "more"]


def test_our_own_schema_is_a_writer_schema() -> None:
    assert load_writer_schema(AVSC)["name"] == "dynatomic.Row"


@pytest.mark.parametrize(
    "kind",
    [
        {"type": "array", "items": "null"},
        {"type": "map", "values": "long"},
        {"type": "fixed", "name": "Id", "size": 1_000_000_000},
        {"type": "record", "name": "Inner", "fields": []},
        {"type": "bytes", "logicalType": "decimal", "precision": 38},
        ["null", {"type": "array", "items": "null"}],
        ["null", "dynatomic.Row"],
        "dynatomic.Row",
        "Row",
    ],
)
def test_a_field_that_can_nest_repeat_or_grow_is_refused(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'more' may only be of a simple type"):
        load(tmp_path, later({"name": "more", "type": kind}))


def _without(name: str) -> list[Any]:
    return [field for field in later()["fields"] if field["name"] != name]


@pytest.mark.parametrize(
    "fields",
    [
        _without("incr"),
        list(reversed(later()["fields"])),
        [{"name": "more", "type": "int"}, *later()["fields"]],
        [
            field | {"type": "bytes"} if field["name"] == "key" else field
            for field in later()["fields"]
        ],
        [*_without("incr"), {"name": "incr", "type": "int"}],
    ],
)
def test_a_schema_that_does_not_begin_with_our_fields_is_refused(
    fields: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="first fields must be those of row"):
        load(tmp_path, later() | {"fields": fields})


def test_a_second_field_of_one_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, later({"name": "incr", "type": "int"}))


@pytest.mark.parametrize(
    "raw",
    [
        *[
            "",
            "{",
            "[]",
            "{}",
            "null",
            "5",
            '"string"',
            '{"type": "nonsense"}',
            '{"type": "string"}',
        ],
        "[" * 100_000,
        '{"type": "record", "name": "Row"}',
        '{"type": "record", "name": "Row", "fields": 5}',
        '{"type": "record", "name": "Row", "fields": null}',
        '{"type": "record", "name": "Row", "fields": ["x"]}',
    ],
)
def test_a_file_that_is_no_such_schema_is_a_configuration_error(raw: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, raw)
    assert "writer.avsc" in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        load_writer_schema(tmp_path / "nowhere.avsc")
    (tmp_path / "binary.avsc").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="binary"):
        load_writer_schema(tmp_path / "binary.avsc")
