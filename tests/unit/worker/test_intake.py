"""Messages come into the windows of their partitions with the offsets that they have."""

from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message

from dynatomic.config.settings import Settings
from dynatomic.errors import RowError, UnavailableError
from dynatomic.events.decoded import Decoded, UnitIncrement
from dynatomic.events.decoder import Decoder
from dynatomic.events.row import CounterRef, KeySchema, Reason, Row
from dynatomic.events.schema import encode
from dynatomic.kafka.event_reader import RowReader
from dynatomic.kafka.messages import UNREADABLE_BATCHES
from dynatomic.worker.intake import take_error, take_in
from dynatomic.worker.partition import Partition

REF = CounterRef("tab", "k", None, "count")
PLACES = {
    "one after the other": [*range(10, 20)],
    "gaps": [10, 11, 13, 19, 20, 2**40],
    "one gap": [10, 12, 13],
    "one": [7],
}


def messages(partition: int, offsets: list[int], bad: tuple[int, ...] = ()) -> list[Any]:
    return [
        Message(
            topic="t",
            partition=partition,
            offset=offset,
            value=b"rubbish" if offset in bad else encode(Row("tab", "k", incr=offset % 97)),
        )
        for offset in offsets
    ]


@pytest.mark.parametrize("offsets", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("bad", [(), (10,), (13, 19), (12,)], ids=str)
def test_each_event_keeps_its_offset(offsets: list[int], bad: tuple[int, ...]) -> None:
    mine, other, letters = Partition(1), Partition(2), []
    batch = [
        *messages(2, [1, 2]),
        *messages(1, offsets, bad),
        *messages(9, [5]),
        *messages(2, [3]),
    ]
    taken = take_in(
        batch,
        {1: mine, 2: other},
        RowReader(Decoder({"tab": KeySchema("pk")})),
        lambda stored: letters.append(stored[1].offset),
        0.0,
    )
    good = [offset for offset in offsets if offset not in bad]
    window = mine.filling.window
    assert [*window.events()] == [(offset, REF, offset % 97) for offset in good]
    assert letters == [offset for offset in offsets if offset in bad]
    assert (window.first, window.last, len(window)) == (offsets[0], offsets[-1], len(offsets))
    assert (mine.first_read_offset, mine.position) == (offsets[0], offsets[-1] + 1)
    assert [offset for offset, *_ in other.filling.window.events()] == [1, 2, 3]
    assert taken == len(offsets) + 3


class SeveralEach:
    """Reads events that add to as many counters as their payload says; ``x`` is a bad one."""

    decodes = 0
    reads_only_payloads = False

    def read(self, messages: Sequence[Any]) -> Decoded:
        values = [message.value() for message in messages]
        counts = [int(value) if value and value != b"x" else 0 for value in values]
        units = [UnitIncrement(REF._replace(name=f"c{i}"), 1) for n in counts for i in range(n)]
        return Decoded(
            units,
            [7] * len(units),
            {i: RowError(Reason.UNDECODABLE, "x") for i, v in enumerate(values) if v == b"x"},
            counts,
            frozenset(i for i, value in enumerate(values) if value is None),
        )

    def refused_counters(self, *_: object) -> None:
        """Return that no letter names them."""

    def lost_event(self, *_: object) -> tuple[bytes, bool]:
        """Return nothing that could be replayed."""
        return b"", False

    def without_counters(self, *_: object) -> None:
        """Return that nothing is left."""


@pytest.mark.parametrize("payloads", [[b"1", b"1"], [b"2", b"0", None, b"x", b"3"], [b"0", None]])
def test_an_event_adds_to_any_number_of_counters(payloads: list[bytes | None]) -> None:
    partition, letters = Partition(1), []
    batch = [
        Message(topic="t", partition=number, offset=offset, value=value)
        for number in (2, 1)
        for offset, value in enumerate(payloads, 10)
    ]
    store = lambda stored: letters.append(stored[1].offset)  # noqa: E731
    assert take_in(batch, {1: partition}, SeveralEach(), store, 0.0) == len(payloads)
    window = partition.filling.window
    assert [(offset, ref.name, incr) for offset, ref, incr in window.events()] == [
        (offset, f"c{i}", 7)
        for offset, value in enumerate(payloads, 10)
        if value and value.isdigit()
        for i in range(int(value))
    ]
    assert (window.first, window.last, len(window)) == (10, 9 + len(payloads), len(payloads))
    assert (window.unmatched, window.tombstones) == (payloads.count(b"0"), payloads.count(None))
    assert letters == [10 + i for i, value in enumerate(payloads) if value == b"x"]


def test_nothing_is_taken_from_an_event_on_that_cannot_be_judged_now() -> None:
    class Waits(SeveralEach):
        def read(self, messages: Sequence[Any]) -> Decoded:
            decoded = super().read(messages)
            cannot = {i: UnavailableError("registry") for i, m in enumerate(messages) if m.key()}
            return decoded._replace(unavailable=cannot)

    one, other = Partition(1), Partition(2)
    batch = [
        Message(topic="t", partition=number, offset=offset, value=b"1", key=key)
        for number, offset, key in ((1, 5, None), (1, 6, b"k"), (1, 7, None), (2, 0, b"k"))
    ]
    take_in(batch, {1: one, 2: other}, Waits(), lambda _: None, 100.0)
    assert [offset for offset, *_ in one.filling.window.events()] == [5]
    assert (one.position, one.reread_offset, one.reread_cause) == (6, 6, "registry")
    assert (other.position, other.reread_offset, len(other.filling.window)) == (-1, 0, 0)
    later = [Message(topic="t", partition=1, offset=8, value=b"1")]
    assert take_in(later, {1: one}, SeveralEach(), lambda _: None, 100.0) == 0


class UnreadableBatch:
    """The error message of a batch that the client cannot unpack."""

    def __init__(self, code: int) -> None:
        self._code = code

    def error(self) -> KafkaError:
        return KafkaError(self._code)

    def partition(self) -> int:
        return 1

    def offset(self) -> int:
        return 42


@pytest.mark.parametrize("code", UNREADABLE_BATCHES)
def test_a_batch_that_cannot_be_unpacked_stops_only_its_partition_and_is_logged_once(
    code: int, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = Partition(1), Partition(2)
    for _ in range(3):
        take_error(UnreadableBatch(code), {1: one, 2: other}, Settings(group_id="my group"))
    assert one.stop_reason is not None
    assert "has a batch at offset 42" in one.stop_reason
    assert (
        "`dynatomic dlq skip-batch -g 'my group' -t row-events --partition 1 --offset 42 --execute`"
        in one.stop_reason
    )
    assert other.stop_reason is None
    assert [record.getMessage() for record in caplog.records] == ["partition stopped"]
