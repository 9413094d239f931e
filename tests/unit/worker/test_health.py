"""Whether a worker makes progress, and the cause it names if not."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from dynatomic.dynamodb.writer import LONGEST_UNKNOWN_PAUSE_S
from dynatomic.service.end_offsets import EndOffsetPoller
from dynatomic.worker.brokers import BrokerView
from dynatomic.worker.causes import Cause
from dynatomic.worker.health import STALLED_AFTER_S
from tests.support.clients import TOPIC
from tests.support.harness import World, world
from tests.support.health_checks import (
    AFTER_S,
    fetch_stopped,
    live,
    never_fetched,
    no_answer,
    silence,
    status_of,
)
from tests.support.member import Member
from tests.support.refusals import failing


def broker_down(w: World, _member: Member, _patch: pytest.MonkeyPatch) -> None:
    w.window()
    w.broker.faults.down = True


def offset_unknown(w: World, member: Member, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(member.consumer, "committed", no_answer)
    w.emit("a")


def topic_unknown(w: World, _member: Member, _patch: pytest.MonkeyPatch) -> None:
    w.topic_id_held = True
    w.emit("a")


def refusing(code: str, status: int = 400) -> Callable[[World, Member, pytest.MonkeyPatch], None]:
    def begin(w: World, _member: Member, _patch: pytest.MonkeyPatch) -> None:
        w.refuse = failing(code, status=status)
        w.emit("a")

    return begin


def letters_down(w: World, _member: Member, _patch: pytest.MonkeyPatch) -> None:
    w.broker.faults.fail_deliveries(KafkaError._MSG_TIMED_OUT, 10_000)
    w.put(b"bad")


def commits_failing(w: World, _member: Member, _patch: pytest.MonkeyPatch) -> None:
    w.broker.faults.fail_commits(KafkaError.COORDINATOR_NOT_AVAILABLE, 10_000)
    w.emit("a")


def stopped(w: World, member: Member, _patch: pytest.MonkeyPatch) -> None:
    w.emit("a", "b")
    w.window()
    w.broker.delete_before(TOPIC, 0, 2)
    member.worker.partitions[0].stop_reason = f"{TOPIC}:0 no longer has the offset 1"


TROUBLES: dict[Cause, Callable[[World, Member, pytest.MonkeyPatch], None]] = {
    Cause.NEVER_FETCHED: never_fetched,
    Cause.FETCH_STOPPED: fetch_stopped,
    Cause.BROKER_DOWN: broker_down,
    Cause.OFFSET_UNKNOWN: offset_unknown,
    Cause.TOPIC_UNKNOWN: topic_unknown,
    Cause.TABLE_THROTTLED: refusing("ProvisionedThroughputExceededException"),
    Cause.TABLE_REFUSED: refusing("AccessDeniedException"),
    Cause.TABLE_FAILING: refusing("InternalServerError", 500),
    Cause.DEAD_LETTERS_DOWN: letters_down,
    Cause.COMMITS_FAILING: commits_failing,
    Cause.PARTITION_STOPPED: stopped,
}


@pytest.mark.parametrize("cause", TROUBLES, ids=lambda cause: cause.word)
def test_promise_10_it_never_looks_healthy_while_it_is_stuck(
    cause: Cause, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world() as w:
        member = w.worker()
        if cause not in {Cause.NEVER_FETCHED, Cause.OFFSET_UNKNOWN}:
            assert live(w, member, 3) == []
        with monkeypatch.context() as patch:
            TROUBLES[cause](w, member, patch)
            assert live(w, member) == [cause.word]
        if cause is Cause.PARTITION_STOPPED:
            return
        _mend(w)
        w.emit("after")
        w.until(w.all_committed, step_s=1)
        assert live(w, member, 10) == [], "it stays red although it continues"


def _mend(w: World) -> None:
    w.refuse = None
    w.topic_id_held = w.broker.faults.down = False
    w.broker.faults.commits.clear()
    w.broker.faults.deliveries.clear()


def test_promise_10_a_loop_that_hangs_is_seen_from_the_outside() -> None:
    with world() as w:
        member = w.worker()
        assert live(w, member, 3) == []
        w.advance(AFTER_S - 1)
        assert status_of(member).stalls() == ()
        w.advance(1)
        (found,) = status_of(member).stalls()
        assert (found.cause, found.partition, found.seconds) == (Cause.LOOP_HANGS, None, AFTER_S)
        w.turn()
        assert status_of(member).stalls() == ()


def test_promise_10_a_member_that_never_joins_is_told_from_a_spare_one() -> None:
    with world() as w:
        first = w.worker()
        outside = w.worker(join=False)
        spare = w.worker()
        causes = {}
        for _ in range(int(AFTER_S) + 10):
            w.advance(1)
            w.turn()
            for each in w.members:
                status_of(each).after_tick()
        for name, each in (("first", first), ("outside", outside), ("spare", spare)):
            causes[name] = [stuck.cause.word for stuck in status_of(each).stalls()]
        assert causes == {"first": [], "outside": ["never-assigned"], "spare": []}
        assert [status_of(each).ready for each in (first, outside, spare)] == [True, False, True]


def clients_own(member: Member) -> Cause | None:
    found = member.worker.progress.client_stall
    return None if found is None else found.cause


@pytest.mark.parametrize("cause", [*TROUBLES, Cause.NEVER_ASSIGNED], ids=lambda cause: cause.word)
def test_promise_10_it_knows_what_its_own_client_may_be_to_blame_for(
    cause: Cause, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {Cause.NEVER_ASSIGNED, Cause.NEVER_FETCHED, Cause.FETCH_STOPPED, Cause.OFFSET_UNKNOWN}
    own.add(Cause.COMMITS_FAILING)
    with world() as w:
        member = w.worker(join=cause is not Cause.NEVER_ASSIGNED)
        with monkeypatch.context() as patch:
            if cause not in {Cause.NEVER_FETCHED, Cause.OFFSET_UNKNOWN}:
                live(w, member, 3)
            if cause in TROUBLES:
                TROUBLES[cause](w, member, patch)
            live(w, member, STALLED_AFTER_S - 5)
            assert clients_own(member) is None
            assert live(w, member) == [cause.word]
            assert clients_own(member) is (cause if cause in own else None)
        if cause is Cause.NEVER_ASSIGNED:
            member.worker.subscribe()
        _mend(w)
        w.emit("after")
        live(w, member, STALLED_AFTER_S + LONGEST_UNKNOWN_PAUSE_S + 5)
        assert clients_own(member) is None, "it continues, and is not given up"


def test_promise_10_a_spare_that_the_group_forgets_is_no_spare_any_more() -> None:
    with world() as w:
        member = w.worker()
        assert live(w, member, 3) == []
        assert status_of(member).ready
        worker = member.worker
        worker._on_revoke(None, [TopicPartition(TOPIC, 0)])
        assert not status_of(member).ready
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(member.consumer, "consume", silence)
            assert live(w, member) == ["never-assigned"]
        worker._on_assign(None, [])
        assert live(w, member, 2) == []
        assert status_of(member).ready


def test_promise_10_letters_that_cannot_be_stored_are_seen_before_the_window_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dynatomic.worker.flow.MAX_LETTERS_PENDING", 50)
    with world() as w:
        member = w.worker(window_ms=3_600_000)
        w.deliveries_held = True
        for _ in range(100):
            w.put(b"bad")
        w.turn(3)
        w.put(b"bad")
        assert live(w, member) == ["dead-letter-topic-down"]
        w.deliveries_held = False
        assert live(w, member, 5) == []


def test_promise_10_nothing_is_said_before_the_loop_began() -> None:
    with world() as w:
        member = w.worker(join=False)
        w.advance(5_000)
        assert status_of(member).stalls() == ()


def test_promise_10_a_spare_is_logged_once_and_a_member_without_an_answer_is_a_stall(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "dynatomic")
    with world() as w:
        w.worker()
        spare = w.worker()
        live(w, spare, 200)
        (said,) = [r for r in caplog.records if r.getMessage() == "no partition assigned"]
        assert said.levelname == "INFO"
        caplog.clear()
        outside = w.worker(join=False)
        live(w, outside, 100)
        errors: list[Any] = [r for r in caplog.records if r.levelname != "INFO"]
        causes = {(r.getMessage(), r.fields["why"]) for r in errors}
        assert causes == {("no progress", "never-assigned")}


def test_promise_10_a_long_window_that_fills_and_a_backlog_are_no_stall() -> None:
    with world(2) as w:
        member = w.worker(window_ms=300_000)
        w.emit("a")
        assert live(w, member, 200) == []
        assert w.counts() == {}


def test_promise_10_one_stalled_partition_is_enough_and_is_named() -> None:
    with world(2, ["hits", "slow"]) as w:
        member = w.worker()
        w.refuse = failing("ThrottlingException", "slow")
        w.emit("s", partition=0, table="slow")
        for _ in range(int(AFTER_S) + 10):
            w.emit("h", partition=1)
            w.window()
            status_of(member).after_tick()
        (found,) = status_of(member).stalls()
        assert (found.cause, found.partition) == (Cause.TABLE_THROTTLED, 0)
        assert found.detail == "table slow: Throttling"


@pytest.mark.parametrize(
    ("code", "silent"),
    [
        (KafkaError._TIMED_OUT, True),
        (KafkaError._TRANSPORT, True),
        (KafkaError._UNSUPPORTED_FEATURE, False),
        (KafkaError.COORDINATOR_NOT_AVAILABLE, False),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, False),
    ],
)
def test_brokers_are_down_only_when_none_answers(code: int, *, silent: bool) -> None:
    now = [100.0]
    failed: Future[Any] = Future()
    failed.set_exception(KafkaException(KafkaError(code)))
    brokers = BrokerView()
    ends = EndOffsetPoller(
        brokers,
        lambda numbers: dict.fromkeys(numbers or (-1,), failed),
        lambda _: {},
        clock=lambda: now[0],
    )
    for numbers in ((), (0, 1)):
        for _ in range(3):
            now[0] += 10
            ends.poll(numbers)
        assert (brokers.silent_s(now[0]) > 0) is silent


def test_a_consumer_that_shuts_down_is_live_and_not_ready() -> None:
    with world() as w:
        member = w.worker()
        w.refuse = failing("ThrottlingException")
        w.emit("a")
        assert live(w, member) == ["table-throttled"]
        status_of(member).stopping = True
        assert status_of(member).stalls() == ()
        assert not status_of(member).ready
