"""Frames, and Avro in them: which schema a payload names, and what bad bytes get."""

import uuid
import zlib
from decimal import Decimal
from pathlib import Path

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynatomic.counting.counting import Counting
from dynatomic.counting.file import load, loads
from dynatomic.counting.formats.framing import (
    CONFLUENT_HEADER,
    MAX_INFLATED_BYTES,
    Framing,
    RecordHeaders,
    unframed,
)
from dynatomic.counting.formats.schemas import SchemaKey, SchemaUnavailableError
from dynatomic.counting.reasons import EventRejected
from dynatomic.counting.records import Record
from tests.support.avro_events import COUNTERS, ORDER, TEXT, FakeSchemas, datum

GUID = uuid.UUID("0b7d3a54-33a4-4ab4-9d21-2f6d6b1b9e11")
ID_KEY, GUID_KEY = SchemaKey("id", "7"), SchemaKey("guid", str(GUID))
GLUE_KEY = SchemaKey("glue", str(GUID))
ID_FRAME, GUID_FRAME = b"\0\0\0\0\7", b"\1" + GUID.bytes
REGISTRY = '[event]\nformat = "avro"\nregistry = "https://registry"\n' + COUNTERS


@pytest.mark.parametrize(
    ("framing", "value", "headers", "expected"),
    [
        ("confluent", ID_FRAME + b"x", None, (ID_KEY, b"x")),
        ("confluent", GUID_FRAME + b"x", [], (GUID_KEY, b"x")),
        ("confluent", b"x", [(CONFLUENT_HEADER, ID_FRAME)], (ID_KEY, b"x")),
        ("confluent", b"x", [("h", b""), (CONFLUENT_HEADER, GUID_FRAME)], (GUID_KEY, b"x")),
        ("confluent", ID_FRAME + b"x", [(CONFLUENT_HEADER, None)], (ID_KEY, b"x")),
        ("confluent", ID_FRAME, [(CONFLUENT_HEADER, GUID_FRAME)], (GUID_KEY, ID_FRAME)),
        ("glue", b"\3\0" + GUID.bytes + b"x", None, (GLUE_KEY, b"x")),
        ("glue", b"\3\5" + GUID.bytes + zlib.compress(b"x" * 999), None, (GLUE_KEY, b"x" * 999)),
        (
            "single-object",
            b"\xc3\1" + bytes(8) + b"x",
            None,
            (SchemaKey("fingerprint", "0" * 16), b"x"),
        ),
        ("none", b"x", None, (SchemaKey("file", ""), b"x")),
    ],
)
def test_a_frame_names_the_schema(
    framing: Framing, value: bytes, headers: RecordHeaders, expected: tuple[SchemaKey, bytes]
) -> None:
    assert unframed(framing, value, headers) == expected


@pytest.mark.parametrize(
    ("framing", "value", "headers", "problem"),
    [
        ("confluent", b"\0\0\0\0", None, "not-framed: the payload does not begin with 00 and"),
        ("confluent", b'{"a":1}', None, "not-framed: the payload does not begin with 00 and"),
        ("confluent", ID_FRAME, [(CONFLUENT_HEADER, b"\0")], "not-framed: the header __value_"),
        ("glue", b"\3\0", None, "not-framed: the payload does not begin with 03, a compression"),
        ("glue", b"\3\1" + bytes(16), None, "not-framed: the compression byte 01 is not 00 or 05"),
        ("glue", b"\3\5" + bytes(20), None, "undecodable: the payload is not zlib"),
        ("glue", b"\3\5" + bytes(16) + zlib.compress(b"x")[:-1], None, "the payload is not zlib"),
        (
            *("glue", b"\3\5" + bytes(16) + zlib.compress(bytes(MAX_INFLATED_BYTES + 1)), None),
            "undecodable: the payload has more than 8388608 bytes without compression",
        ),
        ("single-object", b"\xc3\1" + bytes(7), None, "not-framed: the payload does not begin"),
    ],
)
def test_a_payload_without_its_frame_is_a_letter(
    framing: Framing, value: bytes, headers: RecordHeaders, problem: str
) -> None:
    with pytest.raises(EventRejected) as caught:
        unframed(framing, value, headers)
    assert problem in str(caught.value)


def test_avro_counts_with_exact_decimals_and_the_time_as_a_number() -> None:
    counting = Counting(loads(REGISTRY), FakeSchemas({ID_KEY: TEXT}))
    value = ID_FRAME + datum(total=Decimal("12.34"), coupon="x")
    (addition,) = counting.additions(Record(value))
    assert (addition.key, addition.range) == ("c", "2025-11-24")
    assert addition.amounts == (("orders", 1), ("cents", 1234))


SERIALIZERS = {
    # Apicurio's for Java (2.6.13, ids of 4 bytes, contentId) and Confluent's for Node (1.10.1),
    # each registered and written with a running registry.
    "java": (1, "000000000180a0bfe9d66606632d370404d20000"),
    "node": (3, "000000000380a0bfe9d66606632d370404d20000"),
}


