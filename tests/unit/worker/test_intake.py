"""Messages come into the windows of their partitions with the offsets that they have."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, Message

from dynatomic.config.settings import Settings
from dynatomic.events.decoder import Decoder
from dynatomic.events.row import CounterRef, KeySchema, Row
from dynatomic.events.schema import encode
from dynatomic.kafka.messages import UNREADABLE_BATCH
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
        Decoder({"tab": KeySchema("pk")}),
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


class UnreadableBatch:
    """The error message of a batch that the client cannot unpack."""

    def error(self) -> KafkaError:
        return KafkaError(UNREADABLE_BATCH)

    def partition(self) -> int:
        return 1

    def offset(self) -> int:
        return 42


def test_a_batch_that_cannot_be_unpacked_stops_only_its_partition_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, other = Partition(1), Partition(2)
    for _ in range(3):
        take_error(UnreadableBatch(), {1: one, 2: other}, Settings(group_id="my group"))
    assert one.stop_reason is not None
    assert "has a batch at offset 42" in one.stop_reason
    assert (
        "`dynatomic dlq skip-batch -g 'my group' -t row-events --partition 1 --offset 42 --execute`"
        in one.stop_reason
    )
    assert other.stop_reason is None
    assert [record.getMessage() for record in caplog.records] == ["partition stopped"]
