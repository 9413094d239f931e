"""The folders of examples/: each counters file adds what `explained.txt` beside it says."""

import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest

from dynatomic.counting.check_schema import check_schema
from dynatomic.counting.counting import CounterAddition, Counting
from dynatomic.counting.examples import written_as_json
from dynatomic.counting.file import load
from dynatomic.counting.formats.avro_schema import read_schema
from dynatomic.counting.formats.schemas import SchemaKey
from dynatomic.counting.records import Record
from dynatomic.operations.explain import ExplainOptions, explain
from tests.support.avro_events import FakeSchemas
from tests.support.children import REPOSITORY

FOLDER = REPOSITORY / "examples"
NAMES = [path.parent.name for path in sorted(FOLDER.glob("*/counters.toml"))]


@pytest.mark.parametrize("name", NAMES)
def test_the_events_of_an_example_add_what_it_says(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER / name)
    options = ExplainOptions(Path("counters.toml"))
    lines = Path("events.jsonl").read_bytes().splitlines()
    assert list(explain(options, lines)) == Path("explained.txt").read_text().splitlines()


def test_every_example_is_in_the_list() -> None:
    page = (FOLDER / "README.md").read_text()
    assert len(NAMES) == 5
    assert all(f"[{name}]({name}/counters.toml)" in page for name in NAMES)


def test_the_revenue_is_the_same_in_avro() -> None:
    folder = FOLDER / "revenue"
    definition, text = load(folder / "counters.toml"), (folder / "order.avsc").read_text()
    assert not list(check_schema(definition, read_schema([text]), "order.avsc"))
    in_avro = Counting(definition, FakeSchemas({SchemaKey("id", "1"): text}))
    in_json = Counting(written_as_json(definition))
    added: list[CounterAddition] = []
    for line in (folder / "events.jsonl").read_bytes().splitlines():
        additions = in_avro.additions(Record(b"\0\0\0\0\1" + _avro(text, line)))
        assert additions == in_json.additions(Record(line))
        added += additions
    cents = [dict(addition.amounts)["cents"] for addition in added if addition.key == "berlin"]
    assert sum(cents) == 10


def _avro(schema: str, line: bytes) -> bytes:
    event: dict[str, Any] = json.loads(line, parse_float=Decimal)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(schema)), event)
    return out.getvalue()
