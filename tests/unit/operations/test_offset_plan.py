"""What new offsets mean: proposals, targets, costs. Pure."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynatomic.kafka.client import ResetPolicy, Watermarks
from dynatomic.kafka.groups import CommittedOffset
from dynatomic.kafka.messages import Truncation
from dynatomic.operations.offset_plan import (
    PlannedOffset,
    Target,
    notes,
    plan,
    propose,
    target_offset,
)
from dynatomic.operations.positions import GroupPosition

ID, OTHER = "a" * 32, "b" * 32
POLICIES: tuple[ResetPolicy, ...] = ("earliest", "latest", "error")


def place(
    committed: int | None, low: int = 10, high: int = 20, about: str = ID, topic_id: str = ID
) -> GroupPosition:
    found = None if committed is None else CommittedOffset(committed, about)
    return GroupPosition(0, Watermarks(low, high), found, topic_id)


# --- what is proposed ------------------------------------------------------------------------


@pytest.mark.parametrize("about", ["", ID, "by hand"])
@pytest.mark.parametrize("offset", [10, 15, 20])
def test_an_offset_in_range_stays(offset: int, about: str) -> None:
    step = plan(place(offset, about=about), "error")
    assert (step.new, step.changes, step.effect, step.why) == (offset, False, "", "in range")


def test_an_offset_that_retention_removed_goes_to_what_is_left() -> None:
    step = plan(place(4), "error")
    assert (step.current, step.new, step.changes) == (4, 10, True)
    assert step.why == "retention removed offsets 4 to 9"
    assert step.effect == "loses up to 6 events"
    assert not step.rereads
    assert not step.skips


def test_an_offset_of_another_topic_goes_to_the_beginning_and_nothing_is_read_again() -> None:
    step = plan(place(15, about=OTHER), "earliest")
    assert (step.new, step.effect, step.rereads) == (10, "reads up to 10 events", False)
    assert OTHER in step.why


def test_an_offset_of_another_topic_is_replaced_even_by_the_same_number() -> None:
    step = plan(place(10, about=OTHER), "earliest")
    assert (step.current, step.new, step.changes) == (10, 10, True)


def test_zero_of_another_topic_is_as_good_as_none() -> None:
    assert not plan(place(0, low=0, about=OTHER), "earliest").changes


def test_beyond_the_end_of_the_same_topic_goes_to_the_end() -> None:
    step = plan(place(25), "error")
    assert (step.new, step.changes) == (20, True)
    assert "the log was cut at 20" in step.why
    assert step.effect == "skips no event"


def truncated(end: int | None, committed: int = 15) -> GroupPosition:
    return replace(place(committed), truncation=Truncation(end, committed))


def test_a_log_that_was_cut_goes_to_where_it_was_cut() -> None:
    step = plan(truncated(12), "error")
    assert (step.current, step.new, step.changes) == (15, 12, True)
    assert step.why == "the log was cut at 12 and grew again: what is there is not counted"
    assert (step.effect, step.rereads, step.skips) == ("reads up to 8 events", False, False)
    (said_,) = notes([step], [truncated(12)], exactly_once=True)
    assert "up to 3 events that were counted are not in the topic any more" in said_
    assert "take a new baseline" in said_


def test_a_log_that_was_cut_below_what_retention_has_left_goes_to_what_is_left() -> None:
    assert plan(truncated(4), "error").new == 10


@pytest.mark.parametrize(
    ("to", "effect", "rereads", "skips"),
    [
        (10, "reads up to 2 events again", True, False),
        (15, "skips up to 3 events", False, True),
        (20, "skips up to 8 events", False, True),
    ],
)
def test_of_a_log_that_was_cut_a_person_may_choose_another_offset(
    to: int, effect: str, *, rereads: bool, skips: bool
) -> None:
    step = plan(truncated(12), "error", (to, "chosen"))
    assert step.changes, "the commit has the epoch of a lost event"
    assert (step.effect, step.rereads, step.skips) == (effect, rereads, skips)


@pytest.mark.parametrize("about", ["", "by hand"])
def test_beyond_the_end_of_who_knows_what_a_person_chooses(about: str) -> None:
    step = plan(place(25, about=about), "error")
    assert (step.new, step.changes) == (None, False)
    assert "5 beyond the end" in step.why
    assert "--to-earliest" in step.why


def test_without_a_topic_id_nothing_tells_whether_it_is_the_same() -> None:
    unknown = GroupPosition(0, Watermarks(10, 20), CommittedOffset(25, ""), None)
    assert propose(unknown, "error")[0] is None


def test_no_offset_is_a_problem_only_where_none_is_an_error() -> None:
    step = plan(place(None), "error")
    assert (step.current, step.new, step.changes, step.rereads) == (None, 10, True, True)
    assert step.effect == "reads up to 10 events"
    for policy in ("earliest", "latest"):
        step = plan(place(None), policy)
        assert (step.new, step.changes) == (None, False)
        assert policy in step.why


# --- where to --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "new", "why"),
    [
        (Target(earliest=True), 10, "--to-earliest"),
        (Target(latest=True), 20, "--to-latest"),
        (Target(offset=12), 12, "--to-offset 12"),
        (Target(offset=3), 10, "--to-offset 3, which has 10 to 20"),
        (Target(offset=99), 20, "--to-offset 99, which has 10 to 20"),
        (Target(at=datetime(2026, 1, 1)), 13, "--to-datetime"),  # noqa: DTZ001 - as typed
    ],
)
def test_targets_are_those_of_kafkas_tool(target: Target, new: int, why: str) -> None:
    assert target_offset(target, place(15), {0: 13}) == (new, why)


def test_a_time_after_the_last_event_is_the_end() -> None:
    target = Target(at=datetime(2026, 1, 1))  # noqa: DTZ001 - as typed
    assert target_offset(target, place(15), {0: None}) == (
        20,
        "--to-datetime: no event has this time or a later one",
    )


# --- what it costs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("committed", "new", "effect", "again", "skips"),
    [
        (15, 10, "reads up to 5 events again", True, False),
        (15, 14, "reads up to 1 event again", True, False),
        (15, 20, "skips up to 5 events", False, True),
        (4, 12, "loses up to 6 events, skips up to 2 events", False, True),
        (25, 10, "reads up to 10 events again", True, False),
        (25, 20, "skips no event", False, False),
        (None, 10, "reads up to 10 events", True, False),
        (None, 12, "skips up to 2 events", True, True),
        (None, 20, "skips up to 10 events", False, True),
    ],
)
def test_the_cost(committed: int | None, new: int, effect: str, again: Any, skips: Any) -> None:
    step = plan(place(committed), "error", (new, "asked"))
    assert (step.effect, step.rereads, step.skips) == (effect, again, skips)


def test_what_another_topics_group_skips_is_of_this_one() -> None:
    step = plan(place(15, about=OTHER), "error", (20, "--to-latest"))
    assert (step.effect, step.rereads, step.skips) == ("skips up to 10 events", False, True)


def step(*, again: bool = False, skips: bool = False) -> PlannedOffset:
    return PlannedOffset(0, 15, 10, "", "", changes=True, rereads=again, skips=skips)


def said(*steps: PlannedOffset, exactly_once: bool = False) -> str:
    return "\n".join(notes(list(steps), [], exactly_once=exactly_once))


def test_reading_again_counts_twice_without_fences_and_not_with_them() -> None:
    assert "count twice" in said(step(again=True))
    assert "only if they were not counted yet" in said(step(again=True), exactly_once=True)
    assert "dead letters" in said(step(again=True))


def test_skipping_cannot_be_undone_with_fences() -> None:
    assert said(step(skips=True)) == "skipped events are not counted"
    assert "its fence" in said(step(skips=True), exactly_once=True)


def test_a_plan_that_costs_nothing_says_nothing() -> None:
    assert said(step(), step()) == ""


PLACES = st.builds(
    lambda low, count, offset, about: place(offset, low, low + count, about),
    st.integers(0, 50),
    st.integers(0, 50),
    st.none() | st.integers(0, 120),
    st.sampled_from([ID, OTHER, ""]),
)


@given(PLACES, st.sampled_from(POLICIES))
def test_a_proposal_is_always_in_range_and_never_skips_an_event(
    where: GroupPosition, policy: ResetPolicy
) -> None:
    found = plan(where, policy)
    if found.new is not None:
        assert where.marks.low <= found.new <= where.marks.high
    assert not found.skips


@given(PLACES, st.sampled_from(POLICIES))
def test_once_it_is_carried_out_nothing_is_left_to_do(
    where: GroupPosition, policy: ResetPolicy
) -> None:
    found = plan(where, policy)
    if found.changes and found.new is not None:
        after = GroupPosition(0, where.marks, CommittedOffset(found.new, ID), ID)
        assert not plan(after, policy).changes
        assert after.problem == ""
