"""Sentences 1, 2 and 4 of the promise in `dynatomic.worker`: what is counted and committed."""

import random

import pytest
from confluent_kafka import KafkaError

from dynatomic.testing.dynamodb.client import Request
from dynatomic.testing.dynamodb.responses import client_error
from tests.support.clients import written
from tests.support.harness import World, world
from tests.support.refusals import failing


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
    # The end is a separate event and may come in the same batch as the messages before it.
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
