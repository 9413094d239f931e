"""What the committed offsets, the fences and the dead letters say is in the tables."""

import pytest

from dynatomic.config.settings import ProcessingGuarantee
from dynatomic.dynamodb.fence import fence_name
from dynatomic.errors import ConfigError
from tests.support.verify_world import AFTER, FENCED, GROUP, TOPIC, UNFENCED, World, differences


@pytest.mark.parametrize("guarantee", [FENCED, "at-least-once"])
def test_events_with_a_letter_are_not_counted_though_the_settings_would(
    guarantee: ProcessingGuarantee,
) -> None:
    w = World()
    w.emit("a", "a", "b")
    w.item("a", 1, {0: 1})
    w.item("b", 1, {0: 2})
    w.commit(3)
    assert not w.verify(guarantee).ok
    w.letter(1)
    verdict = w.verify(guarantee)
    assert verdict.ok
    assert (verdict.events, verdict.rejected) == (3, 1)


def test_a_letter_is_left_out_of_what_an_item_is_ahead_of_the_commits_too() -> None:
    w = World()
    w.emit("a", "a", "a")
    w.item("a", 2, {0: 2})
    w.commit(1)
    assert not w.verify().ok
    w.letter(1)
    assert w.verify().ok


def test_each_item_is_compared_up_to_its_own_fences() -> None:
    w = World(2)
    w.emit("a", "b", "a", "b", "new")
    w.emit("a", partition=1)
    w.item("a", 1, {0: 1})  # the second event of partition 0, and all of 1, are still to come
    w.item("b", 2, {0: 4})
    w.commit(0, 0)
    assert list(w.verify().text(20)) == ["OK  3 counters, sum 3 = 3", AFTER.format(6)]


@pytest.mark.parametrize(("fence", "difference"), [(0, 1), (1, 0), (2, 0), (3, -1), (4, -1)])
def test_a_wrong_fence_is_found(fence: int, difference: int) -> None:
    w = World()
    w.emit("a", "a", "b", "a", "b")
    w.item("a", 2, {0: fence})
    assert differences(w.verify()) == ({"a": difference} if difference else {})


def test_a_fence_that_no_event_can_have_set_is_found_though_the_sum_is_right() -> None:
    w = World()
    w.emit("a", "b")
    w.item("a", 1, {0: 2})
    w.item("b", 1, {0: 1, 7: 3})
    w.commit(2)
    verdict = w.verify()
    assert differences(verdict) == {"a": 0, "b": 0}
    assert [d.note for d in verdict.differences] == [
        "fence 2 of partition 0, which ends at 2",
        "fence 3 of partition 7, which ends at 0",
    ]
    assert "fence 2 of partition 0" in list(verdict.text(20))[2]


def test_what_was_committed_must_be_there_whatever_the_fence_says() -> None:
    """An event that was skipped leaves its item as it was, fence and all."""
    w = World()
    w.emit("a", "a", "b")
    w.item("a", 1, {0: 0})
    w.item("b", 1, {0: 2})
    assert w.verify().ok
    w.commit(3)
    assert differences(w.verify()) == {"a": -1}


def test_the_commits_and_fences_of_a_deleted_topic_say_nothing() -> None:
    w = World()
    w.emit("a", "a")
    w.item("a", 7, {0: 1})
    w.commit(2)
    w.broker.group(GROUP).metadata[TOPIC, 0] = w.identity
    w.broker.recreate_topic(TOPIC)
    w.identity = w.broker.topic_ids[TOPIC]
    w.emit("a", "a")
    verdict = w.verify()
    assert [(d.expected, d.value.value) for d in verdict.differences] == [(0, 7)]
    with pytest.raises(ConfigError, match="belongs to another topic of the name"):
        w.verify(UNFENCED)


def test_a_table_that_counted_at_least_once_before_is_ok_without_a_baseline() -> None:
    w = World()
    w.emit("a", "b", "a")
    w.item("a", 2)
    w.item("b", 1)
    w.commit(3)
    w.emit("a", "a", "c")
    w.item("a", 3, {0: 3})
    assert list(w.verify().text(20))[:2] == ["OK  3 counters, sum 4 = 4", AFTER.format(3)]


def test_a_fence_that_was_made_text_is_a_difference() -> None:
    w = World()
    w.emit("a", "b", "a")
    w.item("a", 2, None, **{fence_name(w.identity, 0): {"S": "2"}})
    w.item("b", 1, {0: 1})
    w.commit(3)
    (difference,) = w.verify().differences
    assert (difference.item, difference.difference) == ("a", 0)
    assert difference.note.startswith(f"{fence_name(w.identity, 0)} is not a number")
    assert w.verify(UNFENCED).ok


def test_a_fence_that_was_removed_is_said() -> None:
    w = World(2)
    w.emit("a", "b")
    w.emit("a", partition=1)
    w.item("a", 2, {0: 0})
    w.item("b", 1, {0: 1})
    w.commit(2, 1)
    verdict = w.verify()
    assert verdict.ok
    (note,) = verdict.notes
    assert note.startswith("1 items have events of a partition but no fence for it")
    w.item("a", 2, {0: 0, 1: 0})
    assert not w.verify().notes
