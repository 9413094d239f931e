"""Exactly-once, and the topics that come back: the third sentence of the promise, in parts."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from dynatomic.dynamodb.fence import fence_name, fences_of
from dynatomic.errors import DynatomicError
from dynatomic.kafka.client import Watermarks
from dynatomic.service.exit_conditions import DrainCondition
from dynatomic.worker.loop import POLL_S
from tests.support.harness import GROUP, LETTERS, TOPIC, Member, World, world
from tests.unit.worker.test_worker import logged

ID = "0123abcd" + "ef" * 12


def once(w: World, **settings: Any) -> Member:
    """Start a worker that counts exactly once."""
    return w.worker(processing_guarantee="exactly-once", **settings)


def fences(w: World, key: str) -> dict[int, int]:
    """Return the fences of an item of today's topic."""
    (item,) = [item for item in w.dynamodb.items("hits") if item["pk"] == {"S": key}]
    return fences_of(item, w.broker.topic_ids[TOPIC])


# --- names -----------------------------------------------------------------------------------


def test_a_fence_is_named_by_the_topics_id_and_the_partition() -> None:
    assert fence_name(ID, 7) == "fence_0123abcd_7"


def test_the_fences_of_an_item_are_those_of_one_topic() -> None:
    item = {
        "pk": {"S": "a"},
        "count": {"N": "1"},
        "fence_0123abcd_7": {"N": "19"},
        "fence_0123abcd_10": {"N": "0"},
        "fence_0123abcd_8": {"S": "text"},
        "fence_0123abcd_07": {"N": "1"},
        "fence_99999999_7": {"N": "5"},
    }
    assert fences_of(item, ID) == {7: 19, 10: 0}


# --- once ------------------------------------------------------------------------------------


def test_promise_3_a_window_of_unknown_outcome_is_sent_again_and_counts_once() -> None:
    with world() as w:
        once(w)
        w.emit("a", "b")
        w.until(w.all_committed, step_s=1)
        w.emit("a", "a", "b", "new")
        w.lose_answers()
        w.window()
        assert w.counts() == {"a": 3, "b": 2}  # applied, but nobody knows
        w.advance(5)
        w.turn(3)
        assert w.committed() == 2
        w.lose_answers(lost=False)
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 3, "b": 2, "new": 1}


@pytest.mark.parametrize("write_mode", ["batch", "single"])
def test_promise_3_what_a_killed_consumer_had_written_is_not_counted_again(
    write_mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with world() as w:
        first = once(w, write_mode=write_mode)
        w.emit("a", "a", "b")
        w.broker.faults.fail_commits(16, 100)  # NOT_COORDINATOR
        w.window()
        assert (w.counts(), w.committed()) == ({"a": 2, "b": 1}, None)
        first.kill()
        w.broker.faults.commits.clear()
        w.emit("a", "c")  # the next window begins below the fence and ends above it
        second = once(w, write_mode=write_mode)
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 3, "b": 1, "c": 1}
        assert logged(caplog, "fence refused") == [{"partition": 0, "items": 2, "events": 3}]
        assert second.worker.settlement.tally.suppressed == 3


def test_promise_3_a_stopped_owner_that_wakes_up_late_adds_nothing() -> None:
    with world() as w:
        once(w)
        w.emit("a", "b")
        w.gate.close("hits")
        w.window()
        assert w.gate.held == 1  # its request is on the way
        zombie = w.members[0]
        w.broker.expire(zombie.consumer)
        zombie.alive = False  # stopped
        held, w.gate = w.gate, type(w.gate)()
        once(w)
        w.emit("a")
        w.until(lambda: w.committed() == 3, step_s=1)
        assert w.counts() == {"a": 2, "b": 1}
        held.open()
        zombie.quiet()
        assert w.counts() == {"a": 2, "b": 1}


def test_promise_3_offsets_that_are_rewound_change_nothing() -> None:
    with world() as w:
        w.emit(*"abcab")
        member = once(w, window_max_events=4)
        w.until(w.all_committed, step_s=1)
        counts = w.counts()
        for offset in (0, 2, 4):
            member.worker.shut_down()
            member.alive = False
            w.broker.group(GROUP).offsets[TOPIC, 0] = offset
            member = once(w)
            w.until(w.all_committed, step_s=1)
            assert w.counts() == counts


