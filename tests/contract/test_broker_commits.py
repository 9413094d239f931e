"""What the worker relies on when it commits offsets, also after its member was expelled."""

from typing import TYPE_CHECKING, cast

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException

from tests.support.brokers import Broker, FakeBrokerAdapter, MakeTopic
from tests.support.group_member import (
    PROTOCOLS,
    GroupProtocol,
    Join,
    Produce,
    code_of,
    fill,
    numbered,
    refusal_of_commits,
    wait,
)
from tests.support.names import unique

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynatomic.testing.kafka.consumer import FakeConsumer


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_commit_is_answered_by_on_commit_in_a_later_poll(
    topic: MakeTopic, join: Join, protocol: GroupProtocol
) -> None:
    name = topic(2)
    member = join(name, protocol=protocol)
    wait(lambda: len(member.owned) == 2, member)
    assert member.committed(0, 1) == [OFFSET_INVALID, OFFSET_INVALID]
    member.consumer.commit(offsets=[member.at(0, 5), member.at(1, 7)], asynchronous=True)
    assert member.commits == []
    wait(lambda: member.commits, member)
    ((error, places),) = member.commits
    assert error is None
    assert sorted((p.partition, p.offset, p.error) for p in places) == [(0, 5, None), (1, 7, None)]
    assert member.committed(0, 1) == [5, 7]


def test_commits_are_answered_in_their_order_and_one_may_go_back(
    topic: MakeTopic, join: Join
) -> None:
    member = join(topic())
    wait(lambda: member.owned, member)
    for offset in (3, 9, 6):
        member.consumer.commit(offsets=[member.at(0, offset)], asynchronous=True)
    wait(lambda: len(member.commits) == 3, member)
    assert [places[0].offset for _, places in member.commits] == [3, 9, 6]
    assert member.committed(0) == [6]


def test_a_commit_that_waits_returns_the_answer_of_each_partition(
    topic: MakeTopic, join: Join
) -> None:
    member = join(topic())
    wait(lambda: member.owned, member)
    (place,) = member.commit(0, 4)
    assert (place.partition, place.offset, place.error) == (0, 4, None)
    assert member.committed(0) == [4]


def test_one_bad_partition_fails_the_answer_of_all_though_the_others_are_stored(
    topic: MakeTopic, join: Join
) -> None:
    member = join(topic())
    wait(lambda: member.owned, member)
    both = [member.at(0, 4), member.at(9, 1)]
    with pytest.raises(KafkaException) as error:
        member.consumer.commit(offsets=both, asynchronous=False)
    assert code_of(error) == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert member.committed(0) == [4]
    member.consumer.commit(offsets=[member.at(0, 5), member.at(9, 1)], asynchronous=True)
    wait(lambda: member.commits, member)
    ((failed, places),) = member.commits
    assert failed is not None
    assert failed.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    answers = [(p.partition, p.error and p.error.code()) for p in places]
    assert answers == [(n, KafkaError.UNKNOWN_TOPIC_OR_PART) for n in (0, 9)]
    assert member.committed(0) == [5]


@pytest.mark.parametrize("places", [0, 1])
def test_a_commit_of_nothing_is_an_error(topic: MakeTopic, join: Join, places: int) -> None:
    member = join(topic())
    wait(lambda: member.owned, member)
    nothing = [member.at(0)] * places
    with pytest.raises(KafkaException) as error:
        member.consumer.commit(offsets=nothing, asynchronous=False)
    assert code_of(error) == KafkaError._NO_OFFSET
    assert member.committed(0) == [OFFSET_INVALID]


def test_a_closed_member_commits_nothing(topic: MakeTopic, join: Join) -> None:
    member = join(topic())
    wait(lambda: member.owned, member)
    member.consumer.close()
    calls: list[Callable[[], object]] = [
        lambda: member.commit(0, 4),
        lambda: member.consumer.consume(1, 0),
        member.consumer.assignment,
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="closed"):
            call()
    member.consumer.close()  # twice is fine


def test_close_answers_the_commits_that_wait(topic: MakeTopic, join: Join) -> None:
    name = topic()
    member = join(name)
    wait(lambda: member.owned, member)
    member.consumer.commit(offsets=[member.at(0, 4)], asynchronous=True)
    member.consumer.close()
    ((error, places),) = member.commits
    assert error is None
    assert [(p.partition, p.offset) for p in places] == [(0, 4)]
    assert join(name, unique("group")).committed(0) == [OFFSET_INVALID]
    assert join(name).committed(0) == [4]


def test_a_member_that_did_not_poll_is_expelled_and_told_so(
    broker: Broker, topic: MakeTopic, join: Join, produce: Produce
) -> None:
    """In a classic group; a group of the new protocol takes commits while it has no member."""
    name = topic(2)
    fill(produce(), name, *numbered(3))
    late = join(name, session_timeout_ms="1000", max_poll_interval_ms="1000")
    wait(lambda: len(late.rows) == 3, late)
    if isinstance(broker, FakeBrokerAdapter):
        broker.fake.expire(cast("FakeConsumer", late.consumer))
    assert refusal_of_commits(late) == KafkaError.UNKNOWN_MEMBER_ID
    wait(lambda: len(late.calls) == 3, late)
    assert late.calls == [("assign", [0, 1]), ("lost", [0, 1]), ("assign", [0, 1])]
    # The event names partition 0, though it is about none.
    assert late.codes() == [(0, KafkaError._MAX_POLL_EXCEEDED)]
    assert late.events[0].topic() is None
    late.commit(0, 2)
    assert late.committed(0) == [2]


def test_an_expelled_member_commits_nothing_for_its_heirs(
    broker: Broker, topic: MakeTopic, join: Join, produce: Produce
) -> None:
    """In a group of the new protocol."""
    name = topic(2)
    fill(produce(), name, *numbered(3))
    late = join(name, protocol="consumer", max_poll_interval_ms="1000")
    wait(lambda: len(late.rows) == 3, late)
    heir = join(name, protocol="consumer")
    if isinstance(broker, FakeBrokerAdapter):
        broker.fake.expire(cast("FakeConsumer", late.consumer))
    wait(lambda: len(heir.owned) == 2, heir)
    with pytest.raises(KafkaException) as error:
        late.commit(0, 3)
    assert code_of(error) == KafkaError.UNKNOWN_MEMBER_ID
    assert heir.committed(0) == [OFFSET_INVALID]
    heir.commit(0, 1)
    assert heir.committed(0) == [1]
    wait(lambda: (0, KafkaError._MAX_POLL_EXCEEDED) in late.codes(), late, heir)
    wait(lambda: late.owned and len(late.owned | heir.owned) == 2, late, heir)
    # What the group asked back before it expelled the member comes late, and as revoked.
    given_up = [n for kind, numbers in late.calls if kind != "assign" for n in numbers]
    assert sorted(given_up[:2]) == [0, 1]
    assert "lost" in {kind for kind, _ in late.calls}
