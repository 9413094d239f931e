"""What the worker relies on when it reads: order, offsets, ends, where a group begins.

Where the brokers differ for a reason, the test says which answers it takes from which.
"""

import time

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, OFFSET_INVALID, KafkaError, KafkaException

from dynatomic.kafka.client import AUTO_OFFSET_RESET, PARTITION_EOF
from tests.support.brokers import Broker, MakeTopic
from tests.support.group_member import (
    ANSWERED,
    PROTOCOLS,
    SECONDS,
    GroupProtocol,
    Join,
    Produce,
    code_of,
    fill,
    numbered,
    wait,
)
from tests.support.names import unique


def test_rows_come_in_order_with_offsets_that_count_up(
    topic: MakeTopic, join: Join, produce: Produce
) -> None:
    name = topic(2)
    producer = produce()
    for partition in (0, 1):
        fill(producer, name, *numbered(250), partition=partition)
    member = join(name)
    wait(lambda: len(member.rows) == 500, member)
    for partition in (0, 1):
        rows = [row for row in member.rows if row.partition() == partition]
        assert [row.offset() for row in rows] == list(range(250))
        assert [row.value() for row in rows] == numbered(250)
        assert {row.topic() for row in rows} == {name}
    ends = member.consumer.position([member.at(0), member.at(1)])
    assert [place.offset for place in ends] == [250, 250]


def test_a_row_keeps_key_value_and_headers(topic: MakeTopic, join: Join, produce: Produce) -> None:
    name = topic()
    producer = produce()
    headers: list[tuple[str, str | bytes | None]] = [
        ("a", b"1"),
        ("a", None),
        ("b", b""),
        ("c", "é"),
    ]
    producer.produce(name, b"v", key=b"k", headers=headers)
    producer.produce(name, None, key=b"k")
    producer.produce(name, b"", key=None)
    producer.produce(name, None, key=None)
    producer.produce(name, "é", key="")
    assert producer.flush(SECONDS) == 0
    member = join(name)
    wait(lambda: len(member.rows) == 5, member)
    assert [(row.key(), row.value()) for row in member.rows] == [
        (b"k", b"v"),
        (b"k", None),
        (None, b""),
        (None, None),
        (b"", "é".encode()),
    ]
    kept = [("a", b"1"), ("a", None), ("b", b""), ("c", "é".encode())]
    assert [row.headers() for row in member.rows] == [kept, None, None, None, None]
    now = time.time() * 1000
    for row in member.rows:
        kind, timestamp = row.timestamp()
        assert kind == 1  # TIMESTAMP_CREATE_TIME
        assert now - 60_000 < timestamp < now + 60_000


def test_the_end_of_each_partition_is_an_event_with_its_offset(
    topic: MakeTopic, join: Join, produce: Produce
) -> None:
    name = topic(2)
    producer = produce()
    fill(producer, name, *numbered(3))
    member = join(name, eof=True)
    wait(lambda: len(member.events) == 2, member)
    assert sorted(member.codes()) == [(0, PARTITION_EOF), (1, PARTITION_EOF)]
    assert sorted((e.partition(), e.offset()) for e in member.events) == [(0, 3), (1, 0)]
    assert len(member.rows) == 3  # an end comes after the rows before it
    fill(producer, name, b"3")
    wait(lambda: len(member.events) == 3, member)
    assert (member.events[-1].partition(), member.events[-1].offset()) == (0, 4)
    assert member.values() == numbered(4)


def test_ends_are_no_events_unless_asked_for(
    topic: MakeTopic, join: Join, produce: Produce
) -> None:
    name = topic(2)
    fill(produce(), name, *numbered(3))
    member = join(name)
    wait(lambda: len(member.rows) == 3, member)
    member.poll()
    assert member.events == []


def test_watermarks(topic: MakeTopic, join: Join, produce: Produce) -> None:
    name = topic(2)
    fill(produce(), name, *numbered(3))
    member = join(name)
    ask = member.consumer.get_watermark_offsets
    assert ask(member.at(0), cached=True) == (OFFSET_INVALID, OFFSET_INVALID)
    assert ask(member.at(0), ANSWERED) == (0, 3)
    assert ask(member.at(1), ANSWERED) == (0, 0)
    with pytest.raises(KafkaException) as error:
        ask(member.at(2), ANSWERED)
    assert code_of(error) == KafkaError._UNKNOWN_PARTITION


