"""The promise in `dynatomic.worker`, sentence by sentence, and the loop that keeps it."""

import os
import random
import signal
from collections.abc import Callable
from threading import Event
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from dynatomic.dead_letters.letter import HEADERS
from dynatomic.errors import ConfigError, DynatomicError
from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.service.exit_conditions import RestartDecision
from dynatomic.service.run import _loop
from dynatomic.service.signals import Signals
from dynatomic.testing.dynamodb.client import Request
from dynatomic.testing.dynamodb.responses import client_error
from dynatomic.worker.causes import Cause, Stall
from dynatomic.worker.health import STALLED_AFTER_S
from tests.support.harness import (
    GROUP,
    LETTERS,
    TOPIC,
    Clock,
    Member,
    World,
    headers_of,
    world,
    written,
)

Refuse = Callable[[Request], Exception | None]


def failing(code: str, *tables: str, status: int = 400) -> Refuse:
    """Refuse the writes to these tables, or to all."""

    def refuse(request: Request) -> Exception | None:
        if tables and written(request)[0] not in tables:
            return None
        return client_error(code, "", request.operation, status)

    return refuse


def logged(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    return [getattr(r, "fields", {}) for r in caplog.records if r.getMessage() == message]


# --- the promise -----------------------------------------------------------------------------


def test_promise_1_an_offset_is_committed_only_when_all_below_it_is_added_or_stored() -> None:
    with world() as w:
        w.spoil("odd")
        w.worker()
        w.emit("a", "b")
        w.put(b"\x02bad")
        w.emit("odd", "a")
        w.gate.close("hits")
        w.deliveries_held = True
        w.window()
        w.advance(10)
        w.turn(3)
        assert w.sent, "the window was never sent"
        assert w.committed() is None, "committed before the write was settled"
        w.gate.open()
        w.turn(5)
        assert w.counts() == {"a": 2, "b": 1}
        assert w.committed() is None, "committed before the dead letters were stored"
        w.deliveries_held = False
        w.turn(3)
        assert w.committed() == 5
        assert sorted(w.letters()) == [(0, 2), (0, 3)]


def test_promise_1_holds_for_a_batch_that_reaches_the_end_of_its_partition() -> None:
    # The end is an event of its own and may come in the same batch as the messages before it.
    with world() as w:
        w.worker()
        w.emit("a", "b")
        w.gate.close("hits")
        w.turn(3)
        assert w.asked.count(("commit", {0: 2})) == 0
        w.gate.open()
        w.window()
        assert w.committed() == 2


def test_promise_1_holds_for_one_failed_statement_of_a_batch() -> None:
    with world() as w:
        w.emit(*(f"k{i}" for i in range(20)))
        w.worker()
        throttled = {"k7"}

        def refuse(request: Request) -> Exception | None:
            _, keys = written(request)
            return client_error("ThrottlingException", "", "x") if throttled & keys.keys() else None

        w.refuse = refuse
        w.window()
        for _ in range(10):
            w.advance(5)
            w.turn()
        assert w.committed() is None
        throttled.clear()
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {f"k{i}": 1 for i in range(20)}


def test_promise_2_a_write_of_unknown_outcome_is_sent_again_never_left_out() -> None:
    with world() as w:
        w.worker()
        w.emit("a", "a", "b")
        w.lose_answers()
        w.window()
        assert w.committed() is None
        w.lose_answers(lost=False)
        w.until(w.all_committed, step_s=1)
        counts = w.counts()
        assert counts["a"] in {2, 4}
        assert counts["b"] in {1, 2}


def test_promise_2_what_a_killed_consumer_had_not_committed_is_counted_by_the_next() -> None:
    with world() as w:
        first = w.worker()
        w.emit("a", "a", "b")
        w.turn(3)  # read, not yet written
        first.kill()
        w.worker()
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 2, "b": 1}


