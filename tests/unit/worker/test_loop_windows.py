"""When windows open and close, and which partitions are paused."""

from typing import Any, cast

import pytest

from tests.support.harness import world


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
