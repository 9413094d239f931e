"""Sentences 9 and 10 of the promise in `dynatomic.worker`: bounded memory, and a named cause."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from dynatomic.errors import ConfigError, DynatomicError
from dynatomic.service.exit_conditions import RestartDecision
from dynatomic.worker.causes import Cause, Stall
from dynatomic.worker.health import STALLED_AFTER_S
from tests.support.clients import TOPIC, Clock
from tests.support.harness import world
from tests.support.log_records import logged
from tests.support.refusals import failing


def judged(answers: str, cause: Cause) -> tuple[list[bool], int]:
    """Return what `GiveUp` says every half minute, and how often it asked the brokers.

    An answer is ``+`` for one, ``-`` for none; with ``.`` nothing is stuck.
    """
    clock, asked, given = Clock(), list[str](), iter(answers.replace(".", ""))

    class Client:
        def list_topics(self, topic: str, timeout: float) -> None:
            assert (topic, timeout) == (TOPIC, 5.0)
            asked.append(topic)
            if next(given) == "-":
                raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    give_up = RestartDecision(Client(), TOPIC, clock)
    said = []
    for number, answer in enumerate(answers):
        stuck = None if answer == "." else Stall(cause, "none came", 1000.0 + number, 0)
        said.append(any([give_up.error_for(stuck), give_up.error_for(stuck)]))
        clock.advance(STALLED_AFTER_S)
    return said, len(asked)


@pytest.mark.parametrize(
    ("answers", "cause", "ends"),
    [
        ("--", Cause.FETCH_STOPPED, True),
        ("--", Cause.COMMITS_FAILING, True),
        ("-+-", Cause.FETCH_STOPPED, False),
        ("-.-", Cause.FETCH_STOPPED, False),
        ("++++++++++", Cause.FETCH_STOPPED, False),
        ("+++++++++++", Cause.FETCH_STOPPED, True),
        ("+++++.++++++", Cause.NEVER_ASSIGNED, False),
        ("+++++++++++++++", Cause.COMMITS_FAILING, False),
    ],
)
def test_promise_10_what_another_process_may_not_meet_is_given_up(
    answers: str, cause: Cause, *, ends: bool
) -> None:
    said, asked = judged(answers, cause)
    assert said == [False] * (len(answers) - 1) + [ends]
    assert asked == len(answers.replace(".", "")), "it asks once about each"


def test_promise_9_the_events_held_are_bounded_by_a_setting_not_by_the_backlog() -> None:
    with world(3) as w:
        member = w.worker(window_max_events=600)
        for number in range(3):
            w.emit(*["a"] * 800, partition=number)
        w.gate.close("hits")
        for _ in range(60):
            w.turn()
            assert member.events_held <= 600
        assert member.events_held >= 300, "it holds back far too early"
        w.gate.open()
        w.until(w.all_committed)
        assert w.counts() == {"a": 2400}


def test_promise_9_holds_when_a_window_is_one_short_of_full() -> None:
    with world(3) as w:
        member = w.worker(window_max_events=600)
        w.gate.close("hits")
        for number in range(3):
            w.emit(*["a"] * 49, partition=number)
            w.turn()
        for number in range(3):
            w.emit(*["a"] * 800, partition=number)
        for _ in range(60):
            w.turn()
            assert member.events_held <= 600
        w.gate.open()
        w.until(w.all_committed, step_s=1)


def test_promise_9_the_counters_held_are_bounded_by_a_setting_not_by_the_backlog() -> None:
    with world(3) as w:
        member = w.worker(window_max_counters=600)
        for number in range(3):
            w.emit(*(f"{number}-{i}" for i in range(800)), partition=number)
        w.gate.close("hits")
        for _ in range(60):
            w.turn()
            assert member.counters_held <= 600
        assert member.counters_held >= 300, "it holds back far too early"
        w.gate.open()
        w.until(w.all_committed)
        assert len(w.counts()) == 2400


def test_promise_9_the_dead_letters_held_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynatomic.worker.flow.MAX_LETTERS_PENDING", 50)
    with world(2) as w:
        member = w.worker(window_max_events=80)
        for _ in range(1000):
            w.put(b"bad", partition=0)
        w.emit(*["a"] * 100, partition=1)
        w.deliveries_held = True
        for _ in range(50):
            w.turn()
            w.advance(1)
        assert member.letters.pending <= 100
        assert w.committed(1) == 100, "the other partition was held back too"
        w.deliveries_held = False
        w.until(w.all_committed)
        assert len(w.letters()) == 1000


def test_promise_10_it_says_what_it_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    with world(4, ["hits", "slow"]) as w:
        w.worker()
        w.refuse = failing("AccessDeniedException", "slow")
        w.broker.faults.fail_deliveries(KafkaError._MSG_TIMED_OUT, 1000)
        w.emit("s", partition=0, table="slow")
        w.put(b"bad", partition=1)
        w.emit("h", partition=2)
        for _ in range(40):
            w.window()
        said = logged(caplog, "no progress")
        assert {f["partition"] for f in said} == {0, 1}, "it says nothing, or too much"
        causes = {f["partition"]: f["cause"] for f in said}
        assert causes[0].startswith("table slow: AccessDenied")
        assert causes[1] == "dead-letter topic: _MSG_TIMED_OUT"
        assert all(f["seconds"] >= STALLED_AFTER_S for f in said)
        assert len(said) <= 2 * 40 / STALLED_AFTER_S + 2, "it repeats itself"


def test_promise_10_it_says_that_no_commit_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    with world() as w:
        w.worker()
        w.broker.faults.fail_commits(KafkaError.COORDINATOR_NOT_AVAILABLE, 10_000)
        for _ in range(60):
            w.emit("a")
            w.window()
        assert w.committed() is None
        said = logged(caplog, "no progress")
        assert said
        assert said[0]["cause"] == "commit: COORDINATOR_NOT_AVAILABLE"


def test_promise_10_a_long_window_that_fills_is_no_stall(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with world() as w:
        w.worker(window_ms=120_000)
        w.emit("a")
        for _ in range(60):
            w.turn()
            w.advance(1)
        assert w.counts() == {}
        assert logged(caplog, "no progress") == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._FATAL, DynatomicError),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, ConfigError),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, ConfigError),
    ],
)
def test_promise_10_a_client_that_cannot_go_on_ends_the_loop(
    code: int, kind: type[DynatomicError]
) -> None:
    with world() as w:
        member = w.worker()
        w.emit("a")
        w.turn(2)
        w.broker.emit_error(member.consumer, code, topic=TOPIC, partition=0)
        w.asked.clear()
        with pytest.raises(kind) as caught:
            w.turn()
        assert type(caught.value) is kind
        assert w.asked == [], "committed after a fatal error"


def test_promise_10_other_errors_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with world() as w:
        member = w.worker()
        w.emit("a")
        w.turn()
        w.broker.emit_error(member.consumer, KafkaError._TRANSPORT, topic=TOPIC, partition=0)
        w.window()
        assert logged(caplog, "Kafka error") == [{"cause": "_TRANSPORT", "partition": 0}]
        assert w.committed() == 1


def test_a_member_without_a_partition_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "dynatomic")
    with world() as w:
        w.worker()
        w.worker()
        w.turn(3)
        w.advance(STALLED_AFTER_S)
        w.turn()
        (said,) = logged(caplog, "no partition assigned")
        assert said["cause"] == "the group has more members than the topic has partitions"