@pytest.mark.no_cover  # as all tests of many examples: see conftest
@pytest.mark.parametrize("seed", range(40))
def test_promise_2_no_event_is_ever_missing_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test's schedule
    with world(4) as w:
        w.spoil("odd")
        for _ in range(3):
            w.worker(window_ms=100, window_max_events=chance.choice([8, 1000]))
        for _ in range(120):
            _something_happens(w, chance)
            w.advance(chance.choice([0, 0, 0.05, 0.3, 5]))
            w.turn()
        _all_is_well(w)
        w.worker()
        w.until(w.all_committed, step_s=0.5)
        for (table, key), total in w.expected().items():
            assert key == "odd" or w.counts(table)[key] >= total
        bad = {place for place, row in w.emitted.items() if row is None or row.key == "odd"}
        assert set(w.letters()) == bad


def _something_happens(w: World, chance: random.Random) -> None:
    alive = [m for m in w.members if m.alive]
    match chance.randrange(14):
        case 0 | 1 | 2 | 3:
            number = chance.randrange(4)
            w.emit(*chance.choices(["a", "b", "c", "d", "odd"], k=7), partition=number)
        case 4:
            w.put(b"bad", partition=chance.randrange(4))
        case 5:
            w.refuse = failing(chance.choice(["ThrottlingException", "InternalServerError"]))
        case 6:
            w.lose_answers()
        case 7:
            w.broker.faults.fail_commits(KafkaError.REBALANCE_IN_PROGRESS, chance.randrange(3))
        case 8:
            w.broker.faults.fail_deliveries(KafkaError._MSG_TIMED_OUT, chance.randrange(4))
        case 9:
            chance.choice(alive).expire()
        case 10 if len(alive) > 1:
            chance.choice(alive).kill()
        case 11 if len(alive) < 4:
            w.worker(window_ms=100)
        case _:
            _all_is_well(w)


def _all_is_well(w: World) -> None:
    w.refuse = None
    w.lose_answers(lost=False)
    w.broker.faults.commits.clear()
    w.broker.faults.deliveries.clear()


def test_promise_4_one_window_at_a_time_is_in_flight_and_they_are_applied_in_order() -> None:
    with world() as w:
        w.worker()
        w.gate.close("hits")
        w.emit("first")
        w.window()
        for i in range(5):
            w.emit(f"later-{i}")
            w.window()
        assert w.sent == [{"first": 1}], "a second window was sent before the first was settled"
        assert w.gate.held == 1
        w.gate.open()
        w.until(w.all_committed, step_s=1)
        later = {f"later-{i}": 1 for i in range(5)}
        # Each goes as an update, and as an insert because the item is not there yet.
        assert w.sent == [{"first": 1}, {"first": 1}, later, later]
        assert w.counts() == {"first": 1, **later}


def test_promise_4_a_window_waits_for_every_retry_of_the_one_before() -> None:
    with world() as w:
        w.worker()
        w.refuse = failing("ThrottlingException")
        w.emit("a")
        w.window()
        w.emit("a", incr=10)
        for _ in range(10):
            w.advance(5)
            w.turn()
        assert {frozenset(s.items()) for s in w.sent} == {frozenset({("a", 1)})}
        w.refuse = None
        w.until(w.all_committed, step_s=5)
        assert w.counts() == {"a": 11}


def test_promise_5_a_throttled_table_never_stops_another_partition() -> None:
    with world(2, ["hits", "slow"]) as w:
        w.worker(window_max_events=40)
        w.refuse = failing("ThrottlingException", "slow")
        for _ in range(10):
            w.emit(*["s"] * 10, partition=0, table="slow")
            w.emit(*["h"] * 10, partition=1)
            w.window()
            w.advance(5)
        assert w.committed(0) is None
        assert w.committed(1) == 100
        assert w.counts() == {"h": 100}
        w.refuse = None
        w.until(w.all_committed, step_s=5)
        assert w.counts("slow") == {"s": 100}


def test_promise_5_a_table_whose_requests_hang_never_stops_another_partition() -> None:
    with world(2, ["hits", "slow"]) as w:
        w.worker()
        w.gate.close("slow")
        w.emit("s", partition=0, table="slow")
        w.emit("h", partition=1)
        w.window()
        assert (w.committed(0), w.committed(1)) == (None, 1)


