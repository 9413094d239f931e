"""What single events add, and the hostile ones."""

import re
from typing import Any

import pytest

from dynatomic.counting.counting import CounterAddition, Counting
from dynatomic.counting.file import loads
from dynatomic.counting.reasons import EventRejected
from dynatomic.counting.records import Record


def counting(event: str = "", **keys: str) -> Counting:
    """Compile a file of one counter; each keyword is a line of TOML."""
    fields = {"key": '"{id}"', "add": "{ n = 1 }", "table": '"usage"', "name": '"c"', **keys}
    lines = [f"{name} = {value}" for name, value in fields.items()]
    return Counting(loads("\n".join([f"[event]\n{event}", "[[counter]]", *lines])))


def one(counting: Counting, value: bytes, **record: Any) -> CounterAddition:
    (addition,) = counting.additions(Record(value, **record))
    return addition


def reason(counting: Counting, value: bytes, **record: Any) -> str:
    with pytest.raises(EventRejected) as caught:
        counting.additions(Record(value, **record))
    return str(caught.value)


def test_parts_of_a_key_cannot_be_confused() -> None:
    count = counting(key='"{a}#{b}"')
    first = one(count, b'{"a":"x#y","b":"z"}').key
    second = one(count, b'{"a":"x","b":"y#z"}').key
    assert first == "x%23y#z"
    assert second == "x#y#z"
    # The sign of the escapes is escaped itself, or a%23 and a# would be one.
    assert one(count, b'{"a":"x%23y","b":"z"}').key == "x%2523y#z"


def test_a_value_alone_is_taken_as_it_is() -> None:
    assert one(counting(), '{"id":"a#b%é"}'.encode()).key == "a#b%é"
    assert one(counting(key='"{{{id}}}"'), b'{"id":7}').key == "{7}"


@pytest.mark.parametrize(
    ("value", "total"),
    [
        ("12.34", 1234),
        ("-0.5", -50),
        ("1e2", 10000),
        ("3", 300),
        ("1.200", 120),
        ("0.000e9", 0),
        ("92233720368547758.07", 2**63 - 1),
    ],
)
def test_amounts_are_exact(value: str, total: int) -> None:
    count = counting(add='{ cents = { path = "v", scale = 2 } }')
    assert one(count, f'{{"id":"a","v":{value}}}'.encode()).amounts == (("cents", total),)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("0.001", "not-integral: counter c: v: digits are left at a scale of 2"),
        ("92233720368547758.08", "incr-out-of-bounds: counter c: v: not an int64"),
        ('"5"', "field-type: counter c: v: text, not a number"),
        ("true", "field-type: counter c: v: a boolean, not a number"),
        ("null", "field-missing: counter c: v"),
        ("[]", "field-type: counter c: v: an array, not a number"),
        ("1e99999999", "undecodable: JSON with a number too long"),
        ("1E-400000000", "undecodable: JSON with a number too long"),
        ("9" * 5000, "undecodable: JSON with a number too long"),
        ("NaN", "undecodable: not JSON"),
        ("1_000", "undecodable: not JSON"),
    ],
)
def test_a_wrong_amount_is_a_letter_without_the_value(value: str, problem: str) -> None:
    count = counting(add='{ cents = { path = "v", scale = 2 } }')
    assert reason(count, f'{{"id":"a","v":{value}}}'.encode()) == problem


HOSTILE = {
    b"": "undecodable: not JSON",
    b'{"id":"a"': "undecodable: not JSON",
    b'{"id":"\xff"}': "undecodable: not UTF-8",
    b"[" * 100_000: "undecodable: JSON nested too deeply",
    b'{"id":' + b"[" * 100_000: "undecodable: JSON nested too deeply",
    b'{"id":"\\ud800"}': "undecodable: not JSON",
    b"[]": "field-missing: counter c: id",
    b'"id"': "field-missing: counter c: id",
    b'{"id":""}': "key-empty: counter c: {id} gives no text",
    b'{"id":{"a":1}}': "field-type: counter c: id: an object, not text or an integer",
    b'{"id":"' + b"x" * 2049 + b'"}': "key-too-large: counter c: {id} gives 2049 bytes, the "
    "limit is 2048",
}


