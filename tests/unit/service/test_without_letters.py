"""Events with a dead letter add nothing while a new counter is filled."""

import json
from typing import Any

import pytest
from confluent_kafka import Message

from dynatomic.counting.file import loads
from dynatomic.events.decoder import Decoder
from dynatomic.events.row import CounterRef, KeySchema, Row
from dynatomic.events.schema import encode
from dynatomic.kafka.counters_reader import CountersReader
from dynatomic.kafka.event_reader import RowReader
from dynatomic.service.without_letters import WithoutLettersReader

FILE = """
[[counter]]
name = "all"
table = "usage"
key = "{id}"
add = { requests = 1, bytes = "size" }
"""


def reader(lettered: set[tuple[int, int]]) -> WithoutLettersReader:
    inner = CountersReader(loads(FILE), {"usage": KeySchema("pk")}, max_bytes=1000)
    return WithoutLettersReader(inner, lambda partition, offset: (partition, offset) in lettered)


def batch() -> list[Any]:
    events: list[Any] = [{"id": "a", "size": 1}, {"id": "b", "size": 2}, None, {}, {"id": "c"}]
    return [
        Message(
            topic="t",
            partition=3,
            offset=offset,
            value=None if event is None else json.dumps(event).encode(),
        )
        for offset, event in enumerate(events)
    ]


@pytest.mark.parametrize("lettered", [set(), {0}, {1, 3}, {0, 1, 2, 3, 4}], ids=str)
def test_all_but_the_events_with_a_letter_are_read_as_before(lettered: set[int]) -> None:
    plain = reader(set()).read(batch())
    decoded = reader({(3, offset) for offset in lettered}).read(batch())
    assert plain.counts == [2, 2, 0, 0, 0]
    assert decoded.counts == [0 if i in lettered else n for i, n in enumerate(plain.counts)]
    assert decoded.rejected.keys() == {3, 4} - lettered
    assert decoded.tombstones == frozenset({2} - lettered)
    assert [ref.key for ref, _ in decoded.increments] == [
        key for offset, key in ((0, "a"), (0, "a"), (1, "b"), (1, "b")) if offset not in lettered
    ]


def test_row_events_beside_a_letter_and_a_rejected_one_count() -> None:
    payloads = (b"not counted again", b"junk", encode(Row("usage", "a", incr=5)))
    messages: list[Any] = [
        Message(topic="t", partition=3, offset=offset, value=payload)
        for offset, payload in enumerate(payloads)
    ]
    rows = RowReader(Decoder({"usage": KeySchema("pk")}))
    decoded = WithoutLettersReader(rows, lambda _, offset: offset == 0).read(messages)
    assert (decoded.counts, [*decoded.rejected]) == ([0, 0, 1], [1])
    assert decoded.increments == [(CounterRef("usage", "a", None, "count"), 5)]


def test_a_letter_of_another_partition_changes_nothing() -> None:
    assert reader({(0, 0)}).read(batch()).counts == [2, 2, 0, 0, 0]