def test_promise_5_a_dead_letter_topic_that_refuses_stops_only_who_has_a_bad_row() -> None:
    with world(2) as w:
        w.worker()
        w.broker.faults.fail_deliveries(KafkaError._MSG_TIMED_OUT, 1000)
        w.put(b"bad", partition=0)
        for _ in range(5):
            w.emit("a", partition=0)
            w.emit("b", partition=1)
            w.window()
        assert (w.committed(0), w.committed(1)) == (None, 5)


def test_promise_6_a_lost_partition_is_dropped() -> None:
    with world(2) as w:
        first = w.worker()
        w.turn(2)
        w.refuse = failing("ThrottlingException")
        w.emit("a", "b")
        w.window()  # one window in flight
        w.emit("c")
        w.turn()  # one that fills
        w.broker.faults.commits.clear()
        w.asked.clear()
        w.sent.clear()
        first.expire()
        first.turn()
        assert first.events_held == 0
        w.refuse = None
        first.alive = False  # it stays, but reads nothing more
        for _ in range(5):
            w.advance(5)
            first.quiet()
        assert w.sent == [], "a lost partition was written"
        assert [what for what, _ in w.asked if what == "commit"] == []
        assert w.counts() == {}


def test_promise_6_a_settled_window_of_a_lost_partition_is_not_committed() -> None:
    with world() as w:
        first = w.worker()
        w.emit("a")
        w.gate.close("hits")
        w.window()
        w.gate.open()
        first.quiet()  # settled, and the worker has not looked yet
        first.expire()
        w.asked.clear()
        w.turn()
        assert not [what for what, _ in w.asked if what == "commit"]


def test_promise_6_a_revoked_partition_is_finished_first() -> None:
    with world(2) as w:
        first = w.worker(window_ms=60_000)
        w.emit("a", "a", partition=0)
        w.emit("b", "b", partition=1)
        w.turn(3)
        assert w.sent == []
        second = w.worker(window_ms=60_000)
        w.until(lambda: len(second.owned) == 1)
        (moved,) = second.owned
        assert first.owned == [1 - moved]
        assert w.committed(moved) == 2, "the revoked partition was not finished"
        assert w.committed(1 - moved) is None, "the one that stays was not due"
        w.until(w.all_committed, step_s=10)
        assert w.counts() == {"a": 2, "b": 2}, "an event was counted twice, or not"


def test_promise_6_a_revoked_window_in_flight_is_finished_first() -> None:
    with world(2) as w:
        w.worker()
        w.gate.close("hits")
        w.emit("a", partition=0)
        w.emit("b", partition=1)
        w.window()
        w.emit("a", partition=0)
        w.emit("b", partition=1)
        w.turn()
        second = w.worker()
        w.clock.watchers.append(w.gate.open)  # the answers come while the revocation waits
        w.until(lambda: len(second.owned) == 1)
        assert w.committed(second.owned[0]) == 2
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 2, "b": 2}


def test_promise_6_a_revoked_partition_is_finished_within_a_bound() -> None:
    with world(2, ["hits", "slow"]) as w:
        w.worker(shutdown_timeout_ms=7_000)
        w.refuse = failing("ThrottlingException", "slow")
        w.emit("s", partition=0, table="slow")
        w.emit("s", partition=1, table="slow")
        w.window()
        began = w.clock()
        second = w.worker()
        w.until(lambda: len(second.owned) == 1)
        assert 7 <= w.clock() - began < 8
        assert w.committed(second.owned[0]) is None
        w.refuse = None
        w.until(w.all_committed, step_s=1)
        assert w.counts("slow") == {"s": 2}, "what was dropped was written after all"


def good(key: str) -> bytes:
    return encode(Row("hits", key))


BAD = {
    "empty-payload": b"",
    "undecodable": b"\x08hits\xff\xff",
    "trailing-bytes": good("a") + b"!",
    "registry-framed": b"\x00\x00\x00\x00\x07" + good("a"),
    "table-not-allowed": encode(Row("others", "a")),
    "range-unexpected": encode(Row("hits", "a", "r")),
    "counter-name": encode(Row("hits", "a", None, "pk")),
    "incr-out-of-bounds": encode(Row("hits", "a", incr=1001)),
}


