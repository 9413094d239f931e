"""Sentence 8 of the promise in `dynatomic.worker`, and how the loop ends."""

import os
import signal
from threading import Event

import pytest

from dynatomic.errors import DynatomicError
from dynatomic.service.run import _loop
from dynatomic.service.signals import Signals
from dynatomic.worker.causes import Cause, Stall
from tests.support.clients import GROUP
from tests.support.harness import world
from tests.support.member import Member
from tests.support.refusals import failing


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
        assert "exits without progress" in caplog.messages
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
