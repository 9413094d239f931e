"""A wait is reported within seconds: on the page, in the status, as a metric and in the log."""

import logging
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from dynatomic.service.status import NOT_READY_AFTER_S
from dynatomic.worker.brokers import TOPIC_MISSING_AFTER_S
from dynatomic.worker.causes import Cause, Stall
from dynatomic.worker.health import TRANSACTION_AFTER_S
from dynatomic.worker.waits import ENDED_AFTER_S, WAIT_AFTER_S, WaitMonitor
from tests.support.clients import TOPIC
from tests.support.harness import World, world
from tests.support.health_checks import live, status_of
from tests.support.member import Member
from tests.support.refusals import failing
from tests.support.served import Served

SECONDS = 6
"""How long people may have to look at "counting" while nothing is."""


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [vars(r)["fields"] for r in caplog.records if r.getMessage() == event]


def activity_of(member: Member) -> str:
    return str(status_of(member).report()["activity"])


def seconds(w: World, member: Member, count: int = SECONDS) -> None:
    assert live(w, member, count) == [], "the probes fail too soon"


@pytest.mark.parametrize(
    ("code", "cause", "text"),
    [
        ("ThrottlingException", "table-throttled", "waiting for table hits: throttled"),
        ("AccessDeniedException", "table-refused", "waiting for table hits: refused"),
        ("InternalServerError", "table-failing", "waiting for table hits: requests fail"),
    ],
)
def test_a_table_with_a_problem_is_reported_within_seconds_and_so_is_its_end(
    served: Served, caplog: pytest.LogCaptureFixture, code: str, cause: str, text: str
) -> None:
    caplog.set_level(logging.INFO, "dynatomic")
    with world() as w:
        member = w.worker()
        served.pages.attach(status_of(member))
        seconds(w, member, 3)
        assert activity_of(member) == "counting"
        w.refuse = failing(code)
        w.emit("a")
        seconds(w, member)
        status = served.json("/status")[1]
        assert (status["activity"], status["live"], status["ready"]) == (text, True, True)
        (wait,) = status["waiting"]
        assert wait["cause"] == cause
        assert wait["do"]
        metric = f'dynatomic_waiting{{cause="{cause}"}} 1.0'.encode()
        assert metric in served.metrics()
        assert [fields["why"] for fields in lines(caplog, "waiting")] == [cause]
        live(w, member, 30)
        assert lines(caplog, "recovered") == []
        w.refuse = None
        w.until(w.all_committed, step_s=1)
        seconds(w, member, int(ENDED_AFTER_S) + 1)
        assert activity_of(member) == "counting"
        assert status_of(member).report()["waiting"] == []
        (recovered,) = lines(caplog, "recovered")
        assert recovered["why"] == cause
        assert recovered["seconds"] >= 30
        assert metric not in served.metrics()


def test_brokers_that_do_not_answer_are_told_within_seconds(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dynatomic")
    with world() as w:
        member = w.worker()
        served.pages.attach(status_of(member))
        seconds(w, member, 3)
        w.broker.faults.down = True
        seconds(w, member, SECONDS + 2)
        assert activity_of(member) == "no broker answers"
        assert served.json("/readyz")[0] == 200, "a short outage makes no probe fail"
        live(w, member, int(NOT_READY_AFTER_S))
        assert served.json("/readyz")[0] == 503
        w.broker.faults.down = False
        live(w, member, 5)
        assert served.json("/readyz")[0] == 200
        live(w, member, int(ENDED_AFTER_S) + 2)
        assert activity_of(member) == "counting"
        assert [fields["why"] for fields in lines(caplog, "recovered")] == ["broker-down"]


def test_a_window_that_is_only_slow_is_not_reported() -> None:
    with world() as w:
        member = w.worker()
        seconds(w, member, 3)
        w.gate.close("hits")
        w.emit("a")
        seconds(w, member, 20)
        assert activity_of(member) == "counting"
        w.gate.open()
        w.until(w.all_committed, step_s=1)


def test_the_sentence_says_what_the_member_does() -> None:
    with world() as w:
        first = w.worker()
        assert activity_of(first) == "joining the group"
        spare = w.worker()
        seconds(w, spare, 3)
        assert (activity_of(first), activity_of(spare)) == (
            "counting",
            "ready: no partition is assigned",
        )
        status_of(first).stopping = True
        assert activity_of(first) == "stopping"


def test_a_wait_of_a_partition_that_is_given_up_has_not_recovered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "dynatomic")
    with world() as w:
        member = w.worker()
        seconds(w, member, 3)
        w.refuse = failing("ThrottlingException")
        w.emit("a")
        seconds(w, member)
        member.worker._on_lost(None, [TopicPartition(TOPIC, 0)])
        member.worker._on_assign(None, [])
        live(w, member, 10)
        assert status_of(member).report()["waiting"] == []
        assert lines(caplog, "recovered") == []