@pytest.mark.parametrize("reason", BAD)
def test_promise_7_a_bad_row_goes_to_the_dead_letters_and_miscounts_no_other(reason: str) -> None:
    with world(2) as w:
        w.worker(max_incr=1000)
        w.emit("a")
        w.put(BAD[reason], key=b"its key", headers=[("trace", b"\x00\xff"), ("none", None)])
        w.emit("a", "b")
        w.emit("a", partition=1)
        w.window()
        assert w.counts() == {"a": 3, "b": 1}
        assert (w.committed(0), w.committed(1)) == (4, 1)
        (found,) = w.broker.messages(LETTERS)
        assert found.value() == BAD[reason]
        assert found.key() == b"its key"
        assert cast("list[Any]", found.headers())[:2] == [("trace", b"\x00\xff"), ("none", None)]
        headers = headers_of(found)
        assert headers["dynatomic.detail"]
        assert {name: text for name, text in headers.items() if name in HEADERS[:4]} == {
            "dynatomic.topic": TOPIC,
            "dynatomic.partition": "0",
            "dynatomic.offset": "1",
            "dynatomic.reason": reason,
        }


def test_promise_8_sigterm_finishes_the_open_windows_commits_leaves_the_group_and_exits_0() -> None:
    with world(2) as w:
        member = w.worker(window_ms=60_000)
        w.emit("a", "a", partition=0)
        w.emit("b", partition=1)
        w.turn(3)
        assert (w.sent, w.committed(0), w.committed(1)) == ([], None, None)
        assert _stopped(member) == 0
        assert w.counts() == {"a": 2, "b": 1}
        assert (w.committed(0), w.committed(1)) == (2, 1)
        assert member.consumer.closed
        assert w.broker.group(GROUP).members == []


def _stopped(member: Member) -> int:
    """Run the loop of ``dynatomic run`` with a signal that has come already."""
    with Signals(1.0) as signals:
        signals.stop.set()
        return _loop(member.worker, member.worker.settings, signals, once=False, dry_run=False)


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


