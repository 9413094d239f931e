"""Which payloads the decoder rejects and why, and which counters it sums."""

import json
from io import BytesIO

import fastavro
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dynatomic.errors import RowError
from dynatomic.events.decoder import Decoder
from dynatomic.events.payload import zigzag
from dynatomic.events.row import (
    INT64_MAX,
    INT64_MIN,
    MAX_PAYLOAD_BYTES,
    CounterRef,
    KeySchema,
    Reason,
    Row,
)
from dynatomic.events.schema import encode
from tests.support.decoding import AVSC, GOOD, INT64, TABLES, later_schema, plain, reason_of, summed


@given(st.sampled_from(INT64) | st.integers(INT64_MIN, INT64_MAX))
def test_zigzag_is_what_fastavro_writes(number: int) -> None:
    out = BytesIO()
    fastavro.schemaless_writer(out, "long", number)
    assert zigzag(number) == out.getvalue()


def test_rejections_stand_at_their_index_and_the_others_count() -> None:
    good, bad = encode(Row("text", "k", incr=3)), b"rubbish"
    found = Decoder(TABLES).decode([bad, good, None, good, b""])
    assert sorted(found.rejected) == [0, 2, 4]
    expected = (CounterRef("text", "k", None, "count"), 3)
    assert [found.increments[1], found.increments[3]] == [expected, expected]


def test_nothing_gives_nothing() -> None:
    assert summed(Decoder(TABLES).decode([])) == []


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (None, Reason.EMPTY),
        (b"", Reason.EMPTY),
        (b"\x00\x00\x00\x00\x07" + GOOD, Reason.FRAMED),
        (b"\x00" * len(GOOD), Reason.FRAMED),
        (b"\x00", Reason.FRAMED),
        (GOOD + b"\x00", Reason.TRAILING),
        (GOOD + GOOD, Reason.TRAILING),
        (GOOD[:-1], Reason.UNDECODABLE),
        (GOOD[:1], Reason.UNDECODABLE),
        (b"\x06\xff\xff\xff\x02k\x00\x00\x02", Reason.UNDECODABLE),
        (b"\x0f", Reason.UNDECODABLE),
        (b"\x0ftext", Reason.UNDECODABLE),
        (b"\x08text\x02k\x04\x00\x02", Reason.UNDECODABLE),
        (b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", Reason.UNDECODABLE),
        (GOOD[:-1] + b"\x86\x00", Reason.UNDECODABLE),
        (GOOD[:-1] + b"\x80\x00", Reason.UNDECODABLE),
        (GOOD[:-1] + b"\xff" * 9 + b"\x03", Reason.UNDECODABLE),
        (GOOD[:-1] + b"\x80" * 10 + b"\x01", Reason.UNDECODABLE),
        (b'{"table": "text", "key": "k"}', Reason.UNDECODABLE),
        (encode(Row("elsewhere", "k")), Reason.TABLE),
        (encode(Row("text-", "k")), Reason.TABLE),
        (b"\x08text\x00\x00\x00\x02", Reason.KEY_EMPTY),
        (
            encode(Row("text-range", "k", range="r")).replace(b"\x02\x02r", b"\x02\x00"),
            Reason.KEY_EMPTY,
        ),
        (encode(Row("text", "k" * 2048)).replace(b"\x80\x20", b"\x82\x20k"), Reason.KEY_TOO_LARGE),
        (encode(Row("text-range", "k")), Reason.RANGE_MISSING),
        (encode(Row("text", "k", range="r")), Reason.RANGE_UNEXPECTED),
        (encode(Row("number", "seven")), Reason.KEY_NOT_A_NUMBER),
        (encode(Row("mixed-range", "k", range="seven")), Reason.KEY_NOT_A_NUMBER),
        (GOOD.replace(b"\x00\x00\x06", b"\x00\x02\x00\x06"), Reason.COUNTER_NAME),
        (GOOD.replace(b"\x00\x00\x06", b"\x00\x02\x02#\x06"), Reason.COUNTER_NAME),
        (GOOD.replace(b"\x00\x00\x06", b"\x00\x02\x04\xc3\xa9\x06"), Reason.COUNTER_NAME),
        (encode(Row("text", "k", counter="pk")), Reason.COUNTER_NAME),
        (encode(Row("mixed-range", "k", range="1", counter="sort")), Reason.COUNTER_NAME),
        (b"x" * (MAX_PAYLOAD_BYTES + 1), Reason.TOO_LARGE),
        (b"\x00" * (MAX_PAYLOAD_BYTES + 1), Reason.TOO_LARGE),
    ],
)
def test_a_bad_payload_is_rejected_for_what_it_is(payload: bytes | None, reason: Reason) -> None:
    assert reason_of(payload) == reason


def test_a_payload_of_the_largest_size_is_still_looked_at() -> None:
    assert reason_of(b"x" * MAX_PAYLOAD_BYTES) == Reason.UNDECODABLE


def test_an_arn_is_never_a_table_even_if_it_were_allowed() -> None:
    arn = "arn:aws:dynamodb:us-east-1:1:table/tab"
    out = BytesIO()
    fastavro.schemaless_writer(
        out, json.loads(AVSC.read_text()), Row("text", "k")._replace(table=arn)._asdict()
    )
    decoder = Decoder({arn: KeySchema("pk")})
    assert decoder.decode([out.getvalue()]).rejected[0].reason == Reason.TABLE


def test_details_hold_neither_key_nor_table_of_an_unlisted_row() -> None:
    error = Decoder(TABLES).decode([encode(Row("s3cret-table", "s3cret-key"))]).rejected[0]
    assert "s3cret" not in str(error)


@pytest.mark.parametrize("text", ["1", "1.0", "01", "1e0", "+1"])
def test_number_keys_that_are_equal_name_one_counter(text: str) -> None:
    ref = CounterRef("number", "1", None, "count")
    assert plain(encode(Row("number", text))) == (ref, 1)
    ranged = CounterRef("mixed-range", text, "1", "count")
    assert plain(encode(Row("mixed-range", text, range=text))) == (ranged, 1)


def test_the_default_counter_is_the_one_that_was_given() -> None:
    assert plain(encode(Row("text", "k")), default_counter="hits") == (
        CounterRef("text", "k", None, "hits"),
        1,
    )
    assert reason_of(encode(Row("text", "k")), default_counter="pk") == Reason.COUNTER_NAME


@pytest.mark.parametrize(
    ("incr", "passes"),
    [(-1, False), (0, True), (1, True), (10, True), (11, False), (INT64_MIN, False)],
)
def test_the_bounds_are_inclusive(incr: int, passes: bool) -> None:  # noqa: FBT001 - a parameter
    decoder = Decoder(TABLES, min_incr=0, max_incr=10)
    decoder.decode([encode(Row("text", "k", incr=5))])
    rejected = decoder.decode([encode(Row("text", "k", incr=incr))]).rejected
    assert (not rejected) == passes
    assert all(error.reason == Reason.INCR_OUT_OF_BOUNDS for error in rejected.values())


@given(st.binary(max_size=40), st.binary(max_size=10))
def test_no_bytes_whatever_make_it_raise(rubbish: bytes, more: bytes) -> None:
    assume(rubbish)
    raw = later_schema(("more", ["null", "string", "double"]), ("last", "bytes"))
    decoder = Decoder(TABLES, writer_schema=fastavro.parse_schema(raw))
    found = decoder.decode([rubbish, GOOD + more, GOOD + rubbish])
    assert all(isinstance(error, RowError) for error in found.rejected.values())
