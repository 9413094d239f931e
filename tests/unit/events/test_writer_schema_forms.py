"""A writer schema is compared by its parsing canonical form."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest

from dynatomic.errors import ConfigError, RowError
from dynatomic.events.payload import PayloadReader
from dynatomic.events.row import KeySchema, Reason
from dynatomic.events.schema import load_writer_schema, schema

TEXT: Any = {"type": "string", "avro.java.string": "String"}
FORMS = {
    "object": ({"type": "string"}, ["null", {"type": "string"}], {"type": "long"}),
    "java": (TEXT, ["null", TEXT], "long"),
    "logical": (
        {"type": "string", "logicalType": "uuid"},
        ["null", "string"],
        {"type": "long", "logicalType": "timestamp-millis"},
    ),
}


def written(folder: Path, text: Any, optional: Any, number: Any) -> Path:
    """Write a schema with one field more, and these forms of the types."""
    types = {"table": text, "key": text, "range": optional, "counter": optional, "incr": number}
    fields = [{"name": name, "type": kind} for name, kind in types.items()]
    fields.append({"name": "at", "type": "long"})
    path = folder / "row.avsc"
    path.write_text(json.dumps({"type": "record", "name": "Row", "fields": fields}))
    return path


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_other_forms_of_the_same_types_are_accepted_and_read(tmp_path: Path, form: Any) -> None:
    path = written(tmp_path, *form)
    out = io.BytesIO()
    row = {"table": "usage", "key": "k", "range": None, "counter": "hits", "incr": 7, "at": 1}
    plain: Any = schema() | {"fields": [*schema()["fields"], {"name": "at", "type": "long"}]}
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain, _force=True), row)
    names, incr, _ = PayloadReader({}, writer_schema=load_writer_schema(path)).read(out.getvalue())
    assert (names, incr) == (("usage", "k", None, "hits"), 7)


@pytest.mark.parametrize(
    "form",
    [
        ("bytes", ["null", "string"], "long"),
        ("string", ["string", "null"], "long"),
        ("string", ["null", "string"], "int"),
        ("string", "string", "long"),
    ],
)
def test_types_with_other_bytes_are_refused(tmp_path: Path, form: Any) -> None:
    with pytest.raises(ConfigError, match="its first fields must be those of"):
        load_writer_schema(written(tmp_path, *form))


def test_with_a_list_of_counters_a_row_may_name_these_and_the_default_only() -> None:
    keys = KeySchema("pk", ttl_name="expires")
    reader = PayloadReader({"usage": keys}, allowed_counters=("hits", "expires"))
    for name in (None, "count", "hits"):
        assert reader.resolve(("usage", "k", None, name), 1).name == (name or "count")
    for name, detail in (("bytes", "not in --allow-counter"), ("expires", "TTL attribute")):
        with pytest.raises(RowError, match=detail) as raised:
            reader.resolve(("usage", "k", None, name), 1)
        assert raised.value.reason == Reason.COUNTER_NAME


def test_a_counter_may_not_be_the_ttl_attribute() -> None:
    reader = PayloadReader({"usage": KeySchema("pk", ttl_name="expires")})
    assert reader.resolve(("usage", "k", None, "hits"), 1).name == "hits"
    with pytest.raises(RowError, match="TTL attribute") as raised:
        reader.resolve(("usage", "k", None, "expires"), 1)
    assert raised.value.reason == Reason.COUNTER_NAME


def test_a_counter_may_not_have_the_name_of_an_index_key() -> None:
    reader = PayloadReader({"usage": KeySchema("pk", index_names=frozenset({"day"}))})
    assert reader.resolve(("usage", "k", None, "hits"), 1).name == "hits"
    with pytest.raises(RowError, match="key attribute of an index") as raised:
        reader.resolve(("usage", "k", None, "day"), 1)
    assert raised.value.reason == Reason.COUNTER_NAME