@pytest.mark.parametrize("finished", [True, False])
def test_promise_10_the_process_finishes_first_what_it_has(
    finished: bool,  # noqa: FBT001 - a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bounded: list[int] = []
    with world() as w, Signals(1.0) as signals:
        member = w.worker(window_ms=60_000)
        w.emit("a", "b")
        w.turn(4)
        if not finished:
            w.refuse = failing("ThrottlingException")
        member.worker.progress.client_stall = Stall(Cause.FETCH_STOPPED, "none came", 31.0, 0)
        monkeypatch.setattr("dynatomic.service.run.topic_partitions", lambda *_: [0])
        monkeypatch.setattr("dynatomic.service.exit_conditions.MAX_UNANSWERED", 1)
        monkeypatch.setattr("dynatomic.service.exit_conditions.has_brokers", lambda *_: False)
        monkeypatch.setattr(signals, "bound", lambda: bounded.append(1))
        with pytest.raises(DynatomicError, match="no progress for 31 s"):
            _loop(member.worker, member.worker.settings, signals, once=False, dry_run=False)
        assert bounded, "nothing ends it if it hangs"
        assert "ends for want of progress" in caplog.messages
        assert w.counts() == ({"a": 1, "b": 1} if finished else {})
        assert w.committed() == (2 if finished else None)
        assert member.consumer.closed
        unfinished = "windows not finished within the bound; their events will be read again"
        assert (unfinished in caplog.messages) is not finished


def test_promise_8_the_bound_is_kept_and_the_exit_code_tells() -> None:
    with world(2, ["hits", "slow"]) as w:
        member = w.worker(shutdown_timeout_ms=9_000)
        w.refuse = failing("ThrottlingException", "slow")
        w.emit("s", partition=0, table="slow")
        w.emit("h", partition=1)
        w.turn(3)
        began = w.clock()
        assert _stopped(member) == 1
        assert 4.5 <= w.clock() - began < 9, "half the bound is for the windows, half to leave"
        assert member.consumer.closed
        assert (w.committed(0), w.committed(1)) == (None, 1)


def test_promise_8_a_window_that_cannot_be_written_is_not_called_finished() -> None:
    with world() as w:
        member = w.worker(shutdown_timeout_ms=9_000)
        w.turn(4)
        w.refuse = failing("ThrottlingException")
        w.emit("a")
        w.window()
        assert member.worker.shut_down() is False
        assert w.committed() == 0


def test_promise_8_what_is_settled_is_committed_although_another_partition_cannot_be() -> None:
    # A commit is unanswered when the signal comes, as it usually is under load.
    with world(2, ["hits", "slow"]) as w:
        member = w.worker(shutdown_timeout_ms=9_000)
        w.refuse = failing("ThrottlingException", "slow")
        w.emit("s", partition=0, table="slow")
        w.emit("h", partition=1)
        w.broker.faults.answers_held = True
        w.window()
        assert w.committed(1) == 1
        w.emit("h", partition=1)
        w.turn()
        assert member.worker.shut_down() is False
        assert w.counts() == {"h": 2}
        assert w.committed(1) == 2, "it is counted, and will be counted again"


def test_promise_8_a_commit_that_is_never_answered_ends_at_the_bound() -> None:
    with world() as w:
        member = w.worker(shutdown_timeout_ms=9_000)
        w.emit("a")
        w.turn(2)
        w.broker.faults.answers_held = True
        began = w.clock()
        assert member.worker.shut_down() is False
        assert 4.5 <= w.clock() - began < 9, "half the bound is for the windows, half to leave"


def test_promise_8_a_second_signal_exits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    forced = Event()

    def leave(code: int) -> None:
        codes.append(code)
        forced.set()

    monkeypatch.setattr("dynatomic.service.signals.os._exit", leave)
    with Signals(3600.0) as signals:  # the bound would end the tests themselves
        signals.ready()
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.stop.wait(20)
        assert codes == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert forced.wait(20)
    assert codes == [128 + signal.SIGTERM]


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


def test_promise_10_a_long_window_that_fills_is_no_trouble(
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


# --- windows ---------------------------------------------------------------------------------


def test_the_next_window_fills_while_the_last_one_is_written() -> None:
    with world() as w:
        member = w.worker()
        w.gate.close("hits")
        w.emit("a")
        w.window()
        w.emit(*["a"] * 50)
        w.turn(2)
        assert member.events_held == 51
        assert w.sent == [{"a": 1}]
        w.advance(1)
        w.gate.open()
        w.turn(3)
        assert w.sent[-1] == {"a": 50}, "it was not sent as soon as the one before was settled"


def test_a_window_ends_by_its_age() -> None:
    with world() as w:
        w.worker(window_ms=500)
        w.emit("a")
        w.turn(2)
        w.advance(0.3)
        w.emit("a")
        w.turn()
        assert w.sent == []
        w.advance(0.2)
        w.turn()
        assert w.sent[0] == {"a": 2}


@pytest.mark.parametrize("setting", ["window_max_events", "window_max_counters"])
def test_a_full_window_ends_early(setting: str) -> None:
    with world(2) as w:
        w.worker(window_ms=60_000, **cast("Any", {setting: 80}))
        w.emit(*(f"k{i}" for i in range(9)))
        w.turn(4)
        assert w.sent == [], "an eighth of 80 is its share: two windows a partition, and a poll"
        w.emit("k9")
        w.turn()
        assert w.sent


def test_a_partition_that_was_paused_is_read_when_it_is_given_back() -> None:
    with world(2) as w:
        first = w.worker(window_max_events=40)
        w.gate.close("hits")
        w.emit(*["a"] * 60, partition=0)
        w.emit(*["b"] * 60, partition=1)
        w.window()
        w.turn(5)
        assert [entry for entry in w.asked if entry[0] == "pause"] == [
            ("pause", [0]),
            ("pause", [1]),
        ]
        second = w.worker(window_max_events=40)
        w.until(lambda: len(first.owned) == len(second.owned) == 1, step_s=1)
        second.kill()
        w.broker.expire(second.consumer)
        w.gate.open()
        w.until(w.all_committed, step_s=1)
        assert all(n >= 60 for n in w.counts().values())


def test_only_the_partition_that_waits_is_paused_and_it_is_resumed() -> None:
    with world(3, ["hits", "slow"]) as w:
        w.worker(window_max_events=60)
        w.gate.close("slow")
        w.emit(*["s"] * 50, partition=1, table="slow")
        w.window()
        for _ in range(20):
            w.emit("h", partition=0)
            w.emit("h", partition=2)
            w.window()
        assert [entry for entry in w.asked if entry[0] in {"pause", "resume"}] == [("pause", [1])]
        assert (w.committed(0), w.committed(1), w.committed(2)) == (20, None, 20)
        w.gate.open()
        w.until(w.all_committed, step_s=1)
        assert ("resume", [1]) in w.asked
        assert w.counts("slow") == {"s": 50}


def test_single_writes_are_counted_too() -> None:
    with world() as w:
        w.worker(write_mode="single")
        w.emit("a", "a", "b")
        w.window()
        assert w.counts() == {"a": 2, "b": 1}
        assert w.committed() == 3
        assert w.dynamodb.requests["BatchExecuteStatement"] == 0


# --- rebalances ------------------------------------------------------------------------------


def test_messages_of_a_partition_that_is_not_owned_are_dropped() -> None:
    with world(2) as w:
        member = w.worker()
        w.emit("a", partition=0)
        w.emit("b", partition=1)
        w.turn()
        member.worker._abandon([0])  # its messages may still be on their way
        w.emit("a", partition=0)
        w.put(b"bad", partition=0)
        w.window()
        assert w.counts() == {"b": 1}
        assert w.letters() == {}
        assert (w.committed(0), w.committed(1)) == (None, 1)


def test_a_partition_that_is_revoked_and_assigned_again_goes_on_where_it_was() -> None:
    with world(2) as w:
        first = w.worker()
        w.turn(2)
        for _ in range(4):
            w.emit("a", "a", partition=0)
            w.emit("b", partition=1)
            w.turn()
            second = w.worker()
            w.until(lambda member=second: len(member.owned) == 1)  # type: ignore[misc]
            w.emit("a", partition=0)
            w.turn()
            second.alive = False
            assert second.worker.shut_down()
            w.until(lambda: first.owned == [0, 1])
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 12, "b": 4}


def test_a_partition_that_is_lost_and_assigned_again_begins_anew() -> None:
    with world() as w:
        first = w.worker()
        w.gate.close("hits")
        w.emit("a")
        w.window()
        w.emit("b")
        w.turn()
        first.expire()
        w.turn(2)
        assert first.owned == [0]
        w.gate.open()
        w.until(w.all_committed, step_s=1)
        # The request that was on its way when it was lost cannot be called back.
        assert w.counts() == {"a": 2, "b": 1} or w.counts() == {"a": 1, "b": 1}


def test_the_answer_to_a_commit_of_a_former_ownership_changes_nothing() -> None:
    with world() as w:
        first = w.worker()
        w.emit("a")
        w.broker.faults.answers_held = True
        w.window()
        first.expire()
        w.turn(2)
        w.broker.faults.answers_held = False
        w.emit("b")
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 1, "b": 1}