def test_a_wait_that_comes_and_goes_is_one_wait(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dynatomic")
    monitor = WaitMonitor()
    throttled = Stall(Cause.TABLE_THROTTLED, "table hits: Throttling", WAIT_AFTER_S, 0, ("hits",))
    for now in range(40):
        monitor.update([throttled] if now % 4 == 0 else [], [0], float(now))
    assert len(lines(caplog, "waiting")) == 1
    (current,) = monitor.current
    assert current.seconds == 39 + WAIT_AFTER_S
    monitor.update([], [0], 50.0)
    assert monitor.current == ()
    assert [fields["seconds"] for fields in lines(caplog, "recovered")] == [39]


def test_an_open_transaction_is_a_wait_and_then_a_stall_with_its_age(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dynatomic")
    with world() as w:
        member = w.worker()
        served.pages.attach(status_of(member))
        w.emit("a", "b")
        w.until(w.all_committed, step_s=1)
        w.held_by_transactions = 5
        seconds(w, member)
        assert activity_of(member) == "counting", "a short transaction is not reported"
        seconds(w, member, int(TRANSACTION_AFTER_S))
        assert activity_of(member) == "waiting for an open transaction"
        (partition,) = served.json("/status")[1]["partitions"]
        assert (partition["lag"], partition["end"], partition["high_watermark"]) == (0, 2, 7)
        assert b'dynatomic_transaction_offsets{partition="0"} 5.0' in served.metrics()
        assert live(w, member) == ["transaction-open"]
        (stall,) = served.json("/livez")[1]["stuck"]
        assert stall["detail"] == (
            "5 offsets wait behind an open transaction, which begins at offset 2"
        )
        assert stall["seconds"] >= 60
        assert served.json("/livez/restart")[0] == 200, "the next owner meets it too"
        w.held_by_transactions = 0
        live(w, member, 5)
        assert activity_of(member) != "counting", "it may come and go"
        assert live(w, member, int(ENDED_AFTER_S)) == []
        assert activity_of(member) == "counting"
        assert lines(caplog, "recovered")[-1]["why"] == "transaction-open"


def test_transactions_that_end_are_no_stall() -> None:
    with world() as w:
        member = w.worker()
        w.held_by_transactions = 5
        for _ in range(20):
            w.emit("a")
            seconds(w, member, 8)
            assert activity_of(member) == "counting"


def test_a_topic_that_is_gone_is_an_error_and_makes_livez_fail(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dynatomic")
    with world() as w:
        member = w.worker()
        served.pages.attach(status_of(member))
        seconds(w, member, 3)
        w.topic_missing = True
        live(w, member, int(TOPIC_MISSING_AFTER_S) + 6)
        assert served.json("/livez")[1]["stuck"][0]["cause"] == "topic-missing"
        assert activity_of(member) == "the topic does not exist"
        (error,) = [r for r in caplog.records if r.getMessage() == "topic does not exist"]
        assert error.levelname == "ERROR"
        member.worker._on_revoke(None, [TopicPartition(TOPIC, 0)])
        member.worker._on_assign(None, [])
        assert live(w, member, 60) == ["topic-missing"], "it is treated as a spare"
        w.topic_missing = False
        assert live(w, member, 5) == []
