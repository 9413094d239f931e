"""Decoding with memory gives what decoding each payload on its own would give."""

import json
import random
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from dynatomic.errors import RowError
from dynatomic.events import decoder as module
from dynatomic.events import varints
from dynatomic.events.decoder import Decoded, Decoder, Increment
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
from dynatomic.events.schema import encode, load_writer_schema

AVSC = Path(__file__).parents[3] / "schemas" / "row.avsc"
TABLES = {
    "text": KeySchema("pk"),
    "text-range": KeySchema("pk", "S", "rk", "S"),
    "number": KeySchema("pk", "N"),
    "mixed-range": KeySchema("hash", "S", "sort", "N"),
}
# Zigzag varints grow by a byte at each of these.
EDGES = sorted(
    {sign * 2**bits + step for bits in range(64) for sign in (1, -1) for step in (-1, 0)}
)
INT64 = [n for n in EDGES if INT64_MIN <= n <= INT64_MAX]


def plain(payload: bytes | None, **options: Any) -> Increment | tuple[str, str]:
    """Decode one payload with a decoder that has seen no other."""
    return verdicts(Decoder(TABLES, **options).decode([payload]))[0]


def summed(found: Decoded) -> list[Increment]:
    """Return what decoding gave, where nothing was rejected."""
    assert not found.rejected
    return found.increments


def verdicts(decoded: Decoded) -> list[Increment | tuple[str, str]]:
    """Return an increment or a reason and its detail for each payload."""
    found: list[Increment | tuple[str, str]] = list(decoded.increments)
    for index, error in decoded.rejected.items():
        found[index] = (error.reason, error.detail)
    return found


def reason_of(payload: bytes | None, **options: Any) -> str:
    decoded = Decoder(TABLES, **options).decode([payload])
    assert list(decoded.rejected) == [0]
    return decoded.rejected[0].reason


def later_payload(raw: dict[str, Any], row: Row, **more: Any) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(raw), row._asdict() | more)
    return out.getvalue()


