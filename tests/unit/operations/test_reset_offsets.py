"""Planning and committing new offsets, on the fakes."""

from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, TopicPartition

from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.operations import reset_offsets as module
from dynatomic.operations.group_commit import JOIN_S
from dynatomic.operations.offset_plan import Target
from dynatomic.operations.reset_offsets import ResetOptions
from dynatomic.testing.kafka.consumer import FakeConsumer
from tests.support.lag_world import GROUP, NOW, OTHER, TOPIC, member
from tests.support.reset_scene import EXECUTE, Scene

UNTOLD = KafkaError._UNSUPPORTED_FEATURE


def test_a_plan_changes_nothing() -> None:
    s = Scene()
    s.commit(4, about=OTHER)
    said = s.run(ResetOptions())
    heading, row, *_ = said.splitlines()
    assert heading.split() == ["PARTITION", "CURRENT-OFFSET", "NEW-OFFSET", "EFFECT", "WHY"]
    assert row.split()[:3] == ["0", "4", "0"]
    assert said.endswith("nothing was changed: add --execute")
    assert s.stored() == (4, OTHER)


def test_what_is_committed_carries_the_topics_id_and_is_read_back() -> None:
    s = Scene(2)
    s.commit(4, 0, about=OTHER)
    s.commit(5, 1)
    said = s.run()
    assert s.stored(0) == (0, s.id)
    assert s.stored(1) == (5, s.id)
    told = said[said.index("read back") :].splitlines()
    assert [line.split() for line in told[1:]] == [["PARTITION", "CURRENT-OFFSET"], ["0", "0"]]
    assert "nothing to change" in s.run()


def test_retention() -> None:
    s = Scene()
    s.commit(3)
    s.broker.delete_before(TOPIC, 0, 6)
    said = s.run()
    assert "retention removed offsets 3 to 5" in said
    assert "loses up to 3 events" in said
    assert "lost events were removed by retention" in said
    assert s.stored() == (6, s.id)


@pytest.mark.parametrize("target", [None, Target(earliest=True)])
def test_a_group_that_does_not_exist_is_refused_with_a_similar_one(target: Target | None) -> None:
    s = Scene()
    s.admin.group = (ConsumerGroupState.DEAD, [])
    s.admin.groups = [f"{GROUP}s", "other"]
    with pytest.raises(DynatomicError, match=rf"does not exist at .* did you mean '{GROUP}s'\?"):
        s.run(ResetOptions(target, execute=True))
    assert s.stored() == (None, "")
    s.run(ResetOptions(Target(latest=True), execute=True, create_group=True))
    assert s.stored() == (10, s.id)


def test_nothing_committed_where_that_is_an_error() -> None:
    s = Scene(librdkafka={"auto.offset.reset": "error"})
    s.run()
    assert s.stored() == (0, s.id)


def test_nothing_committed_where_it_is_none_is_left_alone() -> None:
    s = Scene()
    assert "nothing to change" in s.run()
    assert s.stored() == (None, "")


def test_where_a_person_must_choose_nothing_is_changed() -> None:
    s = Scene(2)
    s.commit(4, 0, about=OTHER)
    s.commit(99, 1, about="")
    with pytest.raises(DynatomicError, match=r"row-events:1: offset 99: .* --to-earliest"):
        s.run()
    assert s.stored(0) == (4, OTHER)
    s.run(ResetOptions(Target(latest=True), (1,), execute=True))
    s.run()
    assert (s.stored(0), s.stored(1)) == ((0, s.id), (10, s.id))


def test_only_the_partitions_that_were_named() -> None:
    s = Scene(3)
    for number in range(3):
        s.commit(5, number)
    said = s.run(ResetOptions(Target(earliest=True), (0, 2), execute=True))
    assert [s.stored(n)[0] for n in range(3)] == [0, 5, 0]
    assert [line.split()[0] for line in said.splitlines()[1:3]] == ["0", "2"]


def test_a_partition_that_is_not_there_is_a_matter_of_configuration() -> None:
    with pytest.raises(ConfigError, match=r"--partition 7: topic 'row-events' has 0 to 1"):
        Scene(2).run(ResetOptions(partitions=(7, 1)))


@pytest.mark.parametrize(
    ("guarantee", "words"),
    [("at-least-once", "count twice"), ("exactly-once", "only if they were not counted yet")],
)
def test_going_back_says_what_the_guarantee_makes_of_it(guarantee: Any, words: str) -> None:
    s = Scene(processing_guarantee=guarantee)
    s.commit(8)
    said = s.run(ResetOptions(Target(offset=2)))
    assert "reads up to 6 events again" in said
    assert words in said


# --- a group that is not stopped -------------------------------------------------------------


def test_an_active_group_is_planned_for_and_not_touched() -> None:
    s = Scene()
    s.commit(4, about=OTHER)
    s.admin.group = (ConsumerGroupState.STABLE, [member("m1", (TOPIC, 0))])
    assert "the group is active (stable, 1 members): stop it first" in s.run(ResetOptions())
    with pytest.raises(UnavailableError, match=f"group {GROUP} is active") as error:
        s.run()
    assert error.value.exit_code == 75
    assert s.stored() == (4, OTHER)