@pytest.mark.parametrize("payload", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_payloads_are_letters(payload: bytes) -> None:
    assert reason(counting(), payload) == HOSTILE[payload]


def test_of_duplicate_names_the_last_one_counts() -> None:
    assert one(counting(), b'{"id":"a","id":"b"}').key == "b"


def test_a_function_of_a_wrong_type_is_a_letter() -> None:
    problem = reason(counting(when='"length(id) > `1`"'), b'{"id":5}')
    assert problem == "field-type: counter c: when: a function got a value of the wrong type"


def test_numbers_in_filters_are_exact_and_zero_is_true() -> None:
    assert one(counting(when='"v == `0.1`"'), b'{"id":"a","v":0.10}').key == "a"
    assert not counting(when='"v > `1`"').additions(Record(b'{"id":"a","v":"2"}'))
    assert one(counting(when='"v"'), b'{"id":"a","v":0}').key == "a"
    assert not counting(when='"!v"').additions(Record(b'{"id":"a","v":0}'))
    total = counting(when='"sum(v) == `0.3`"')
    assert one(total, b'{"id":"a","v":[0.1,0.2]}').key == "a"


def test_the_kafka_record_can_be_used() -> None:
    count = counting(key='"{_kafka.key}"', range='"{_kafka.partition}/{_kafka.headers.h}"')
    addition = one(count, b"{}", key=b"k", headers=(("h", b"1"), ("h", b"2")), partition=7)
    assert (addition.key, addition.range) == ("k", "7/2")
    assert "field-missing" in reason(count, b"{}", key=b"\xff")
    # The event cannot pretend to be the record.
    assert "field-missing" in reason(count, b'{"_kafka":{"key":"x"}}')


TIMES = {
    "minute": ("2024-02-29T23:59", 1709251200),
    "hour": ("2024-02-29T23", 1709251200),
    "day": ("2024-02-29", 1709251200),
    "week": ("2024-W09", 1709510400),
    "month": ("2024-02", 1709251200),
    "year": ("2024", 1735689600),
}


@pytest.mark.parametrize("bucket", TIMES)
def test_buckets_and_their_ends(bucket: str) -> None:
    name, end_s = TIMES[bucket]
    count = counting('time = "t"', range=f'"{{time|{bucket}}}"', expires='"1d"')
    for text in (
        *("2024-02-29T23:59:59.999Z", "2024-03-01T01:59:59.999+02:00"),
        *("2024-02-29T18:29:59.999999-05:30", "2024-02-29t23:59:59z"),
    ):
        addition = one(count, f'{{"id":"a","t":"{text}"}}'.encode())
        assert (addition.range, addition.expires_s) == (name, end_s + 86_400)


def test_buckets_follow_the_offset_of_the_file() -> None:
    count = counting('time = "t"\nutc_offset = "+02:00"', range='"{time|day}"', expires='"0d"')
    addition = one(count, b'{"id":"a","t":"2024-02-28T22:00:00Z"}')
    assert (addition.range, addition.expires_s) == ("2024-02-29", 1709244000)


@pytest.mark.parametrize(
    "time",
    [
        *('"2024-02-30T00:00:00Z"', '"2024-02-28T00:00:00"', '"yesterday"', "5", '"2024-02-28"'),
        *('"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"', '"2024-02-28T24:00:01Z"'),
    ],
)
def test_a_time_that_is_none_is_a_letter(time: str) -> None:
    count = counting('time = "t"', range='"{time|day}"')
    assert reason(count, f'{{"id":"a","t":{time}}}'.encode()).startswith("time-unreadable: time: t")


@pytest.mark.parametrize(
    ("unit", "time"),
    [
        *(("s", "1709164800.5"), ("s", "1709164800"), ("ms", "1709164800500")),
        *(("us", "1709164800500000"), ("ns", "1709164800500000000"), ("ms", "1709164800500.25")),
    ],
)
def test_a_number_is_a_time_in_its_unit(unit: str, time: str) -> None:
    count = counting(f'time = "t"\ntime_unit = "{unit}"', range='"{time|day}"')
    assert one(count, f'{{"id":"a","t":{time}}}'.encode()).range == "2024-02-29"
    assert reason(count, b'{"id":"a","t":1e30}').startswith("time-unreadable")
    assert one(count, b'{"id":"a","t":-1}').range == "1969-12-31"


def test_late_events_are_judged_by_the_kafka_timestamp() -> None:
    count = counting('time = "t"\nmax_age = "1h"\nmax_ahead = "1m"', range='"{time|day}"')
    event, at_ms = b'{"id":"a","t":"2024-02-29T00:00:00Z"}', 1709164800000
    assert one(count, event, timestamp_ms=at_ms + 3_600_000).range == "2024-02-29"
    assert one(count, event, timestamp_ms=at_ms - 60_000).range == "2024-02-29"
    older = reason(count, event, timestamp_ms=at_ms + 3_600_001)
    assert older == "time-out-of-range: older than max_age allows"
    ahead = reason(count, event, timestamp_ms=at_ms - 60_001)
    assert ahead == "time-out-of-range: further ahead than max_ahead allows"


def test_an_event_counts_in_all_of_its_counters_or_in_none() -> None:
    text = """
    [[counter]]
    name = "a"
    table = "usage"
    key = "{id}"
    add = { n = 1 }
    [[counter]]
    name = "b"
    table = "usage"
    key = "{id}"
    add = { m = "m" }
    """
    count = Counting(loads(text))
    assert len(count.additions(Record(b'{"id":"a","m":2}'))) == 2
    assert reason(count, b'{"id":"a"}') == "field-missing: counter b: m"


def test_no_letter_holds_a_value() -> None:
    value = "never-shown"
    counts = [
        counting(key='"{id.x}"'),
        counting(add='{ n = "id" }'),
        counting(when='"length(`5`) == id"'),
        counting('time = "id"', range='"{time|day}"'),
        counting(range='"{length(id)}#{to_number(id)}"'),
    ]
    for count in counts:
        assert not re.search(value, reason(count, f'{{"id":"{value}"}}'.encode()))