def test_partitions_added_later_begin_at_the_beginning() -> None:
    with world() as w:
        w.worker()
        w.emit("a")
        w.window()
        w.broker.create_topic(TOPIC, 3)
        w.emit("a", "b", partition=2)  # before the group has seen the partition
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 2, "b": 1}


def test_a_revocation_never_assigns(monkeypatch: pytest.MonkeyPatch) -> None:
    with world(2) as w:
        first = w.worker()

        def no_answer(*_args: object, **_named: object) -> None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

        monkeypatch.setattr(first.consumer, "committed", no_answer)
        w.turn(2)  # no partition knows yet where to begin
        monkeypatch.undo()
        w.worker().turn()  # joins, so that the next turn of the first one is a revocation
        w.emit("a", partition=0)
        w.emit("a", partition=1)
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 2}


def test_partitions_can_be_read_without_the_group() -> None:
    with world(2) as w:
        member = w.worker(join=False, commits=False)
        w.emit("old", "a", partition=1)
        member.worker.assign([TopicPartition(TOPIC, 1, 1)])
        w.window()
        assert w.counts() == {"a": 1}
        assert w.broker.group(GROUP).members == []
        assert w.committed(1) is None


# --- the end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["assigned", "revoked", "lost"])
def test_a_callback_that_raises_is_raised_by_tick_and_nothing_is_committed_after(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(2) as w:
        member = w.worker()
        if what != "assigned":
            w.turn(2)

        def tell(said: str, _places: object) -> None:
            if said == what:
                raise LookupError("a defect")

        monkeypatch.setattr(member.worker, "_log_rebalance", tell)
        w.emit("a", partition=0)
        w.emit("a", partition=1)
        if what == "revoked":
            second = w.worker()
            second.turn()
        if what == "lost":
            member.expire()
        _raises_and_commits_nothing_after(w, member, LookupError)


def _raises_and_commits_nothing_after(w: World, member: Member, kind: type[BaseException]) -> None:
    with pytest.raises(kind, match="a defect"):
        _turns(member, 3)
    w.asked.clear()
    with pytest.raises(kind, match="a defect"):
        member.turn()
    member.worker.close()
    assert [what for what, _ in w.asked if what == "commit"] == []
    assert member.consumer.closed


def _turns(member: Member, times: int) -> None:
    for _ in range(times):
        member.turn()


def test_a_commit_callback_that_raises_is_raised_by_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    with world() as w:
        member = w.worker()

        def answered(*_args: object) -> None:
            raise LookupError("a defect")

        monkeypatch.setattr(member.offsets, "on_commit_result", answered)
        w.emit("a")
        with pytest.raises(LookupError, match="a defect"):
            w.window()
        w.asked.clear()
        member.worker.close()
        assert w.asked == []


def test_after_an_exception_what_is_settled_is_not_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with world() as w:
        member = w.worker()
        w.emit("a")
        w.turn(3)
        w.asked.clear()
        w.advance(1)
        w.turn()  # sent, and settled, but not yet looked at
        assert w.counts() == {"a": 1}

        def consume(*_args: object) -> None:
            raise KafkaException(KafkaError(KafkaError._STATE))

        monkeypatch.setattr(member.consumer, "consume", consume)
        with pytest.raises(KafkaException):
            member.turn()
        member.worker.close()
        assert w.asked == []
        assert w.committed() is None


def test_the_failure_of_a_writers_thread_ends_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    with world(2) as w:
        member = w.worker()

        def execute(*_args: object) -> None:
            raise LookupError("a defect")

        monkeypatch.setattr(member.writer, "_execute", execute)
        w.emit("a")
        w.turn(2)
        w.advance(1)
        member.turn()
        _raises_and_commits_nothing_after(w, member, LookupError)
        assert w.committed() is None


def test_the_failure_of_a_writers_thread_ends_a_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    with world() as w:
        member = w.worker()

        def execute(*_args: object) -> None:
            raise LookupError("a defect")

        monkeypatch.setattr(member.writer, "_execute", execute)
        w.emit("a")
        w.turn(2)
        with pytest.raises(LookupError, match="a defect"):
            member.worker.shut_down()
        assert member.consumer.closed
        assert w.committed() is None


def test_close_leaves_the_group_at_once_and_commits_nothing() -> None:
    with world() as w:
        member = w.worker()
        w.emit("a")
        w.turn(2)
        w.asked.clear()
        member.worker.close()
        member.alive = False
        assert member.consumer.closed
        assert w.asked == []
        assert w.sent == []
        w.worker()
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 1}


def test_shutting_down_with_nothing_to_finish_is_done_at_once() -> None:
    with world() as w:
        members = [w.worker(), w.worker()]
        w.until(lambda: [0] in [m.owned for m in members])
        w.turn(3)
        before = w.clock()
        assert all(m.worker.shut_down() for m in members)
        assert w.clock() == before


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