@pytest.mark.parametrize("language", SERIALIZERS)
def test_the_bytes_of_other_serializers_are_counted(language: str) -> None:
    schema_id, payload = SERIALIZERS[language]
    counting = Counting(loads(REGISTRY), FakeSchemas({SchemaKey("id", str(schema_id)): TEXT}))
    (addition,) = counting.additions(Record(bytes.fromhex(payload)))
    assert (addition.key, addition.range) == ("c-7", "2025-11-24")
    assert addition.amounts == (("orders", 1), ("cents", 1234))


BAD_DATA = {
    b"": "undecodable: the bytes are not of schema id 7",
    datum() + b"\0": "undecodable: there are bytes after the datum of schema id 7",
    datum()[:-1]: "undecodable: the bytes are not of schema id 7",
    datum(customer="c-7").replace(b"c-7", b"\xff\xff\xff"): "undecodable: not UTF-8 in a text of",
    datum(total=Decimal(10) ** 9).replace(b"\n", b"\x01"): "undecodable: the bytes are not of",
}


@pytest.mark.parametrize("data", BAD_DATA, ids=range(len(BAD_DATA)))
def test_bad_avro_is_a_letter(data: bytes) -> None:
    counting = Counting(loads(REGISTRY), FakeSchemas({ID_KEY: TEXT}))
    with pytest.raises(EventRejected) as caught:
        counting.additions(Record(ID_FRAME + data))
    assert BAD_DATA[data] in str(caught.value)


def test_a_decimal_of_a_megabyte_is_no_number_and_costs_no_time() -> None:
    plain = {
        **ORDER,
        "fields": [{**f, "type": "bytes"} if f["name"] == "total" else f for f in ORDER["fields"]],
    }
    counting = Counting(loads(REGISTRY), FakeSchemas({ID_KEY: TEXT}))
    with pytest.raises(
        EventRejected, match="field-type: counter revenue: total: bytes, not a number"
    ):
        counting.additions(Record(ID_FRAME + datum(plain, total=b"\x7f" * 1_000_000)))


def test_of_a_batch_only_the_records_without_a_schema_wait() -> None:
    counting = Counting(loads(REGISTRY), FakeSchemas({ID_KEY: TEXT}, SchemaKey("id", "8")))
    frames = [ID_FRAME, b"\0\0\0\0\x08", ID_FRAME, b"\0\0\0\0\x09"]
    values = [*(frame + datum() for frame in frames), None, b"x"]
    counted = counting.count(values, [0] * 6, headers_of=lambda _: None)
    assert counted.counts == [2, 0, 2, 0, 0, 0]
    assert list(counted.unavailable) == [1]
    assert {index: error.reason for index, error in counted.rejected.items()} == {
        3: "schema-unknown",
        5: "not-framed",
    }
    with pytest.raises(SchemaUnavailableError):
        counting.additions(Record(values[1] or b""))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_are_counted_or_rejected(data: bytes) -> None:
    counted = HOSTILE.count([ID_FRAME + data], [0], headers_of=lambda _: None)
    assert len(counted.rejected) + bool(counted.counts[0]) == 1


HOSTILE = Counting(loads(REGISTRY), FakeSchemas({ID_KEY: TEXT}))


def test_schemas_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "order.avsc").write_text(TEXT)
    path = tmp_path / "counters.toml"
    path.write_text('[event]\nformat = "avro"\nschema = "order.avsc"' + COUNTERS)
    plain = load(path)
    (addition,) = Counting(plain).additions(Record(datum(total=Decimal("0.05"))))
    assert addition.amounts == (("orders", 1), ("cents", 5))
    path.write_text(
        '[event]\nformat = "avro"\nframing = "single-object"\nschema = ["order.avsc"]' + COUNTERS
    )
    canonical = fastavro.schema.to_parsing_canonical_form(ORDER)
    mark = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))[::-1]
    counting = Counting(load(path))
    assert counting.additions(Record(b"\xc3\1" + mark + datum()))[0].key == "c"
    with pytest.raises(EventRejected, match="schema-unknown: there is no schema fingerprint 0000"):
        counting.additions(Record(b"\xc3\1" + bytes(8) + datum()))
    # The schema is a part of what the file means.
    (tmp_path / "order.avsc").write_text(TEXT.replace('"scale": 2', '"scale": 3'))
    path.write_text('[event]\nformat = "avro"\nschema = "order.avsc"' + COUNTERS)
    assert load(path).fingerprint != plain.fingerprint


def test_json_may_have_confluents_frame() -> None:
    text = REGISTRY.replace(
        '"avro"\nregistry = "https://registry"', '"json"\nframing = "confluent"'
    )
    value = b'\0\0\0\0\7{"time":1764000000000,"customer":"c","total":1.5}'
    (addition,) = Counting(loads(text)).additions(Record(value))
    assert addition.amounts == (("orders", 1), ("cents", 150))
