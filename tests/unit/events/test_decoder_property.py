"""Decoding with memory gives what decoding each payload on its own would give."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dynatomic.events import decoder as module
from dynatomic.events import varints
from dynatomic.events.decoder import Decoder
from dynatomic.events.payload import zigzag
from dynatomic.events.row import INT64_MAX, INT64_MIN, CounterRef, Row
from dynatomic.events.schema import encode
from tests.support.decoding import (
    INT64,
    TABLES,
    later_schema,
    plain,
    summed,
    verdicts,
)

texts = st.text(min_size=1, max_size=12).filter(lambda t: t.isprintable() or not t.isascii())
text_keys = texts.filter(lambda t: not any(0xD800 <= ord(c) <= 0xDFFF for c in t))
number_keys = st.sampled_from(["1", "1.0", "01", "1e0", "+1", "-0", "0", "9" * 38, "-3.50"])
counters = st.none() | st.sampled_from(["count", "hits", "a.b-c_d", "z" * 255])
increments = st.sampled_from(INT64) | st.integers(INT64_MIN, INT64_MAX)
rows = st.one_of(
    st.builds(Row, st.just("text"), text_keys, range=st.none(), counter=counters, incr=increments),
    st.builds(
        Row, st.just("text-range"), text_keys, range=text_keys, counter=counters, incr=increments
    ),
    st.builds(
        Row, st.just("number"), number_keys, range=st.none(), counter=counters, incr=increments
    ),
    st.builds(
        Row, st.just("mixed-range"), text_keys, range=number_keys, counter=counters, incr=increments
    ),
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