def test_metadata_names_the_partitions_and_what_is_missing(
    broker: Broker, topic: MakeTopic, join: Join
) -> None:
    name = topic(3)
    member = join(name)
    found = member.consumer.list_topics(name, timeout=ANSWERED).topics[name]
    assert found.error is None
    assert sorted(found.partitions) == [0, 1, 2]
    if broker.name == "embedded":
        return  # the mock cluster creates a topic at the first request for it
    missing = unique("missing")
    nothing = member.consumer.list_topics(missing, timeout=ANSWERED).topics[missing]
    assert nothing.error is not None
    assert nothing.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert not nothing.partitions


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_partition_without_committed_offset_is_an_error_and_begins_when_assigned_anew(
    topic: MakeTopic, join: Join, produce: Produce, protocol: GroupProtocol
) -> None:
    name = topic(2)
    producer = produce()
    for partition in (0, 1):
        fill(producer, name, *numbered(3), partition=partition)
    member = join(name, protocol=protocol, beginning=False)
    wait(lambda: len(member.events) == 2, member)
    assert sorted(member.codes()) == [(0, AUTO_OFFSET_RESET), (1, AUTO_OFFSET_RESET)]
    assert [e.offset() for e in member.events] == [None, None]
    assert member.committed(0, 1) == [OFFSET_INVALID, OFFSET_INVALID]
    with pytest.raises(KafkaException) as error:
        member.consumer.seek(member.at(0, 0))
    assert code_of(error) == KafkaError._STATE
    with pytest.raises(KafkaException) as error:
        member.consumer.incremental_assign([member.at(0, OFFSET_BEGINNING)])
    assert code_of(error) == KafkaError._CONFLICT

    member.consumer.incremental_unassign([member.at(0)])
    member.consumer.incremental_assign([member.at(0, OFFSET_BEGINNING)])
    wait(lambda: len(member.rows) == 3, member)
    assert member.values() == numbered(3)
    assert len(member.events) == 2  # the other one stays silent
    assert member.values(1) == []
    # It still is the group's member, and the group knows nothing of the detour.
    member.commit(0, 3)
    assert member.committed(0, 1) == [3, OFFSET_INVALID]
    assert member.calls == [("assign", [0, 1])]


def test_a_partition_can_begin_at_its_end(topic: MakeTopic, join: Join, produce: Produce) -> None:
    name = topic()
    producer = produce()
    fill(producer, name, *numbered(3))
    member = join(name, beginning=False, eof=True)
    wait(lambda: member.events, member)
    member.consumer.incremental_unassign([member.at(0)])
    member.consumer.incremental_assign([member.at(0, OFFSET_END)])
    wait(lambda: (0, PARTITION_EOF) in member.codes(), member)
    fill(producer, name, b"3")
    wait(lambda: member.rows, member)
    assert [row.offset() for row in member.rows] == [3]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_committed_offset_that_the_topic_does_not_have_is_the_same_error(
    topic: MakeTopic, join: Join, produce: Produce, protocol: GroupProtocol
) -> None:
    name = topic()
    fill(produce(), name, *numbered(3))
    before = join(name, protocol=protocol)
    wait(lambda: before.owned, before)
    before.commit(0, 1000)
    before.consumer.close()

    member = join(name, protocol=protocol, beginning=False)
    wait(lambda: member.events, member)
    assert member.codes() == [(0, AUTO_OFFSET_RESET)]
    # The requested offset distinguishes this case from the one without an offset.
    assert member.events[0].offset() == 1000
    assert member.committed(0) == [1000]
    with pytest.raises(KafkaException) as error:
        member.consumer.seek(member.at(0, 0))
    assert code_of(error) == KafkaError._STATE
    member.consumer.incremental_unassign([member.at(0)])
    member.consumer.incremental_assign([member.at(0, OFFSET_BEGINNING)])
    wait(lambda: len(member.rows) == 3, member)
    assert member.values() == numbered(3)


def test_a_group_goes_on_from_its_committed_offset(
    topic: MakeTopic, join: Join, produce: Produce
) -> None:
    name = topic()
    fill(produce(), name, *numbered(5))
    first = join(name)
    wait(lambda: len(first.rows) == 5, first)
    first.commit(0, 2)
    first.consumer.close()
    second = join(name, beginning=False)
    wait(lambda: len(second.rows) == 3, second)
    assert [row.offset() for row in second.rows] == [2, 3, 4]
    assert second.events == []


def test_a_partition_that_is_read_can_seek_and_others_cannot(
    topic: MakeTopic, join: Join, produce: Produce
) -> None:
    name = topic()
    fill(produce(), name, *numbered(5))
    member = join(name)
    wait(lambda: len(member.rows) == 5, member)
    member.consumer.seek(member.at(0, 3))
    wait(lambda: len(member.rows) == 7, member)
    assert [row.offset() for row in member.rows[5:]] == [3, 4]
    with pytest.raises(KafkaException) as error:
        member.consumer.seek(member.at(9, 0))
    assert code_of(error) == KafkaError._STATE
    with pytest.raises(KafkaException) as error:
        member.consumer.incremental_unassign([member.at(9)])
    assert code_of(error) == KafkaError._INVALID_ARG
    with pytest.raises(KafkaException) as error:
        member.consumer.assign([member.at(0, 0)])
    assert code_of(error) == KafkaError._STATE
