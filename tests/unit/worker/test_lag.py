"""How far a partition is behind."""

import pytest
from confluent_kafka import KafkaError

from dynatomic.worker.partition import MAX_UNCOMMITTED
from tests.support.harness import world
from tests.support.health_checks import fetch_stopped, lags_of, live, never_fetched, status_of


def test_lag_is_counted_to_the_end_and_aged_by_the_oldest_event() -> None:
    with world(2) as w:
        member = w.worker(window_max_events=40)
        status = status_of(member)
        w.emit("a", partition=1)
        w.window()
        status.after_tick()
        assert {n: lag.events for n, lag in lags_of(member).items()} == {0: 0, 1: 0}
        w.gate.close("hits")
        w.emit(*["a"] * 100, partition=1)
        w.window()
        w.advance(30)
        status.after_tick()
        status.after_tick()
        lags = lags_of(member)
        assert member.worker.partitions[1].is_paused, "it is not read further, and still lags"
        assert (lags[0].events, lags[1].events) == (0, 100)
        assert lags[0].seconds == 0
        assert lags[1].seconds == pytest.approx(35, abs=5)
        w.gate.open()
        w.until(lambda: lags_of(member)[1] == (0, 0.0), step_s=1)


def test_the_age_is_that_of_the_events_timestamp() -> None:
    with world() as w:
        member = w.worker(window_ms=60_000)
        w.emit("a")
        w.turn(3)
        (partition,) = member.worker.partitions.values()
        partition.filling.first_timestamp_ms = int((w.clock() - 500) * 1000)
        assert lags_of(member)[0] == (1, 500.0)


def test_what_is_counted_and_not_committed_keeps_its_age() -> None:
    with world() as w:
        member = w.worker(window_ms=1_000)
        w.broker.faults.fail_commits(KafkaError.COORDINATOR_NOT_AVAILABLE, 10_000)
        born = w.clock()
        for _ in range(200):
            w.emit("a")
            w.window()
        (partition,) = member.worker.partitions.values()
        (lag,) = lags_of(member).values()
        assert (lag.events, len(partition.uncommitted)) == (200, MAX_UNCOMMITTED)
        assert lag.seconds == pytest.approx(w.clock() - born, abs=2)
        w.broker.faults.commits.clear()
        w.until(w.all_committed, step_s=1)
        w.turn()
        assert lags_of(member)[0] == (0, 0.0)
        w.emit("b")
        w.turn(2)
        assert lags_of(member)[0].seconds == pytest.approx(0, abs=2)


def test_the_age_of_events_that_were_not_read_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with world() as w:
        member = w.worker()
        fetch_stopped(w, member, monkeypatch)
        assert live(w, member) == ["fetch-stopped"]
        assert lags_of(member)[0] == (1, None)
        (told,) = status_of(member).report()["partitions"]
        assert (told["lag"], told["age_seconds"]) == (1, None)


def test_a_lag_that_is_not_known_has_no_age(monkeypatch: pytest.MonkeyPatch) -> None:
    with world() as w:
        member = w.worker()
        never_fetched(w, member, monkeypatch)
        live(w, member, 3)
        assert lags_of(member)[0] == (None, None)
