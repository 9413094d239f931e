"""The encoder's memo changes no byte and refuses no less."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynatomic.errors import RowError
from dynatomic.events import encoder as module
from dynatomic.events.encoder import Encoder, message_key
from dynatomic.events.row import INT64_MAX, INT64_MIN, Row
from dynatomic.events.schema import encode

# Names that meet again, so that the memo is hit, and any others.
texts: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(["k", "é", "k/r", "r", ""]), st.text(max_size=40), st.sampled_from([7, ["k"]])
)
rows = st.builds(
    Row,
    st.sampled_from(["usage", "t.t", "no", "arn:aws:x"]),
    texts,
    range=st.none() | texts,
    counter=st.none() | st.sampled_from(["count", "bytes", 'c"']),
    incr=st.one_of(
        st.integers(INT64_MIN - 1, INT64_MAX + 1),
        st.integers(-300, 300),
        st.sampled_from([True, 1.0, 2**63, "1", None]),
    ),
)


def outcome(row: Row, encoded: Encoder | None) -> tuple[bytes, bytes] | str:
    try:
        return (encode(row), message_key(row)) if encoded is None else encoded.message(row)
    except RowError as error:
        return str(error)


@given(st.lists(rows, max_size=40))
def test_every_row_has_the_bytes_and_the_refusal_of_the_schema(found: list[Row]) -> None:
    encoder = Encoder()
    for row in found * 2:
        assert outcome(row, encoder) == outcome(row, None)


@pytest.mark.parametrize(("entries", "size"), [(10, 10**9), (10**9, 8_000)])
def test_the_memo_is_bounded(monkeypatch: pytest.MonkeyPatch, entries: int, size: int) -> None:
    monkeypatch.setattr(module, "_MAX_ENTRIES", entries)
    monkeypatch.setattr(module, "_MAX_BYTES", size)
    monkeypatch.setattr(module, "_MAX_VARINTS", 10)
    encoder = Encoder()
    for number in range(1000):
        row = Row("usage", f"k{number}", incr=number)
        assert encoder.message(row) == (encode(row), message_key(row))
        assert len(encoder._memo) <= 20
        assert len(encoder._varints) <= 10
