"""Schemas of others: what is refused, because its data could cost any time and memory."""

import io
import json
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynatomic.counting.formats.avro_schema import (
    MAX_SCHEMA_CHARACTERS,
    SchemaRefusedError,
    read_schema,
)


def record(name: str, *types: Any) -> dict[str, Any]:
    fields = [{"name": f"f{index}", "type": kind} for index, kind in enumerate(types)]
    return {"type": "record", "name": name, "fields": fields}


def doubling(levels: int) -> Any:
    """Each level has the one below it twice: data without bytes, and 2**levels values."""
    schema: Any = record("R0", "null")
    for level in range(1, levels):
        schema = record(f"R{level}", schema, f"R{level - 1}")
    return schema


def nested(levels: int) -> Any:
    schema: Any = "boolean"
    for level in range(levels):
        schema = record(f"R{level}", schema)
    return schema


REFUSED = {
    json.dumps(record("R", ["null", "R"])): "R contains itself",
    json.dumps(record("R", {"type": "map", "values": ["null", "R"]})): "R contains itself",
    json.dumps({"type": "array", "items": "null"}): "its arrays can have items that take no bytes",
    json.dumps({"type": "array", "items": record("R")}): "items that take no bytes",
    json.dumps({"type": "array", "items": nested(12)}): "items that take no bytes",
    json.dumps({"type": "array", "items": record("R", "boolean", *["null"] * 99)}): "no bytes",
    json.dumps({"type": "array", "items": ["null", record("R", *["null"] * 99)]}): "no bytes",
    json.dumps({"type": "map", "values": record("R", *["null"] * 99)}): "its maps can have items",
    json.dumps(
        {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}
    ): "items that take no bytes",
    json.dumps(doubling(40)): "it has more than 20000 fields",
    json.dumps(nested(60)): "it is nested too deeply",
    "[" * 100_000: "it is nested too deeply",
    '{"type":' * 500 + '"int"' + "}" * 500: "it is nested too deeply",
    " " * (MAX_SCHEMA_CHARACTERS + 1): "it has more than 1048576 characters",
    json.dumps({"type": "fixed", "name": "F", "size": -1}): "the size of a fixed is no number",
    **dict.fromkeys(
        [
            *("", "no JSON", "5", "null", "{}", "[1]", '{"type":5}', '{"type":"unknown"}'),
            *('"unknown"', '{"type":"record"}', '{"type":"record","name":"R","fields":5}'),
            *('{"type":"record","name":"R","fields":[5]}', '{"type":"array"}', '{"type":"enum"}'),
            '{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b"}]}',
        ],
        "it is no Avro schema",
    ),
}


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_a_schema_that_could_be_abused_is_refused(text: str) -> None:
    with pytest.raises(SchemaRefusedError) as caught:
        read_schema([text])
    assert REFUSED[text] in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        record("R", {"type": "array", "items": record("I", "string", ["null", "long"], "double")}),
        record("R", {"type": "map", "values": "long"}, "null"),
        record("R", record("S", "int"), "S", {"type": "array", "items": "S"}),
        {"type": "array", "items": ["null", "string"]},
    ],
)
def test_usual_schemas_are_taken(schema: Any) -> None:
    assert read_schema([json.dumps(schema)]).parsed


def test_names_may_be_defined_by_other_schemas() -> None:
    schema = read_schema([json.dumps(record("a.S", "int")), json.dumps(record("R", "a.S", "a.S"))])
    assert fastavro.schemaless_reader(io.BytesIO(b"\2\4"), schema.parsed) == {
        "f0": {"f0": 1},
        "f1": {"f0": 2},
    }
    with pytest.raises(SchemaRefusedError, match="no Avro schema"):
        read_schema([json.dumps(record("R", "a.S"))])


_kinds = st.recursive(
    st.sampled_from(["null", "int", "string", "boolean", "R", "S", "", 5, None]),
    lambda kinds: st.one_of(
        st.lists(kinds, max_size=3),
        st.fixed_dictionaries(
            {"type": st.sampled_from(["array", "map", "record", "enum", "fixed", "bytes", "int"])},
            optional={
                "name": st.sampled_from(["R", "S", "a.b", "", 5]),
                "items": kinds,
                "values": kinds,
                "size": st.sampled_from([0, 3, -1, "x", 10**30]),
                "symbols": st.sampled_from([[], ["a"], 5]),
                "logicalType": st.sampled_from(["decimal", "uuid", 5]),
                "scale": st.sampled_from([0, 2, -1, "x", 10**9]),
                "fields": st.lists(
                    st.fixed_dictionaries({"name": st.sampled_from(["a", "b"]), "type": kinds}),
                    max_size=3,
                ),
            },
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=500, deadline=None)
@given(_kinds, st.binary(max_size=40))
def test_any_schema_is_refused_or_decodes_any_bytes_within_bounds(schema: Any, data: bytes) -> None:
    try:
        parsed = read_schema([json.dumps(schema)]).parsed
    except SchemaRefusedError:
        return
    try:
        datum = fastavro.schemaless_reader(io.BytesIO(data), parsed)
    except (EOFError, LookupError, ValueError, TypeError, OverflowError, MemoryError):
        return
    assert len(repr(datum)) < 100_000
