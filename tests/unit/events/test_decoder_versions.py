"""Payloads of later versions of the schema."""

from pathlib import Path
from typing import Any

import pytest

from dynatomic.events.decoder import Decoder
from dynatomic.events.row import INT64_MAX, INT64_MIN, CounterRef, Reason, Row
from dynatomic.events.schema import encode
from tests.support.decoding import (
    GOOD,
    INT64,
    TABLES,
    later_payload,
    later_schema,
    summed,
    writer_schema,
)

SYMBOLS = {"type": "enum", "name": "Unit", "symbols": ["bytes", "calls"]}
TIME = {"type": "long", "logicalType": "timestamp-millis"}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("null", None),
        ("boolean", True),
        ("int", 7),
        ("long", INT64_MIN),
        ("float", 0.5),
        ("double", 1.5),
        ("bytes", b"\x00\xff"),
        ("string", "kůň"),
        (SYMBOLS, "calls"),
        (["null", "string"], None),
        (["null", "string"], "x"),
        (TIME, INT64_MAX),
    ],
)
def test_both_versions_are_read_in_any_order(kind: Any, value: Any, tmp_path: Path) -> None:
    raw = later_schema(("more", kind))
    decoder = Decoder(TABLES, writer_schema=writer_schema(tmp_path, raw))
    written = [Row("text", "k", incr=n) for n in INT64[::8]] * 2
    payloads = [p for r in written for p in (encode(r), later_payload(raw, r, more=value))]
    expected = [(CounterRef("text", "k", None, "count"), r.incr) for r in written for _ in "on"]
    assert summed(decoder.decode(payloads)) == expected
    assert summed(decoder.decode(payloads[::-1])) == expected[::-1]


@pytest.mark.parametrize("changes", [{"name": "RowV2"}, {"namespace": "com.example"}])
def test_a_later_version_may_have_another_name(changes: dict[str, str], tmp_path: Path) -> None:
    raw = later_schema(("more", "int"), **changes)
    decoder = Decoder(TABLES, writer_schema=writer_schema(tmp_path, raw))
    row = Row("text", "k", incr=3)
    expected = (CounterRef("text", "k", None, "count"), 3)
    payloads = [encode(row), later_payload(raw, row, more=7)]
    assert summed(decoder.decode(payloads)) == [expected] * 2


def test_a_new_payload_without_its_schema_is_a_dead_letter_that_names_the_flag() -> None:
    raw = later_schema(("more", "int"))
    error = Decoder(TABLES).decode([later_payload(raw, Row("text", "k"), more=7)]).rejected[0]
    assert error.reason == Reason.TRAILING
    assert "--writer-schema" in error.detail


@pytest.mark.parametrize(
    ("kind", "rubbish"),
    [
        ("int", b"\x80"),
        ("int", b"\x02\x02"),
        ("string", b"\x06ab"),
        ("string", b"\x01abc"),
        ("bytes", b"\x06ab"),
        ("float", b"\x00" * 3),
        ("double", b"\x00" * 7),
        ("double", b"\x00" * 9),
        (["null", "string"], b"\x02"),
        (["null", "string"], b"\x04"),
    ],
)
def test_a_new_payload_that_is_cut_or_extended_is_rejected(
    kind: Any, rubbish: bytes, tmp_path: Path
) -> None:
    decoder = Decoder(TABLES, writer_schema=writer_schema(tmp_path, later_schema(("more", kind))))
    decoder.decode([GOOD])
    for _ in range(2):
        assert decoder.decode([GOOD + rubbish]).rejected[0].reason == Reason.TRAILING


def test_a_writer_schema_does_not_loosen_the_other_checks(tmp_path: Path) -> None:
    raw = later_schema(("more", "int"))
    decoder = Decoder(TABLES, writer_schema=writer_schema(tmp_path, raw), max_incr=5)
    bad = {
        Reason.TABLE: Row("elsewhere", "k"),
        Reason.RANGE_MISSING: Row("text-range", "k"),
        Reason.INCR_OUT_OF_BOUNDS: Row("text", "k", incr=6),
        Reason.COUNTER_NAME: Row("text", "k", counter="a b"),
    }
    found = decoder.decode([later_payload(raw, row, more=7) for row in bad.values()])
    assert [found.rejected[i].reason for i in range(len(bad))] == list(bad)
