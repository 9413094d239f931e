"""Topics that are deleted and made again: their offsets and events are not mixed."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from dynatomic.errors import DynatomicError
from dynatomic.kafka.client import Watermarks
from dynatomic.kafka.commit_metadata import parse
from dynatomic.service.exit_conditions import DrainCondition
from dynatomic.worker.loop import POLL_S
from tests.support.clients import GROUP, TOPIC
from tests.support.harness import World, world
from tests.support.log_records import logged


def test_commits_carry_the_topics_id() -> None:
    with world() as w:
        w.worker()
        w.emit("a")
        w.until(w.all_committed, step_s=1)
        assert parse(w.broker.group(GROUP).metadata[TOPIC, 0]).topic_id == w.broker.topic_ids[TOPIC]


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_a_topic_made_again_under_a_running_consumer_ends_it_before_anything_is_written(
    guarantee: str,
) -> None:
    with world() as w:
        member = w.worker(processing_guarantee=guarantee)
        w.emit("a", "b")
        w.until(w.all_committed, step_s=1)
        w.broker.recreate_topic(TOPIC)
        w.emitted.clear()
        w.emit(*"cdef")  # it continues at offset 2, and would never see c and d
        with pytest.raises(DynatomicError, match="was deleted and created again") as caught:
            w.until(w.all_committed, step_s=1)
        assert w.broker.topic_ids[TOPIC] in str(caught.value)
        member.worker.close()
        member.alive = False
        assert w.counts() == {"a": 1, "b": 1}
        w.broker.group(GROUP).offsets.clear()  # as the broker does with the topic
        w.worker(processing_guarantee=guarantee)
        w.until(w.all_committed, step_s=1)
        assert w.counts() == dict.fromkeys("abcdef", 1)


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
@pytest.mark.parametrize("events", [1, 2, 3, 9])
def test_the_committed_offset_of_a_deleted_topic_is_reported_not_used(
    guarantee: str, events: int, caplog: pytest.LogCaptureFixture
) -> None:
    with world(2) as w:
        first = w.worker(processing_guarantee=guarantee)
        w.emit("a", "b")
        w.until(w.all_committed, step_s=1)
        first.worker.shut_down()
        first.alive = False
        old = w.broker.topic_ids[TOPIC]
        w.broker.recreate_topic(TOPIC, 2)
        w.emitted.clear()
        w.emit(*["a"] * events)
        w.emit("b", partition=1)
        second = w.worker(processing_guarantee=guarantee)
        w.until(lambda: w.committed(1) == 1, step_s=1)  # the other partition continues
        w.advance(60)
        w.turn(3)
        assert w.counts() == {"a": 1, "b": 2}
        assert parse(w.broker.group(GROUP).metadata[TOPIC, 0]).topic_id == old
        (told,) = [t for t in logged(caplog, "partition stopped") if t["partition"] == 0]
        for part in ("2 of a topic", old, w.broker.topic_ids[TOPIC], "dynatomic offsets"):
            assert part in told["cause"]
        assert second.worker.shut_down()  # it holds nothing
        second.alive = False
        group = w.broker.group(GROUP)
        group.offsets[TOPIC, 0], group.metadata[TOPIC, 0] = 0, ""  # as the command does
        w.worker(processing_guarantee=guarantee)
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 1 + events, "b": 2}


def stale(w: World, offset: int) -> None:
    """Leave a commit of a topic of this name that was deleted."""
    group = w.broker.group(GROUP)
    group.offsets[TOPIC, 0], group.metadata[TOPIC, 0] = offset, "f" * 32


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
@pytest.mark.parametrize("offset", [2, 9])
def test_once_does_not_take_the_offset_of_a_deleted_topic_for_counted(
    guarantee: str, offset: int
) -> None:
    with world() as w:
        w.emit("a", "b")
        stale(w, offset)
        member = w.worker(processing_guarantee=guarantee)
        drain = DrainCondition(
            member.worker, member.worker.settings, {0: Watermarks(0, 2)}, w.clock
        )
        assert not drain.done(), "before it has joined"
        w.until(drain.done, step_s=1.1)
        assert "of a topic with the id" in str(drain.error)


def unanswered(*_: object, **__: object) -> None:
    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


def test_once_waits_until_the_committed_offset_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    with world() as w:
        w.emit("a", "b")
        stale(w, 2)
        member = w.worker()
        monkeypatch.setattr(member.consumer, "committed", unanswered)
        drain = DrainCondition(
            member.worker, member.worker.settings, {0: Watermarks(0, 2)}, w.clock
        )
        for _ in range(5):
            w.turn()
            assert not drain.done(), "nothing was counted"
            w.advance(0.1)


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
@pytest.mark.parametrize("found", [None, 0, 1])
def test_what_was_read_from_a_deleted_topics_offset_is_read_again_from_the_right_one(
    guarantee: str, found: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world() as w:
        w.emit(*"abcde")
        stale(w, 3)
        member = w.worker(processing_guarantee=guarantee)
        monkeypatch.setattr(member.consumer, "committed", unanswered)
        w.turn(3)  # it reads from offset 3, of either topic
        monkeypatch.undo()
        group = w.broker.group(GROUP)
        group.offsets.clear()  # the broker gets to the deletion
        group.metadata.clear()
        if found is not None:
            group.offsets[TOPIC, 0] = found
            for offset in range(found):
                del w.emitted[0, offset]
        w.until(w.all_committed, step_s=1)
        assert w.counts() == dict.fromkeys("abcde"[found or 0 :], 1)


def test_dead_letters_alone_commit_nothing_of_a_topic_made_again() -> None:
    with world() as w:
        w.worker()
        w.emit("a", "b")
        w.until(w.all_committed, step_s=1)
        w.broker.recreate_topic(TOPIC)
        w.broker.group(GROUP).offsets.clear()
        w.emitted.clear()
        w.emit("c", "d")
        w.put(b"bad")  # all that it sees of the new topic
        w.topic_id_held = True
        w.window()
        assert w.committed() is None


def test_it_does_not_spin_while_no_broker_tells_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    with world() as w:
        member = w.worker()
        w.emit("a")
        w.turn(2)
        w.topic_id_held = True
        w.window()
        waited = []
        consume = member.consumer.consume

        def noted(most: int, timeout: float) -> Any:
            waited.append(timeout)
            return consume(most, timeout)

        monkeypatch.setattr(member.consumer, "consume", noted)
        member.worker.tick()
        assert waited == [POLL_S]


@pytest.mark.parametrize("about", ["", "some other client's note", "0" * 31])
def test_a_commit_without_an_id_is_believed(about: str) -> None:
    with world() as w:
        w.emit("a", "b", "c")
        group = w.broker.group(GROUP)
        group.offsets[TOPIC, 0], group.metadata[TOPIC, 0] = 1, about
        del w.emitted[0, 0]
        w.worker()
        w.until(lambda: w.committed() == 3, step_s=1)
        assert w.counts() == {"b": 1, "c": 1}


def test_a_window_waits_until_a_broker_has_told_the_topics_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with world() as w:
        member = w.worker()
        w.emit("a")
        w.turn(2)
        w.topic_id_held = True
        w.window()
        w.advance(60)
        w.turn(3)
        assert (w.counts(), w.committed()) == ({}, None)
        stuck = logged(caplog, "no progress")
        assert stuck[-1]["cause"].startswith("the topic's id")
        w.topic_id_held = False
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 1}
        assert member.alive


def test_the_id_is_asked_again_for_every_window() -> None:
    with world(2) as w:
        w.worker()
        for _ in range(3):
            w.emit("a", partition=0)
            w.emit("b", partition=1)
            w.until(w.all_committed, step_s=1)
        asked = w.asked_topic_id
        assert 3 <= asked <= 6
        w.advance(60)
        w.turn(10)
        assert w.asked_topic_id == asked, "it asks although nothing was read"
