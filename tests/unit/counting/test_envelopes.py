"""CloudEvents in both forms, and Debezium's changes."""

import json
from typing import Any

import pytest

from dynatomic.counting.counting import Counting
from dynatomic.counting.file import loads
from dynatomic.counting.formats.schemas import SchemaKey
from dynatomic.counting.reasons import EventRejected
from dynatomic.counting.records import Record
from tests.support.avro_events import TEXT, FakeSchemas, datum

Headers = tuple[tuple[str, bytes | None], ...]

CLOUDEVENTS = """
[event]
envelope = "cloudevents"
time = "time"

[[counter]]
name = "usage"
when = "type == 'api.call'"
table = "usage"
key = "{subject}"
range = "{time|day}#{source}"
add = { calls = 1, bytes = "data.bytes" }
"""
ATTRIBUTES = {
    "specversion": "1.0",
    "id": "1",
    "source": "/eu",
    "type": "api.call",
    "subject": "c-7",
    "time": "2026-11-29T00:50:59Z",
}
BINARY: Headers = (
    *((f"ce_{name}", value.encode()) for name, value in ATTRIBUTES.items()),
    ("content-type", b"application/json"),
)


def test_both_forms_of_a_cloudevent_give_one_event() -> None:
    counting = Counting(loads(CLOUDEVENTS))
    structured = json.dumps({**ATTRIBUTES, "data": {"bytes": 5}}).encode()
    content_type = (("content-type", b"application/cloudevents+json"),)
    first = counting.additions(Record(structured, headers=content_type))
    assert first == counting.additions(Record(b'{"bytes":5}', headers=BINARY))
    assert first[0][1:5] == ("usage", "c-7", "2026-11-29#/eu", (("calls", 1), ("bytes", 5)))
    assert not counting.additions(Record(b"[]", headers=(*BINARY, ("ce_type", b"other"))))


@pytest.mark.parametrize(
    ("value", "headers", "problem"),
    [
        (b"{}", (), "undecodable: no CloudEvent: specversion is neither in a header nor in the"),
        (b"[]", (), "undecodable: no CloudEvent"),
        (b"\xff", BINARY, "undecodable: not JSON"),
        (b"null", BINARY, "field-missing: counter usage: data.bytes"),
        (
            b"{}",
            (("ce_specversion", b"1.0"), ("ce_type", b"api.call")),
            "field-missing: time: time",
        ),
        (b"{}", (*BINARY, ("ce_subject", b"\xff")), "field-missing: counter usage: subject"),
    ],
)
def test_what_is_no_cloudevent_is_a_letter(value: bytes, headers: Headers, problem: str) -> None:
    with pytest.raises(EventRejected) as caught:
        Counting(loads(CLOUDEVENTS)).additions(Record(value, headers=headers))
    assert str(caught.value).startswith(problem)


def test_data_that_no_counter_needs_may_be_of_any_type() -> None:
    counting = Counting(loads(CLOUDEVENTS.replace(', bytes = "data.bytes"', "")))
    (addition,) = counting.additions(Record(b"\xff<xml>", headers=BINARY))
    assert addition.amounts == (("calls", 1),)


def test_the_data_of_a_binary_cloudevent_may_be_avro() -> None:
    text = CLOUDEVENTS.replace("[event]", '[event]\nformat = "avro"\nregistry = "https://r"')
    text = text.replace("data.bytes", "length(data.customer)")
    counting = Counting(loads(text), FakeSchemas({SchemaKey("id", "7"): TEXT}))
    value = b"\0\0\0\0\7" + datum(customer="four")
    (addition,) = counting.additions(Record(value, headers=BINARY))
    assert addition.amounts == (("calls", 1), ("bytes", 4))
    with pytest.raises(EventRejected, match="no CloudEvent: the header ce_specversion is missing"):
        counting.additions(Record(value))


DEBEZIUM = """
[event]
envelope = "debezium"
time = "ts_ms"
time_unit = "ms"

[[counter]]
name = "orders"
when = "op == 'c'"
table = "orders"
key = "{after.customer}"
range = "{time|month}"
add = { orders = 1, cents = { path = "to_number(after.total)", scale = 2 } }
"""


def change(**fields: Any) -> dict[str, Any]:
    after = {"customer": "c-7", "total": "12.30"}
    return {"op": "c", "ts_ms": 1764000000000, "before": None, "after": after, **fields}


def test_a_change_counts_with_and_without_its_schema() -> None:
    counting = Counting(loads(DEBEZIUM))
    bare, with_schema = change(), {"schema": {"type": "struct"}, "payload": change()}
    first = counting.additions(Record(json.dumps(bare).encode()))
    assert first == counting.additions(Record(json.dumps(with_schema).encode()))
    assert first[0][2:5] == ("c-7", "2025-11", (("orders", 1), ("cents", 1230)))
    assert not counting.additions(Record(json.dumps(change(op="u")).encode()))


def test_tombstones_are_skipped_and_other_payloads_are_letters() -> None:
    counting = Counting(loads(DEBEZIUM))
    values = [b'{"schema":{},"payload":null}', None, b'{"customer":"c-7"}', b"[]"]
    counted = counting.count(values, [0] * 4)
    assert counted.counts == [0] * 4
    assert {i: str(error) for i, error in counted.rejected.items()} == dict.fromkeys(
        [2, 3], "undecodable: no change of Debezium: op is missing"
    )
