"""Reading given offsets of a topic again."""

from typing import TYPE_CHECKING, Any

import pytest

from dynatomic.errors import UnavailableError
from dynatomic.testing.kafka.broker import FakeBroker
from dynatomic.worker.rejected import read_again
from tests.support.clients import GROUP, TOPIC, Clock

if TYPE_CHECKING:
    from dynatomic.testing.kafka.consumer import FakeConsumer


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
    found = read_again(lambda: reader(broker), TOPIC, 0, [0, 2, 3, 5, 6])
    assert {offset: m.key() for offset, m in found.items()} == {2: b"c", 5: b"f"}
    assert read_again(lambda: reader(broker), TOPIC, 0, [0]) == {}
    assert read_again(lambda: reader(broker), TOPIC, 0, [7, 9]) == {}


def test_read_again_closes_its_reader_and_joins_no_group() -> None:
    broker = broker_with("a")
    made: list[FakeConsumer] = []

    def make() -> Any:
        made.append(reader(broker))
        return made[0]

    read_again(make, TOPIC, 0, [0])
    assert made[0].closed
    assert broker.group(GROUP).generation == 0
    assert broker.committed(GROUP, TOPIC, 0) is None


def test_read_again_says_that_no_broker_answers() -> None:
    broker = broker_with("a")
    broker.faults.down = True
    made = reader(broker)
    with pytest.raises(UnavailableError, match=f"partition 0 of {TOPIC}"):
        read_again(lambda: made, TOPIC, 0, [0])
    assert made.closed


def test_read_again_ends_within_its_bound() -> None:
    clock = Clock()
    broker = FakeBroker(sleep=clock.advance)
    broker.create_topic(TOPIC)
    broker.append(TOPIC, 0, None, b"value", [])
    made = reader(broker)
    made.assign = lambda _places: None  # it reads nothing, ever
    with pytest.raises(UnavailableError, match="could not be read again"):
        read_again(lambda: made, TOPIC, 0, [0], timeout_s=30, clock=clock)
    assert 1_030 <= clock() < 1_031
