"""Exceptions of callbacks and of threads: `tick` raises them, and nothing is committed after."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.support.harness import World, world
from tests.support.member import Member


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
