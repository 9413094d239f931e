"""What the decoder remembers: bounded, and nothing for a while when nothing repeats."""

from pathlib import Path
from typing import Any

import fastavro
import pytest

from dynatomic.events import decoder as module
from dynatomic.events import varints
from dynatomic.events.decoder import Decoder
from dynatomic.events.row import Reason, Row
from dynatomic.events.schema import encode
from tests.support.decoding import INT64, TABLES, later_payload, later_schema, summed, writer_schema


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
