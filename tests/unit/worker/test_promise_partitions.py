"""Sentences 5 to 7 of the promise in `dynatomic.worker`: partitions do not disturb each other."""

import itertools
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError

from dynatomic.dead_letters.letter import HEADERS
from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.worker.loop import REVOKE_WAIT_S
from tests.support.clients import LETTERS, TOPIC, headers_of
from tests.support.harness import world
from tests.support.refusals import failing


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
        assert w.clock() - began < REVOKE_WAIT_S + 1
        assert w.committed(second.owned[0]) is None
        w.refuse = None
        w.until(w.all_committed, step_s=1)
        assert w.counts("slow") == {"s": 2}, "what was dropped was written after all"


@pytest.mark.parametrize("trouble", ["throttled", "denied", "letters", "flapping"])
def test_promise_5_a_revoked_partition_that_waits_stops_the_reading_of_the_others_only_shortly(
    trouble: str,
) -> None:
    with world(2, ["hits", "slow"]) as w:
        first = w.worker(window_ms=500)
        w.emit("a", partition=0)
        w.emit("a", partition=1)
        if trouble == "letters":
            w.broker.faults.fail_deliveries(KafkaError.TOPIC_AUTHORIZATION_FAILED, 10_000)
            w.put(b"bad", partition=0)
            w.put(b"bad", partition=1)
        else:
            w.emit("s", "t", partition=0, table="slow")
            w.emit("s", "t", partition=1, table="slow")
        refuse = failing("AccessDeniedException" if trouble == "denied" else "Throttling", "slow")
        answers = itertools.count()
        w.refuse = refuse
        if trouble == "flapping":
            w.refuse = lambda request: refuse(request) if next(answers) % 5 else None
        w.window()
        began = w.clock()
        w.worker(window_ms=500)
        w.until(lambda: len(first.owned) == 1)
        assert w.clock() - began <= REVOKE_WAIT_S + 1.0
        w.refuse = None
        w.broker.faults.deliveries.clear()
        w.until(w.all_committed, step_s=1)


def test_promise_6_a_revoked_window_that_only_needs_time_gets_it() -> None:
    with world(2) as w:
        w.worker()
        w.gate.close("hits")
        w.emit("a", partition=0)
        w.emit("b", partition=1)
        w.window()
        second = w.worker()
        began = w.clock()

        def late() -> None:
            if w.clock() >= began + 2 * REVOKE_WAIT_S:
                w.gate.open()

        w.clock.watchers.append(late)
        w.until(lambda: len(second.owned) == 1)
        assert w.committed(second.owned[0]) == 1
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 1, "b": 1}


def good(key: str) -> bytes:
    return encode(Row("hits", key))


BAD = {
    "empty-payload": b"",
    "undecodable": b"\x08hits\xff\xff",
    "trailing-bytes": good("a") + b"!",
    "registry-framed": b"\x00\x00\x00\x00\x07" + good("a"),
    "table-not-allowed": encode(Row("others", "a")),
    "range-unexpected": encode(Row("hits", "a", range="r")),
    "counter-name": encode(Row("hits", "a", range=None, counter="pk")),
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
