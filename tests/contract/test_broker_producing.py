"""What the emitter and the dead letters rely on when they produce."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.support.brokers import Broker, FakeBrokerAdapter, MakeTopic
from tests.support.group_member import (
    ANSWERED,
    SECONDS,
    Join,
    Produce,
    code_of,
    fill,
    numbered,
    wait,
)


def test_each_row_is_reported_with_its_place(topic: MakeTopic, produce: Produce) -> None:
    name = topic(2)
    reports: list[tuple[KafkaError | None, Any, Any]] = []
    producer = produce()
    for i, value in enumerate(numbered(6)):
        producer.produce(
            name,
            value,
            key=b"k",
            partition=i % 2,
            on_delivery=lambda error, m: reports.append(
                (error, (m.topic(), m.partition(), m.offset()), (m.key(), m.value()))
            ),
        )
    assert reports == []  # no callback runs before a poll
    assert len(producer) == 6
    assert producer.flush(SECONDS) == 0
    assert len(producer) == 0
    assert {error for error, _, _ in reports} == {None}
    for partition in (0, 1):
        found = [(place, row) for _, place, row in reports if place[1] == partition]
        assert [place for place, _ in found] == [(name, partition, i) for i in range(3)]
        assert [row for _, row in found] == [(b"k", b"%d" % i) for i in range(partition, 6, 2)]


def test_one_key_goes_to_one_partition(topic: MakeTopic, join: Join, produce: Produce) -> None:
    name = topic(4)
    producer = produce()
    keys = [b"key-%d" % (i % 20) for i in range(100)]
    for key in keys:
        producer.produce(name, b"v", key=key)
    assert producer.flush(SECONDS) == 0
    member = join(name)
    wait(lambda: len(member.rows) == 100, member)
    places = {(row.key(), row.partition()) for row in member.rows}
    assert len(places) == 20
    assert len({partition for _, partition in places}) > 1


def test_a_row_that_can_never_be_sent_is_refused_at_once(
    topic: MakeTopic, produce: Produce
) -> None:
    name = topic()
    producer = produce(message_max_bytes="2000")
    fill(producer, name, b"known")  # only then the partitions are known
    with pytest.raises(KafkaException) as error:
        producer.produce(name, b"x" * 3000)
    assert code_of(error) == KafkaError.MSG_SIZE_TOO_LARGE
    with pytest.raises(KafkaException) as error:
        producer.produce(name, b"x", partition=7)
    assert code_of(error) == KafkaError._UNKNOWN_PARTITION
    assert len(producer) == 0


def test_purged_rows_are_reported_as_never_sent(
    broker: Broker, topic: MakeTopic, join: Join, produce: Produce
) -> None:
    name = topic()
    producer = produce(linger_ms="60000")
    if isinstance(broker, FakeBrokerAdapter):
        broker.fake.faults.down = True
    reports: list[KafkaError | None] = []
    for value in numbered(3):
        producer.produce(name, value, partition=0, on_delivery=lambda e, _: reports.append(e))
    producer.purge()
    assert producer.flush(SECONDS) == 0
    assert [error and error.code() for error in reports] == [KafkaError._PURGE_QUEUE] * 3
    if isinstance(broker, FakeBrokerAdapter):
        broker.fake.faults.down = False
    member = join(name)
    assert member.consumer.get_watermark_offsets(member.at(0), ANSWERED) == (0, 0)


def test_a_full_queue_refuses_the_next_row_and_keeps_the_others(
    topic: MakeTopic, produce: Produce
) -> None:
    name = topic()
    producer = produce(linger_ms="100", queue_buffering_max_messages="3")
    for value in numbered(3):
        producer.produce(name, value, partition=0)
    with pytest.raises(BufferError):
        producer.produce(name, b"3", partition=0)
    assert producer.flush(SECONDS) == 0
    fill(producer, name, b"3")