def test_a_member_that_came_meanwhile_is_noticed_by_the_brokers() -> None:
    s = Scene()
    s.commit(4, about=OTHER)
    worker = s.join()
    worker.subscribe([TOPIC])
    worker.consume(1, 0)
    with pytest.raises(UnavailableError, match="is active"):
        s.run()
    assert s.stored() == (4, OTHER)
    assert len(s.joined) == 1  # the worker: no join is needed if the brokers report the members


def test_without_word_of_members_it_commits_as_the_only_one() -> None:
    s = Scene(2)
    s.commit(4, about=OTHER)
    s.admin.group = UNTOLD
    assert "--execute joins it" in s.run(ResetOptions())
    s.run()
    assert s.stored() == (0, s.id)
    assert s.joined == []  # no member: the brokers accept the commit of another client


class OnlyFromMembers(FakeConsumer):
    """As the mock cluster: once a group had members, no stranger may commit."""

    def commit(self, *given: Any, **named: Any) -> Any:
        if not self.member.joined:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_MEMBER_ID))
        return super().commit(*given, **named)


def test_brokers_that_want_a_member_get_one_if_it_is_alone() -> None:
    s = Scene(2)
    s.commit(4, about=OTHER)
    s.admin.group = UNTOLD
    s.consumer.commit = OnlyFromMembers.commit.__get__(s.consumer)  # type: ignore[method-assign]
    s.run()
    assert s.stored() == (0, s.id)
    assert [joined.closed for joined in s.joined] == [True]
    assert s.stored(1) == (None, "")  # what it read on the way is not committed


def test_beside_another_member_it_leaves_again() -> None:
    s = Scene(2)
    s.commit(4, about=OTHER)
    s.admin.group = UNTOLD
    worker = s.join()
    worker.subscribe([TOPIC])
    worker.consume(1, 0)
    before = s.clock()
    with pytest.raises(UnavailableError, match="is active"):
        s.run()
    assert s.clock() - before >= JOIN_S
    assert s.stored() == (4, OTHER)
    assert s.joined[-1].closed


# --- what goes wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError.GROUP_AUTHORIZATION_FAILED, ConfigError),
        (KafkaError.COORDINATOR_NOT_AVAILABLE, UnavailableError),
    ],
)
def test_a_commit_that_is_refused_is_an_error(code: int, kind: type[Exception]) -> None:
    s = Scene()
    s.commit(4, about=OTHER)
    s.broker.faults.fail_commits(code)
    with pytest.raises(kind):
        s.run()


def test_one_partition_that_is_refused_is_an_error() -> None:
    s = Scene()
    s.commit(4, about=OTHER)

    def commit(offsets: list[TopicPartition], *, asynchronous: bool) -> list[Any]:
        assert not asynchronous
        refused = type("Refused", (), {"error": KafkaError(KafkaError.INVALID_COMMIT_OFFSET_SIZE)})
        return [refused() for _ in offsets]

    s.consumer.commit = commit  # type: ignore[assignment,method-assign]
    with pytest.raises(UnavailableError, match="try again"):
        s.run()


def test_a_commit_that_is_not_in_effect_is_an_error() -> None:
    s = Scene()
    s.commit(4, about=OTHER)
    s.consumer.commit = lambda offsets, **_: offsets  # type: ignore[method-assign]
    with pytest.raises(DynatomicError, match="another offset is in effect"):
        s.run()


# --- by time ---------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)])  # noqa: DTZ001 - as typed
def test_a_time_without_a_zone_is_utc(at: datetime) -> None:
    s = Scene()
    s.commit(2)
    s.by_time = lambda _milliseconds: 7
    s.run(ResetOptions(Target(at=at), execute=True))
    assert s.asked == [1767225600000]
    assert s.stored() == (7, s.id)


def test_a_time_after_the_last_event_is_the_end() -> None:
    s = Scene()
    s.commit(2)
    s.by_time = lambda milliseconds: -1 if milliseconds else 0
    assert "no event has this time or a later one" in s.run(
        ResetOptions(Target(at=datetime.fromtimestamp(NOW, UTC)))
    )


def test_brokers_without_offsets_by_time_do_not_make_it_skip_everything() -> None:
    s = Scene()
    s.commit(2)
    with pytest.raises(ConfigError, match="use --to-offset"):
        s.run(ResetOptions(Target(at=datetime.fromtimestamp(NOW, UTC)), execute=True))
    assert s.stored() == (2, s.id)


def test_an_empty_partition_needs_no_offset_by_time() -> None:
    s = Scene()
    s.broker.delete_before(TOPIC, 0, 10)
    assert "no event has this time or a later one" in s.run(
        ResetOptions(Target(at=datetime.fromtimestamp(NOW, UTC)))
    )


# --- the command -----------------------------------------------------------------------------


def test_the_command_prints_what_it_did_and_closes_its_clients(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    s = Scene()
    s.commit(4, about=OTHER)
    monkeypatch.setattr(module, "wait_for_kafka", lambda *_: None)
    monkeypatch.setattr(module, "new_consumer", lambda _config: s.consumer)
    monkeypatch.setattr(module, "new_admin", lambda _config: s.admin)
    assert module.reset_offsets(s.settings, EXECUTE) == 0
    assert "committed, and read back" in capsys.readouterr().out
    assert s.consumer.closed