def test_promise_3_a_rewound_window_that_reaches_beyond_the_fence_adds_only_what_is_new() -> None:
    with world() as w:
        w.emit(*"abcab")
        member = once(w)
        w.until(w.all_committed, step_s=1)
        member.worker.shut_down()
        member.alive = False
        w.emit(*"abd")
        w.broker.group(GROUP).offsets[TOPIC, 0] = 1
        once(w)
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 3, "b": 3, "c": 1, "d": 1}
        assert [fences(w, key) for key in "abcd"] == [{0: 7}, {0: 7}, {0: 4}, {0: 7}]


def test_every_item_has_a_fence_for_each_partition_that_names_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with world(3) as w:
        once(w)
        for partition in range(3):
            w.emit("a", partition=partition)
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 3}
        assert fences(w, "a") == {0: 0, 1: 0, 2: 0}
        (warning,) = [r for r in caplog.records if "events without a key" in r.getMessage()]
        assert warning.levelname == "WARNING"


def test_keyed_events_and_at_least_once_are_no_reason_to_warn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for guarantee, key in (("exactly-once", b"k"), ("at-least-once", None)):
        with world() as w:
            w.worker(processing_guarantee=guarantee)
            w.put(b"\x02bad", key=key)
            w.until(w.all_committed, step_s=1)
    assert not [r for r in caplog.records if "events without a key" in r.getMessage()]


def test_at_least_once_sets_no_fence() -> None:
    with world() as w:
        w.worker()
        w.emit("a")
        w.until(w.all_committed, step_s=1)
        assert w.dynamodb.items("hits") == [{"pk": {"S": "a"}, "count": {"N": "1"}}]


def test_the_guarantee_is_switched_on_and_off_with_the_group_stopped() -> None:
    with world() as w:
        guarantees = ["at-least-once", "exactly-once", "at-least-once", "exactly-once"]
        for guarantee in guarantees:
            member = w.worker(processing_guarantee=guarantee)
            w.emit(*"aab")
            w.until(w.all_committed, step_s=1)
            assert member.worker.shut_down()
            member.alive = False
        assert w.counts() == {"a": 8, "b": 4}


# --- dead letters before the fence -----------------------------------------------------------


def test_promise_3_the_fence_is_not_set_before_the_refused_events_are_stored() -> None:
    with world() as w:
        item = {"pk": {"S": "a"}, "count": {"S": "many"}, "hits": {"N": "1"}}
        w.dynamodb.put_item(TableName="hits", Item=item)
        once(w)
        w.emit("a")
        w.emit("a", counter="hits")
        w.deliveries_held = True
        w.window()
        w.advance(5)
        w.turn(3)
        assert w.dynamodb.items("hits") == [item]
        w.members[0].kill()  # what it knew of the refused event is gone with it
        w.deliveries_held = False
        once(w)
        w.until(w.all_committed, step_s=1)
        (found,) = w.dynamodb.items("hits")
        assert (found["count"], found["hits"]) == ({"S": "many"}, {"N": "2"})
        assert list(w.letters()) == [(0, 0)]
        assert fences(w, "a") == {0: 1}


def test_a_refused_event_below_the_fence_is_no_dead_letter_again() -> None:
    with world() as w:
        item = {"pk": {"S": "a"}, "count": {"S": "many"}, "hits": {"N": "1"}}
        w.dynamodb.put_item(TableName="hits", Item=item)
        first = once(w)
        w.emit("a")
        w.emit("a", counter="hits")
        w.until(w.all_committed, step_s=1)
        first.worker.shut_down()
        first.alive = False
        w.broker.group(GROUP).offsets[TOPIC, 0] = 0
        w.emit("a")
        w.emit("a", counter="hits")
        once(w)
        w.until(w.all_committed, step_s=1)
        assert [m.partition() for m in w.broker.messages(LETTERS)] == [0, 0]
        assert list(w.letters()) == [(0, 0), (0, 2)]


# --- topics that come back -------------------------------------------------------------------


def test_commits_carry_the_topics_id() -> None:
    with world() as w:
        w.worker()
        w.emit("a")
        w.until(w.all_committed, step_s=1)
        assert w.broker.group(GROUP).metadata[TOPIC, 0] == w.broker.topic_ids[TOPIC]


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
        w.emit(*"cdef")  # it goes on at offset 2, and would never see c and d
        with pytest.raises(DynatomicError, match="was deleted and made again") as caught:
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
        w.until(lambda: w.committed(1) == 1, step_s=1)  # the other partition goes on
        w.advance(60)
        w.turn(3)
        assert w.counts() == {"a": 1, "b": 2}
        assert w.broker.group(GROUP).metadata[TOPIC, 0] == old
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
        with pytest.raises(DynatomicError, match="of a topic with the id"):
            w.until(drain.done, step_s=1.1)


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
        w.turn(3)  # it reads from offset 3, and is not told whose that is
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