def later_schema(*fields: tuple[str, Any], **changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(AVSC.read_text())
    return raw | {"fields": raw["fields"] + [{"name": n, "type": t} for n, t in fields]} | changes


def writer_schema(folder: Path, raw: dict[str, Any]) -> Any:
    path = folder / "later.avsc"
    path.write_text(json.dumps(raw))
    return load_writer_schema(path)


# --- payloads --------------------------------------------------------------------------------

texts = st.text(min_size=1, max_size=12).filter(lambda t: t.isprintable() or not t.isascii())
text_keys = texts.filter(lambda t: not any(0xD800 <= ord(c) <= 0xDFFF for c in t))
number_keys = st.sampled_from(["1", "1.0", "01", "1e0", "+1", "-0", "0", "9" * 38, "-3.50"])
counters = st.none() | st.sampled_from(["count", "hits", "a.b-c_d", "z" * 255])
increments = st.sampled_from(INT64) | st.integers(INT64_MIN, INT64_MAX)
rows = st.one_of(
    st.builds(Row, st.just("text"), text_keys, st.none(), counters, increments),
    st.builds(Row, st.just("text-range"), text_keys, text_keys, counters, increments),
    st.builds(Row, st.just("number"), number_keys, st.none(), counters, increments),
    st.builds(Row, st.just("mixed-range"), text_keys, number_keys, counters, increments),
)
OTHER_TAILS = [
    *[b"", b"\x00", b"\x80", b"\x80\x00", b"\x80\x80\x00", b"\x82\x00", b"\x81\x80\x00"],
    *[b"\xff" * 9, b"\xff" * 10, b"\xff" * 9 + b"\x01", b"\xff" * 9 + b"\x02"],
    *[b"\xff" * 9 + b"\x03", b"\xff" * 10 + b"\x01", b"\x80" * 9 + b"\x01", b"\x80" * 12 + b"\x05"],
    *[b"\x02\x02", b"\x02\x00", b"\x00\x02", b"\x80\x80"],
]


@st.composite
def corrupted(draw: st.DrawFn) -> bytes:
    """Make a payload that was changed, cut, extended or given another increment."""
    row = draw(rows)
    payload = encode(row)
    prefix = payload[: -len(zigzag(row.incr))]
    how = draw(st.sampled_from(["byte", "cut", "more", "tail", "tail", "insert"]))
    at = draw(st.integers(0, len(payload) - 1))
    if how == "byte":
        return payload[:at] + draw(st.binary(min_size=1, max_size=1)) + payload[at + 1 :]
    if how == "cut":
        return payload[:at]
    if how == "more":
        return payload + draw(st.binary(min_size=1, max_size=4))
    if how == "insert":
        return payload[:at] + draw(st.binary(min_size=1, max_size=3)) + payload[at:]
    return prefix + draw(st.sampled_from(OTHER_TAILS))


payloads = st.one_of(
    st.none(), st.just(b""), st.binary(max_size=30), rows.map(encode), rows.map(encode), corrupted()
)


@st.composite
def streams(draw: st.DrawFn) -> list[list[bytes | None]]:
    """Make batches in which payloads, and prefixes with other increments, come again."""
    pool = draw(st.lists(payloads, min_size=1, max_size=8))
    for payload in list(pool):
        if payload:
            tails = draw(
                st.lists(st.sampled_from(OTHER_TAILS) | increments.map(zigzag), max_size=3)
            )
            pool += [payload[:-1] + tail for tail in tails]
    batch = st.lists(st.sampled_from(pool), max_size=20)
    return draw(st.lists(batch, min_size=1, max_size=5))


MODES: dict[str, dict[str, Any]] = {
    "in parts, varints of 1": {"_keeps_payloads": False},
    "in parts, varints of 2": {"_keeps_payloads": False, "_lengths": [2]},
    "in parts, varints of 3, 1, 2": {"_keeps_payloads": False, "_lengths": [3, 1, 2]},
    "nothing remembered": {"_unmemoised_left": 10**9},
}


@pytest.fixture(params=["ample memory", "hardly any memory", *MODES], scope="class")
def _memory(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param in MODES:
            made = Decoder.__init__

            def fixed(self: Decoder, *args: Any, **options: Any) -> None:
                made(self, *args, **options)
                vars(self).update(MODES[request.param])

            patch.setattr(Decoder, "__init__", fixed)
            patch.setattr(Decoder, "_adapt", lambda *_: None)
        if request.param == "hardly any memory":
            patch.setattr(module, "_MEMO_ENTRIES", 3)
            patch.setattr(module, "_MEMO_BYTES", 60)
            patch.setattr(varints, "_MAX_ENTRIES", 2)
        yield


def holds(decoder: Decoder, batches: Sequence[Sequence[bytes | None]], **options: Any) -> None:
    """Check a decoder with memory against decoders without."""
    for batch in batches:
        assert verdicts(decoder.decode(batch)) == [plain(p, **options) for p in batch]


# --- the property ----------------------------------------------------------------------------


@pytest.mark.usefixtures("_memory")
class TestMemory:
    """What was decoded before never changes a verdict."""

    @given(rows)
    def test_a_row_becomes_the_increment_that_it_names(self, row: Row) -> None:
        keys = TABLES[row.table]
        found = plain(encode(row))
        (ref, incr) = found
        assert incr == row.incr
        assert isinstance(ref, CounterRef)
        assert (ref.table, ref.name) == (row.table, row.counter or "count")
        if keys.hash_type == "S":
            assert ref.key == row.key
        if keys.range_type != "N":
            assert ref.range == row.range

    @given(rows, st.lists(increments, min_size=1, max_size=6))
    def test_one_item_with_any_increments_is_one_counter(self, row: Row, incrs: list[int]) -> None:
        decoder = Decoder(TABLES)
        (first,) = decoder.decode([encode(row)]).increments
        found = decoder.decode([encode(row._replace(incr=n)) for n in incrs])
        assert summed(found) == [(first[0], n) for n in incrs]

    @given(streams())
    @example([[encode(Row("text", "k", incr=n))] for n in INT64])
    @example([[encode(Row("text", "k"))[:-1] + tail for tail in OTHER_TAILS]] * 2)
    def test_any_stream_gives_what_fresh_decoders_give(
        self, batches: list[list[bytes | None]]
    ) -> None:
        holds(Decoder(TABLES), batches)

    @given(streams(), st.integers(INT64_MIN, INT64_MAX), st.integers(INT64_MIN, INT64_MAX))
    @example([[encode(Row("text", "k", incr=n)) for n in (5, -1, 6, 0)]] * 2, 0, 5)
    def test_bounds_of_the_increment_hold_for_remembered_items_too(
        self, batches: list[list[bytes | None]], low: int, high: int
    ) -> None:
        options: dict[str, Any] = {"min_incr": min(low, high), "max_incr": max(low, high)}
        holds(Decoder(TABLES, **options), batches, **options)

    @given(st.data())
    def test_old_and_new_payloads_mixed(self, data: st.DataObject) -> None:
        kinds = [*("int", "long", "string", "bytes", "boolean", "float", "double"), ["null", "int"]]
        raw = later_schema(("more", data.draw(st.sampled_from(kinds))))
        options: dict[str, Any] = {"writer_schema": fastavro.parse_schema(raw)}
        extra = st.sampled_from(
            [b"", b"\x00", b"\x02", b"\x02a", b"\x00" * 4, b"\x00" * 8, b"\x80"]
        )
        mixed = st.builds(
            lambda payload, more: (payload or b"") + more, rows.map(encode) | payloads, extra
        )
        batches = data.draw(st.lists(st.lists(mixed, max_size=10), min_size=1, max_size=4))
        holds(Decoder(TABLES, **options), batches + batches[::-1], **options)


def test_a_long_stream_in_which_nothing_repeats_and_then_everything_does() -> None:
    chance = random.Random(7)  # noqa: S311 - test data
    decoder = Decoder(TABLES)

    def rows_of(count: int, keys: int) -> list[Row]:
        return [
            Row("text", f"k{chance.randrange(keys)}", incr=chance.randint(INT64_MIN, INT64_MAX))
            for _ in range(count)
        ]

    for keys, batches, size in ((1000, 5, 400), (3, 300, 101), (1, 5, 400), (10**9, 3, 400)):
        for _ in range(batches):
            batch = rows_of(size, keys)
            expected = [(CounterRef("text", r.key, None, "count"), r.incr) for r in batch]
            assert summed(decoder.decode([encode(r) for r in batch])) == expected


def test_the_memory_is_bounded_by_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMO_ENTRIES", 50)
    decoder = Decoder(TABLES)
    for start in range(0, 1000, 10):
        decoder.decode([encode(Row("text", f"k{start + i}", incr=i)) for i in range(10)])
        assert len(decoder) + len(decoder._prefixes) + len(decoder._named) <= 50


def test_the_memory_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMO_BYTES", 10_000)
    decoder = Decoder(TABLES)
    for start in range(0, 200, 2):
        decoder.decode([encode(Row("text", f"{start + i}" * 100)) for i in range(2)])
        assert sum(map(len, [*decoder, *decoder._prefixes])) <= 10_000


def test_the_memory_of_numbers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varints, "_MAX_ENTRIES", 10)
    decoder = Decoder(TABLES)
    decoder.decode([encode(Row("text", "k", incr=n)) for n in range(200)])
    assert len(decoder._varints) <= 10


def test_payloads_that_do_not_repeat_are_not_remembered_whole() -> None:
    decoder = Decoder(TABLES)
    for start in range(0, 2000, 200):
        decoder.decode([encode(Row("text", "k", incr=start + i)) for i in range(200)])
    assert len(decoder) == 0


def test_nothing_is_remembered_for_a_while_when_nothing_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_TRIAL", 1000)
    monkeypatch.setattr(module, "_UNMEMOISED_EVENTS", 10_000)
    decoder = Decoder(TABLES)
    number = 0

    def batch(distinct: int) -> list[bytes]:
        nonlocal number
        number += distinct
        return [encode(Row("text", f"k{number - i % distinct}", incr=i)) for i in range(200)]

    for _ in range(7):
        decoder.decode(batch(200))
    assert decoder._unmemoised_left > 0
    assert (len(decoder), len(decoder._prefixes)) == (0, 0)
    while decoder._unmemoised_left:
        decoder.decode(batch(200))
        assert (len(decoder), len(decoder._prefixes)) == (0, 0)
    for _ in range(20):  # it looks again, and finds that items come again
        decoder.decode(batch(10))
    assert decoder._unmemoised_left == 0
    assert len(decoder._prefixes) > 0


def plain_decoder(monkeypatch: pytest.MonkeyPatch, events: int) -> Decoder:
    """Return a decoder that remembers nothing for a while."""
    monkeypatch.setattr(module, "_TRIAL", 1000)
    monkeypatch.setattr(module, "_UNMEMOISED_EVENTS", events)
    decoder = Decoder(TABLES)
    decoder.decode([encode(Row("text", f"k{i}", incr=i)) for i in range(1001)])
    assert decoder._unmemoised_left == events
    return decoder


def test_what_is_read_while_nothing_is_remembered_counts_as_decoded_and_as_no_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = plain_decoder(monkeypatch, 2000)
    for start in range(0, 2000, 500):
        decoder.decode([encode(Row("text", f"new{start + i}")) for i in range(500)])
    assert decoder.decodes == 3001
    assert (decoder._unmemoised_left, decoder._seen) == (0, 0)


def test_names_that_come_again_end_the_time_without_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = plain_decoder(monkeypatch, 10**9)
    batch = [encode(Row("text", f"same{i % 10}", incr=1000 + i)) for i in range(1000)]
    for _ in range(12):
        decoder.decode(batch)
    assert decoder._unmemoised_left == 0
    first, second = decoder.decode(batch).unit_increments, decoder.decode(batch).unit_increments
    assert set(first) == set(second)  # the same objects


def test_new_names_leave_little_in_memory_while_nothing_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SAMPLE_NAMES", 300)
    decoder = plain_decoder(monkeypatch, 10**9)
    for start in range(0, 20_000, 200):
        decoder.decode([encode(Row("text", f"new{start + i}")) for i in range(200)])
        assert len(decoder._named) <= 400
    assert decoder._unmemoised_left > 0


def test_a_message_without_a_payload_does_not_make_the_others_dearer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = Decoder(TABLES)
    batch: list[bytes | None] = [
        encode(Row("text", f"k{i % 10}", incr=1000 + i)) for i in range(500)
    ]
    for _ in range(3):
        decoder.decode(batch)
    decoder._keeps_payloads = False
    decoder.decode(batch)
    alone: list[bytes | None] = []
    original = Decoder._read_one

    def look(self: Decoder, payload: bytes | None) -> Any:
        alone.append(payload)
        return original(self, payload)

    monkeypatch.setattr(Decoder, "_read_one", look)
    found = decoder.decode([*batch, None])
    assert alone == [None]
    assert {place: error.reason for place, error in found.rejected.items()} == {500: Reason.EMPTY}


def test_a_row_of_the_writer_schema_is_read_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    raw = later_schema(("id", "string"))
    decoder = Decoder(TABLES, writer_schema=writer_schema(tmp_path, raw))
    payloads = [later_payload(raw, Row("text", f"k{i}"), id=f"{i}") for i in range(3)]
    seen: list[None] = []
    original = fastavro.schemaless_reader

    def reader(*arguments: Any) -> Any:
        seen.append(None)
        return original(*arguments)

    monkeypatch.setattr(fastavro, "schemaless_reader", reader)
    assert len(summed(decoder.decode(payloads))) == len(seen) == 3


def test_rejected_payloads_are_not_remembered() -> None:
    decoder = Decoder(TABLES)
    decoder.decode([b"rubbish", encode(Row("text", "k")) + b"x", encode(Row("elsewhere", "k"))] * 3)
    assert len(decoder) == 0
    assert not decoder._prefixes


def test_equal_payloads_and_equal_items_are_decoded_by_fastavro_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[None] = []
    original = fastavro.schemaless_reader

    def reader(*arguments: Any) -> Any:
        seen.append(None)
        return original(*arguments)

    monkeypatch.setattr(fastavro, "schemaless_reader", reader)
    decoder = Decoder(TABLES)
    decoder.decode([encode(Row("text", "k"))] * 50)
    assert len(seen) == 1
    decoder.decode([encode(Row("text", "k", incr=n)) for n in INT64])
    assert len(seen) == 1
    decoder.decode([encode(Row("text", "other"))])
    assert len(seen) == 2


# --- verdicts, one by one --------------------------------------------------------------------


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


GOOD = encode(Row("text", "k", incr=3))


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
        (encode(Row("text-range", "k", "r")).replace(b"\x02\x02r", b"\x02\x00"), Reason.KEY_EMPTY),
        (encode(Row("text", "k" * 2048)).replace(b"\x80\x20", b"\x82\x20k"), Reason.KEY_TOO_LARGE),
        (encode(Row("text-range", "k")), Reason.RANGE_MISSING),
        (encode(Row("text", "k", "r")), Reason.RANGE_UNEXPECTED),
        (encode(Row("number", "seven")), Reason.KEY_NOT_A_NUMBER),
        (encode(Row("mixed-range", "k", "seven")), Reason.KEY_NOT_A_NUMBER),
        (GOOD.replace(b"\x00\x00\x06", b"\x00\x02\x00\x06"), Reason.COUNTER_NAME),
        (GOOD.replace(b"\x00\x00\x06", b"\x00\x02\x02#\x06"), Reason.COUNTER_NAME),
        (GOOD.replace(b"\x00\x00\x06", b"\x00\x02\x04\xc3\xa9\x06"), Reason.COUNTER_NAME),
        (encode(Row("text", "k", counter="pk")), Reason.COUNTER_NAME),
        (encode(Row("mixed-range", "k", "1", counter="sort")), Reason.COUNTER_NAME),
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
    assert plain(encode(Row("mixed-range", text, text))) == (ranged, 1)


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


# --- later versions of the schema ------------------------------------------------------------


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


@given(st.binary(max_size=40), st.binary(max_size=10))
def test_no_bytes_whatever_make_it_raise(rubbish: bytes, more: bytes) -> None:
    assume(rubbish)
    raw = later_schema(("more", ["null", "string", "double"]), ("last", "bytes"))
    decoder = Decoder(TABLES, writer_schema=fastavro.parse_schema(raw))
    found = decoder.decode([rubbish, GOOD + more, GOOD + rubbish])
    assert all(isinstance(error, RowError) for error in found.rejected.values())
