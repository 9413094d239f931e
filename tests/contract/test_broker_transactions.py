"""What an open transaction holds back, on the fake and on Kafka.

librdkafka's mock cluster delivers the events of a transaction at once, so it is left out.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import OFFSET_END

from dynatomic.kafka.client import PARTITION_EOF
from tests.support.brokers import Broker, FakeBrokerAdapter, MakeTopic
from tests.support.group_member import SECONDS, Join, Member, Produce, fill, wait

pytestmark = pytest.mark.parametrize("broker", ["fake", "real"], indirect=True)


@contextmanager
def transaction(broker: Broker, topic: str, value: bytes, *, aborted: bool) -> Iterator[None]:
    """Hold a transaction with one event open, and abort or commit it at the end."""
    if isinstance(broker, FakeBrokerAdapter):
        broker.fake.open_transaction(topic, 0)
        offset = broker.fake.append(topic, 0, None, value, [])
        yield
        broker.fake.end_transaction(topic, 0, [offset] if aborted else [])
        return
    producer = broker.producer({"transactional.id": f"{topic}-transaction"})
    producer.init_transactions(SECONDS)
    producer.begin_transaction()
    fill(producer, topic, value)
    yield
    if aborted:
        producer.abort_transaction(SECONDS)
    else:
        producer.commit_transaction(SECONDS)


def ends(member: Member) -> list[int | None]:
    return [e.offset() for e in member.events if e.error().code() == PARTITION_EOF]  # type: ignore[union-attr]


@pytest.mark.parametrize("aborted", [False, True])
def test_events_after_an_open_transaction_are_read_when_it_ends(
    broker: Broker, topic: MakeTopic, join: Join, produce: Produce, *, aborted: bool
) -> None:
    name = topic()
    fill(produce(), name, b"before")
    member = join(name, eof=True)
    with transaction(broker, name, b"inside", aborted=aborted):
        fill(produce(), name, b"behind")
        wait(lambda: ends(member), member)
        assert member.values() == [b"before"]
        assert ends(member) == [1]
        assert member.consumer.get_watermark_offsets(member.at(0), SECONDS) == (0, 1)
    wait(lambda: ends(member)[-1] == 4, member)
    assert member.values() == [b"before", *([] if aborted else [b"inside"]), b"behind"]
    assert member.consumer.get_watermark_offsets(member.at(0), SECONDS) == (0, 4)


def test_the_end_of_a_partition_is_below_an_open_transaction(
    broker: Broker, topic: MakeTopic, join: Join, produce: Produce
) -> None:
    name = topic()
    fill(produce(), name, b"before")
    member = join(name, eof=True, beginning=False)
    with transaction(broker, name, b"inside", aborted=False):
        wait(lambda: member.owned, member)
        member.consumer.incremental_unassign([member.at(0)])
        member.consumer.incremental_assign([member.at(0, OFFSET_END)])
        wait(lambda: ends(member), member)
        assert ends(member)[-1] == 1
    wait(lambda: len(member.rows) == 1, member)
    assert member.values() == [b"inside"]
