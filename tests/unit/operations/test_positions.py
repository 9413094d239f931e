"""Where a group is in a partition, and the ages of its events."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, Message

from dynatomic.errors import ConfigError
from dynatomic.kafka.client import Watermarks
from dynatomic.kafka.groups import CommittedOffset
from dynatomic.operations.positions import GroupPosition, Timestamps
from tests.support.lag_world import NOW, TOPIC, World


def test_the_age_is_that_of_the_first_event_that_is_not_committed() -> None:
    w = World()
    w.emit(2, age_s=60)
    w.emit(2, age_s=7)
    w.commit(2)
    assert w.row().age_s == 7
    w.commit(1)
    assert w.row().age_s == 60
    w.commit(4)
    assert w.row().age_s is None


def test_gaps_hold_no_event() -> None:
    w = World(2)
    for partition in (0, 1):
        w.emit(1, partition, age_s=60)
        w.broker.append_gap(TOPIC, partition, 3)
        w.commit(1, partition)
    w.emit(1, 1, age_s=3)
    first, second = w.rows()
    assert (first.lag, first.age_s) == (3, None)
    assert (second.lag, second.age_s) == (4, 3)


def test_an_event_from_the_future_is_not_younger_than_now() -> None:
    w = World()
    w.emit(1, age_s=-10)
    assert w.row().age_s == 0


def test_an_event_without_a_time_has_no_age() -> None:
    w = World()
    timeless = Message(topic=TOPIC, partition=0, offset=0, value=b"event", timestamp=(0, 5))
    w.broker.logs[TOPIC][0].messages.append(timeless)
    row = w.row()
    assert (row.lag, row.age_s) == (None, None)


def test_brokers_that_send_nothing_leave_the_age_unknown_within_a_bound() -> None:
    w = World()
    w.emit(1)
    seen = Timestamps(w.consumer, w.settings, w.clock)
    w.broker.faults.down = True
    before = w.clock()
    assert seen.first({0: 0}, timeout_s=3.0) == {}
    assert 3.0 <= w.clock() - before < 4.0
    w.broker.faults.down = False
    assert seen.first({0: 0}) == {0: NOW}


def test_what_was_read_is_not_read_again_while_the_offset_stays() -> None:
    w = World(2)
    for partition in (0, 1):
        w.emit(2, partition, age_s=8)
    seen = Timestamps(w.consumer, w.settings, w.clock)
    assert seen.first({0: 0, 1: 0}) == {0: NOW - 8, 1: NOW - 8}
    w.broker.faults.down = True
    assert seen.first({0: 0, 1: 0}) == {0: NOW - 8, 1: NOW - 8}
    assert seen.first({0: 1, 1: 0}, timeout_s=1.0) == {1: NOW - 8}
    w.broker.faults.down = False
    assert seen.first({0: 1}) == {0: NOW - 8}


def test_a_denied_topic_says_what_to_allow() -> None:
    w = World()
    w.emit(1)
    w.broker.emit_error(w.consumer, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(ConfigError, match="allow Read"):
        w.watch().read()


@pytest.mark.parametrize(
    ("offset", "policy", "begin"),
    [
        (None, "earliest", 10),
        (None, "error", 10),
        (None, "latest", 20),
        (5, "latest", 10),
        (15, "latest", 15),
        (25, "earliest", 20),
    ],
)
def test_where_a_group_is_done(offset: int | None, policy: Any, begin: int) -> None:
    found = None if offset is None else CommittedOffset(offset, "")
    assert GroupPosition(0, Watermarks(10, 20), found, None).start(policy) == begin
