"""With at-least-once the group must be idle, and its offsets must say something."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.verify.comparison import MEMBERS_UNKNOWN
from dynatomic.verify.group_state import GroupState
from tests.support.verify_world import AFTER, TOPIC, UNFENCED, Admin, World, differences


def test_at_least_once_is_compared_at_the_committed_offsets() -> None:
    w = World()
    w.emit("a", "b", "a", "new")
    w.item("a", 1)
    w.item("b", 1)
    w.commit(2)
    assert list(w.verify(UNFENCED).text(20)) == ["OK  3 counters, sum 2 = 2", AFTER.format(2)]
    w.item("new", 1)  # written and not committed: a crash, and it will be counted again
    assert differences(w.verify(UNFENCED)) == {"new": 1}


def test_members_that_have_nothing_to_count_are_no_obstacle() -> None:
    w = World()
    w.emit("a")
    w.item("a", 1)
    w.commit(1)
    w.admin.members = 3
    assert w.verify(UNFENCED).ok
    w.emit("a")
    with pytest.raises(UnavailableError, match=r"not idle \(it has 3 members, and events to count"):
        w.verify(UNFENCED)
    w.admin.members = 0
    assert w.verify(UNFENCED).ok


def test_events_that_came_meanwhile_may_have_been_counted_by_members() -> None:
    w = World()
    w.emit("a")
    w.item("a", 1)
    w.commit(1)
    w.admin.members = 1
    w.on_read = lambda: w.emit("b")
    with pytest.raises(UnavailableError, match="is not idle"):
        w.verify(UNFENCED)


def test_a_member_that_joined_meanwhile_is_noticed() -> None:
    w = World()
    w.emit("a", "a")
    w.item("a", 1)
    w.commit(1)
    w.admin.looks = [lambda: None, lambda: setattr(w.admin, "members", 1)]
    with pytest.raises(UnavailableError, match="1 members"):
        w.verify(UNFENCED)


def test_a_member_that_left_meanwhile_without_a_commit_is_noticed() -> None:
    w = World()
    w.emit("a", "a")
    w.item("a", 1)
    w.commit(1)
    w.admin.members = 1
    w.admin.looks = [lambda: None, lambda: setattr(w.admin, "members", 0)]
    with pytest.raises(UnavailableError, match="1 members"):
        w.verify(UNFENCED)


def test_events_of_a_partition_that_was_added_meanwhile_may_have_been_counted() -> None:
    w = World()
    w.emit("a")
    w.item("a", 1)
    w.commit(1)
    w.admin.members = 1

    def add_partition() -> None:
        w.on_read = lambda: None
        w.broker.create_topic(TOPIC, 2)
        w.emit("a", partition=1)
        w.item("a", 2)

    w.on_read = add_partition
    with pytest.raises(UnavailableError, match="1 members, and events to count"):
        w.verify(UNFENCED)


@pytest.mark.parametrize("members", [0, 1, None])
def test_committed_offsets_that_move_are_noticed(members: int | None) -> None:
    w = World(2)
    w.emit("a", "a")
    w.item("a", 2)
    w.commit(1)
    w.admin.members = members
    w.on_read = lambda: w.commit(2)
    with pytest.raises(UnavailableError, match="its committed offsets change"):
        w.verify(UNFENCED)
    w.on_read = lambda: w.commit(2, 0)  # the first commit of a partition
    with pytest.raises(UnavailableError, match="its committed offsets change"):
        w.verify(UNFENCED)


def test_brokers_that_do_not_tell_members_are_told_of() -> None:
    w = World()
    w.emit("a")
    w.item("a", 1)
    w.commit(1)
    w.admin.members = None
    assert list(w.verify(UNFENCED).text(20)) == [
        "OK  1 counter, sum 1 = 1",
        MEMBERS_UNKNOWN,
    ]


def test_a_group_without_committed_offsets_may_be_a_wrong_name() -> None:
    w = World()
    w.emit("a")
    with pytest.raises(
        ConfigError, match=r"no committed offset of topic row-events: .* --group-id"
    ):
        w.verify(UNFENCED)
    told = (
        "group dynatomic has no committed offset of topic row-events, so only fences show what is "
    )
    assert list(w.verify().text(20)) == [
        "OK  1 counter, sum 0 = 0",
        AFTER.format(1),
        f"{told}in the tables; check --group-id",
    ]
    w.commit(0)
    assert len(list(w.verify().text(20))) == 2


@pytest.mark.parametrize("code", ["GROUP_AUTHORIZATION_FAILED", "TOPIC_AUTHORIZATION_FAILED"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_group_that_may_not_be_seen_is_told_at_once(code: str, *, whole: bool) -> None:
    error = KafkaError(getattr(KafkaError, code))

    def committed(places: list[TopicPartition], **_: Any) -> list[Any]:
        if whole:
            raise KafkaException(error)
        return [SimpleNamespace(partition=p.partition, offset=-1, error=error) for p in places]

    group = GroupState(SimpleNamespace(committed=committed), Admin(), Settings(), None)
    with pytest.raises(ConfigError, match=r"group dynatomic.*allow Describe on both"):
        group.committed([0])


def test_an_offset_beyond_the_end_says_that_events_are_gone() -> None:
    w = World()
    w.emit("a")
    w.commit(5)
    with pytest.raises(ConfigError, match=r"offset 5 of partition 0 .* ends at 1"):
        w.verify(UNFENCED)
