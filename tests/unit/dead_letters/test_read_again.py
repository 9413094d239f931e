"""Reading given offsets of a topic again."""

from typing import TYPE_CHECKING, Any

import pytest

from dynatomic.errors import UnavailableError
from dynatomic.testing.kafka.broker import FakeBroker
from dynatomic.worker.rereading import read_again
from tests.support.clients import GROUP, TOPIC, Clock

if TYPE_CHECKING:
    from dynatomic.testing.kafka.consumer import FakeConsumer


MB = 1_000_000


def broker_with(*keys: str) -> FakeBroker:
    broker = FakeBroker()
    broker.create_topic(TOPIC)
    for key in keys:
        broker.append(TOPIC, 0, key.encode(), b"value", [])
    return broker


def reader(broker: FakeBroker) -> Any:
    return broker.consumer({"group.id": GROUP, "enable.partition.eof": "true"})


def test_read_again_returns_what_is_asked_for_and_there() -> None:
    broker = broker_with("a", "b", "c")
    broker.append_gap(TOPIC, 0, 2)
    broker.append(TOPIC, 0, b"f", b"value", [])
    broker.append_gap(TOPIC, 0)
    broker.delete_before(TOPIC, 0, 1)
    found = read_again(lambda: reader(broker), TOPIC, 0, [0, 2, 3, 5, 6], max_bytes=MB)
    assert {offset: m.key() for offset, m in found.messages.items()} == {2: b"c", 5: b"f"}
    assert found.end == 7
    assert read_again(lambda: reader(broker), TOPIC, 0, [0], max_bytes=MB) == ({}, 1)
    assert read_again(lambda: reader(broker), TOPIC, 0, [7, 9], max_bytes=MB) == ({}, 10)


def test_read_again_closes_its_reader_and_joins_no_group() -> None:
    broker = broker_with("a")
    made: list[FakeConsumer] = []

    def make() -> Any:
        made.append(reader(broker))
        return made[0]

    read_again(make, TOPIC, 0, [0], max_bytes=MB)
    assert made[0].closed
    assert broker.group(GROUP).generation == 0
    assert broker.committed(GROUP, TOPIC, 0) is None


def test_read_again_says_that_no_broker_answers() -> None:
    broker = broker_with("a")
    broker.faults.down = True
    made = reader(broker)
    with pytest.raises(UnavailableError, match=f"partition 0 of {TOPIC}"):
        read_again(lambda: made, TOPIC, 0, [0], max_bytes=MB)
    assert made.closed


def test_read_again_ends_within_its_bound() -> None:
    clock = Clock()
    broker = FakeBroker(sleep=clock.advance)
    broker.create_topic(TOPIC)
    broker.append(TOPIC, 0, None, b"value", [])
    made = reader(broker)
    made.assign = lambda _places: None  # it reads nothing, ever
    with pytest.raises(UnavailableError, match="could not be read again"):
        read_again(lambda: made, TOPIC, 0, [0], max_bytes=MB, timeout_s=30, clock=clock)
    assert 1_030 <= clock() < 1_031


def test_read_again_stops_at_its_bound_of_bytes_and_goes_on_from_there() -> None:
    broker = FakeBroker()
    broker.create_topic(TOPIC)
    for number in range(100):
        broker.append(TOPIC, 0, b"k", bytes(10_000), [("large", bytes(10_000))] * (number % 2))
    wanted = list(range(1, 100, 3))
    batches: list[int] = []
    parts: list[list[int]] = []
    while wanted:
        made = reader(broker)
        consume = made.consume

        def counting(count: int, timeout: float, consume: Any = consume) -> Any:
            batches.append(count)
            return consume(count, timeout)

        made.consume = counting
        found = read_again(lambda made=made: made, TOPIC, 0, wanted, max_bytes=50_000)  # type: ignore[misc]
        parts.append(list(found.messages))
        assert parts[-1] == [offset for offset in wanted if offset < found.end]
        wanted = [offset for offset in wanted if offset >= found.end]
    assert max(map(len, parts)) <= 5, "10,000 to 20,000 bytes each"
    assert [offset for part in parts for offset in part] == list(range(1, 100, 3))
    assert max(batches) <= 10, "what is not wanted takes memory too"


def test_read_again_always_reads_one() -> None:
    broker = broker_with("a", "b")
    found = read_again(lambda: reader(broker), TOPIC, 0, [0, 1], max_bytes=1)
    assert (list(found.messages), found.end) == ([0], 1)
