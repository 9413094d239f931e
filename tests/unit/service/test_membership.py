"""A member that the group does not have is never treated as a spare (KIP-848)."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from dynatomic.config.settings import GroupProtocol, Settings
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.kafka.groups import GroupDescription, GroupMember
from dynatomic.service.membership import INTERVAL_S, MISSING_AFTER_S, MembershipCheck
from dynatomic.worker.health import ProgressMonitor
from tests.support.clients import Clock
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from dynatomic.worker.loop import Worker

Answer = Callable[[], GroupDescription | None]

OWN = "own-id"


def group(*ids: str, protocol: GroupProtocol = "consumer") -> GroupDescription:
    members = tuple(GroupMember(id_, "/h", "app", frozenset(), idle=True) for id_ in ids)
    return GroupDescription("STABLE", members, protocol, "uniform")


class World:
    """A member without a partition, and what the brokers say of its group."""

    def __init__(self, answer: Answer, protocol: Any = "consumer") -> None:
        self.answer = answer
        self.asked = 0
        self.clock = Clock()
        self.progress = ProgressMonitor()
        self.progress.brokers.is_answering = True
        consumer = SimpleNamespace(memberid=lambda: OWN)
        self.worker = SimpleNamespace(progress=self.progress, partitions={}, consumer=consumer)
        settings = Settings(group_id="g", group_protocol=protocol)
        worker = cast("Worker", self.worker)
        self.check = MembershipCheck(worker, settings, self.describe, self.clock)

    def describe(self) -> GroupDescription | None:
        self.asked += 1
        return self.answer()

    def turn(self, seconds: float = INTERVAL_S) -> Exception | None:
        """Let time pass, ask if it is due, and take the answer."""
        self.clock.advance(seconds)
        self.check.poll()
        if (pending := self.check._answer) is not None:
            wait_until(pending.done, "it is answered")
        return self.check.poll()


def test_a_member_that_the_group_has_is_a_spare() -> None:
    w = World(lambda: group("other", OWN))
    joined = []
    for seconds in (INTERVAL_S - 1, INTERVAL_S, INTERVAL_S):
        assert w.turn(seconds) is None
        joined.append(w.progress.has_joined)
    assert joined == [False, True, True], "before an answer it is nothing"
    assert w.asked == 1, "what is known is not asked again"


@pytest.mark.parametrize(
    "answer", [group("other", protocol="classic"), GroupDescription("DEAD", ())]
)
def test_a_member_that_the_group_does_not_have_ends_with_the_reason(
    answer: GroupDescription,
) -> None:
    w = World(lambda: answer)
    for _ in range(round(MISSING_AFTER_S / INTERVAL_S)):
        assert w.turn() is None
    error = w.turn()
    assert isinstance(error, ConfigError)
    assert "use --group-protocol classic" in str(error)
    assert not w.progress.has_joined


def test_a_member_that_joins_late_begins_again() -> None:
    w = World(lambda: group("other", protocol="classic"))
    assert w.turn() is None
    w.worker.partitions[0] = object()
    assert w.turn(MISSING_AFTER_S) is None
    w.worker.partitions.clear()
    assert w.turn() is None, "it was a member meanwhile"


def test_brokers_that_have_the_protocol_are_not_taken_for_others() -> None:
    w = World(lambda: group("other"))
    for _ in range(20):
        assert w.turn() is None
    assert not w.progress.has_joined


def test_an_unanswered_question_begins_the_time_again() -> None:
    def silent() -> GroupDescription:
        raise UnavailableError("no answer")

    def missing() -> GroupDescription:
        return GroupDescription("DEAD", ())

    w = World(missing)
    for answer in (missing, silent, missing, missing):
        w.answer = answer
        assert w.turn(MISSING_AFTER_S - 1) is None


def test_a_coordinator_that_does_not_answer_says_nothing() -> None:
    def silent() -> GroupDescription:
        raise UnavailableError("no answer")

    w = World(silent)
    for _ in range(20):
        assert w.turn() is None
    assert not w.progress.has_joined
    w.answer = lambda: None  # brokers that cannot describe groups
    assert w.turn() is None
    assert not w.progress.has_joined


def test_nothing_is_asked_while_no_broker_answers() -> None:
    w = World(lambda: group(OWN))
    w.progress.brokers.is_answering = False
    assert w.turn() is None
    assert w.asked == 0


def test_a_denied_description_ends_it_and_a_defect_is_raised() -> None:
    def denied() -> GroupDescription:
        raise ConfigError("allow Describe")

    def broken() -> GroupDescription:
        raise ZeroDivisionError

    assert isinstance(World(denied).turn(), ConfigError)
    with pytest.raises(ZeroDivisionError):
        World(broken).turn()


def test_a_classic_group_answers_by_itself() -> None:
    w = World(lambda: group(OWN), "classic")
    assert w.turn() is None
    assert w.asked == 0
