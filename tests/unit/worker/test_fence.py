"""exactly-once: every event is in its counter once, whatever happens."""

import pytest

from dynatomic.dynamodb.fence import fence_name, fences_of
from tests.support.clients import GROUP, LETTERS, TOPIC
from tests.support.fences import fences, once
from tests.support.harness import world
from tests.support.log_records import logged

ID = "0123abcd" + "ef" * 12


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


def test_promise_3_a_window_of_unknown_outcome_is_sent_again_and_counts_once() -> None:
    with world() as w:
        once(w)
        w.emit("a", "b")
        w.until(w.all_committed, step_s=1)
        w.emit("a", "a", "b", "new")
        w.lose_answers()
        w.window()
        assert w.counts() == {"a": 3, "b": 2}  # applied, but the answer is lost
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
