"""What the worker relies on when partitions are paused, revoked and assigned."""

from typing import Any, Final

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tests.support.brokers import MakeTopic
from tests.support.group_member import PROTOCOLS, GroupProtocol, Join, Produce, fill, numbered, wait

IDLE: Final[tuple[str, list[int]]] = ("assign", [])  # a rebalance gave nothing


def test_a_paused_partition_gives_no_rows_and_loses_none(
    topic: MakeTopic, join: Join, produce: Produce
) -> None:
    name = topic(2)
    producer = produce()
    fill(producer, name, *numbered(200))
    member = join(name)
    while not member.rows:  # some are fetched, not all are returned
        member.rows += [m for m in member.consumer.consume(10, 0.1) if not m.error()]
    read = len(member.rows)
    assert read < 200
    member.consumer.pause([member.at(0)])
    fill(producer, name, *numbered(100, 200))
    fill(producer, name, b"other", partition=1)
    wait(lambda: member.values(1) == [b"other"], member)
    assert len(member.values(0)) == read
    member.consumer.resume([member.at(0)])
    wait(lambda: len(member.values(0)) == 300, member)
    assert member.values(0) == numbered(300)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_polling_a_paused_member_serves_commits_and_rebalances(
    topic: MakeTopic, join: Join, produce: Produce, protocol: GroupProtocol
) -> None:
    name = topic(2)
    producer = produce()
    member = join(name, protocol=protocol)
    wait(lambda: len(member.owned) == 2, member)
    member.consumer.pause([member.at(0), member.at(1)])
    for partition in (0, 1):
        fill(producer, name, *numbered(3), partition=partition)
    member.consumer.commit(offsets=[member.at(0, 0), member.at(1, 0)], asynchronous=True)
    wait(lambda: member.commits, member)
    other = join(name, protocol=protocol)
    wait(lambda: other.rows, member, other)
    assert member.rows == []
    (kept,) = member.owned
    assert other.owned == {1 - kept}
    # A rebalance resumes nothing that stays.
    member.poll()
    assert member.rows == []
    member.consumer.resume([member.at(kept)])
    wait(lambda: len(member.rows) == 3, member, other)


def test_pausing_a_partition_that_is_not_ours_is_no_error(topic: MakeTopic, join: Join) -> None:
    member = join(topic())
    wait(lambda: member.owned, member)
    member.consumer.pause([member.at(9)])
    member.consumer.resume([member.at(9)])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_members_that_come_and_go_move_only_what_must_move(
    topic: MakeTopic, join: Join, protocol: GroupProtocol
) -> None:
    name = topic(4)
    first = join(name, protocol=protocol)
    wait(lambda: len(first.owned) == 4, first)
    assert [call for call in first.calls if call[1]] == [("assign", [0, 1, 2, 3])]
    first.calls.clear()

    second = join(name, protocol=protocol)
    wait(lambda: len(second.owned) == 2, first, second)
    moved = sorted(second.owned)
    # A call without partitions means that a rebalance has ended. Not every broker makes it.
    assert [call for call in first.calls if call[1]] == [("revoke", moved)]
    assert [call for call in second.calls if call[1]] == [("assign", moved)]
    assert sorted(p.partition for p in second.consumer.assignment()) == moved
    first.calls.clear()

    second.consumer.close()
    assert second.calls[-1] == ("revoke", moved)
    wait(lambda: len(first.owned) == 4, first)
    assert [call for call in first.calls if call[1]] == [("assign", moved)]
    first.calls.clear()
    first.consumer.close()
    assert first.calls == [("revoke", [0, 1, 2, 3])]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_committed_on_revoke_is_where_the_next_owner_begins(
    topic: MakeTopic, join: Join, produce: Produce, protocol: GroupProtocol
) -> None:
    name = topic(2)
    producer = produce()
    for partition in (0, 1):
        fill(producer, name, *numbered(3), partition=partition)
    session: dict[str, Any] = {"session_timeout_ms": "4000"} if protocol == "classic" else {}

    def hand_over(group: str) -> bool:
        """Tell whether the first member could commit, and the second was given a partition."""
        first = join(name, group=group, protocol=protocol, **session)
        wait(lambda: len(first.rows) == 6, first)
        refused: list[int] = []

        def commit(consumer: Consumer, places: list[TopicPartition]) -> None:
            ends = [first.at(place.partition, 2) for place in places]
            try:
                consumer.commit(offsets=ends, asynchronous=False)
            except KafkaException as error:
                refused.append(error.args[0].code())

        first.on_revoke = commit
        second = join(name, group=group, protocol=protocol, beginning=False, **session)
        wait(lambda: second.rows or refused or first.calls.count(IDLE) > 2, first, second)
        first.on_revoke = None
        assert set(refused) <= {KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION}
        if refused or not second.rows:
            return False
        assert {row.offset() for row in second.rows} == {2}
        assert second.events == []
        return True

    # On a busy machine the mock cluster ends the rebalance before it takes the commit, or it ends
    # rebalances without handing over the partition.
    assert any(hand_over(f"{name}-{attempt}") for attempt in range(3))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_partition_that_is_paused_while_it_is_assigned_gives_nothing(
    topic: MakeTopic, join: Join, produce: Produce, protocol: GroupProtocol
) -> None:
    name = topic(2)
    for partition in (0, 1):
        fill(produce(), name, *numbered(3), partition=partition)
    member = join(name, protocol=protocol, eof=True)

    def pausing(consumer: Consumer, places: list[TopicPartition]) -> None:
        consumer.position(places)  # a pause of a topic that the client does not know is lost
        consumer.pause([place for place in places if place.partition == 0])
        member._gained(consumer, places)

    member.consumer.subscribe([name], on_assign=pausing)
    wait(lambda: len(member.rows) == 3 and member.events, member)
    for _ in range(20):
        member.poll()
    assert {row.partition() for row in member.rows} == {1}
    member.consumer.resume([member.at(0)])
    wait(lambda: len(member.rows) == 6, member)
