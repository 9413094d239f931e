"""The sums of a window, and that nothing of it is forgotten before it is settled."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynatomic.events import window as module
from dynatomic.events.decoded import Increment, UnitIncrement
from dynatomic.events.row import INT64_MAX, INT64_MIN, CounterRef
from dynatomic.events.window import Window

A = CounterRef("tab", "a", None, "count")
A_HITS = CounterRef("tab", "a", None, "hits")
A_R = CounterRef("tab", "a", "r", "count")
B = CounterRef("other", "a", None, "count")
REFS = [A, A_HITS, A_R, B]

Event = tuple[int, Increment | None]
"""An offset, and what it adds; None for one that is a dead letter."""

steps = st.sampled_from([1, 1, 1, 2, 5])  # transactions and compaction leave gaps
increments = st.tuples(st.sampled_from(REFS), st.integers(INT64_MIN, INT64_MAX))


@st.composite
def histories(draw: st.DrawFn) -> list[list[Event]]:
    """Make chunks of events in the order in which a partition gives them."""
    sizes = draw(st.lists(st.integers(0, 6), max_size=5))
    start = draw(st.sampled_from([0, 1, 2**40, 2**62]))
    gaps = draw(st.lists(steps, min_size=sum(sizes), max_size=sum(sizes)))
    offsets = [start + gap - 1 for gap in accumulate(gaps)]
    events = [(offset, draw(st.none() | increments)) for offset in offsets]
    ends = list(accumulate(sizes))
    return [events[end - size : end] for end, size in zip(ends, sizes, strict=True)]


@pytest.fixture(
    params=["usual", "everything is long", "summed often"], autouse=True, scope="module"
)
def _sizes(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "everything is long":
            patch.setattr(module, "_MIN_RANGE_EVENTS", 1)
        if request.param == "summed often":
            patch.setattr(module, "_MAX_UNSUMMED_EVENTS", 2)
        yield


UNITS = {ref: UnitIncrement(ref, 1) for ref in REFS}
"""For events that differ in how often they add, as the decoder makes them where numbers vary."""


def add(window: Window, offsets: list[int], increments: list[Increment]) -> None:
    """Add events in each of the forms that there are: one after the other, by turns."""
    follow = offsets == list(range(offsets[0], offsets[-1] + 1)) if offsets else False
    given: Sequence[int] = range(offsets[0], offsets[-1] + 1) if follow else offsets
    if len(window) % 2:
        window.add(given, [UNITS[ref] for ref, _ in increments], [n for _, n in increments])
    else:
        window.add(given, [UnitIncrement(ref, incr) for ref, incr in increments])


def filled(chunks: list[list[Event]]) -> Window:
    window = Window()
    for chunk in chunks:
        good = [(offset, increment) for offset, increment in chunk if increment is not None]
        add(window, [offset for offset, _ in good], [increment for _, increment in good])
        for offset, increment in chunk:
            if increment is None:
                window.reject(offset)
    return window


@given(histories())
def test_a_window_is_the_sum_of_its_events(chunks: list[list[Event]]) -> None:
    window = filled(chunks)
    events = [event for chunk in chunks for event in chunk]
    expected: Counter[CounterRef] = Counter()
    for _, increment in events:
        if increment is not None:
            expected[increment[0]] += increment[1]
    assert window.sums == dict(expected)
    assert len(window) == len(events)
    assert window.rejected == sum(increment is None for _, increment in events)
    if events:
        assert (window.first, window.last) == (events[0][0], events[-1][0])


@given(histories(), st.dictionaries(st.sampled_from(REFS), st.integers(0, 30)))
def test_the_events_of_some_counters_are_found_by_offset(
    chunks: list[list[Event]], refs: dict[CounterRef, int]
) -> None:
    expected = {
        offset: increment
        for chunk in chunks
        for offset, increment in chunk
        if increment is not None and offset >= refs.get(increment[0], 2**63)
    }
    window = filled(chunks)
    events = [(offset, *increment) for offset, increment in sorted(expected.items())]
    assert list(window.increments_from(refs)) == events
    assert list(window.increments_from(refs)) == events  # asking changes nothing


@given(histories(), st.sets(st.sampled_from(REFS)), st.integers(-1, 40))
def test_what_stands_above_an_offset_is_summed_anew(
    chunks: list[list[Event]], refs: set[CounterRef], shift: int
) -> None:
    window = filled(chunks)
    fence = max(window.first, 0) + shift - 5
    sums: dict[CounterRef, int] = {}
    below = 0
    for offset, increment in itertools.chain(*chunks):
        if increment is None or increment[0] not in refs:
            continue
        if offset > fence:
            sums[increment[0]] = sums.get(increment[0], 0) + increment[1]
        else:
            below += 1
    assert window.sums_above(refs, fence) == (sums, below)


def test_an_empty_window_covers_no_offset() -> None:
    window = Window()
    add(window, [], [])
    assert (len(window), window.first, window.last, window.sums) == (0, -1, -1, {})
    assert list(window.increments_from({A: 0})) == []


def test_offset_zero_is_an_offset() -> None:
    window = Window()
    add(window, [0], [(A, 1)])
    assert (window.first, window.last) == (0, 0)
    add(window, [7], [(A, 1)])
    assert (window.first, window.last) == (0, 7)


def test_a_rejected_event_alone_moves_the_offsets() -> None:
    window = Window()
    window.reject(5)
    window.reject(9)
    assert (window.first, window.last, window.rejected, len(window)) == (5, 9, 2, 2)
    assert window.sums == {}


def test_rejected_events_may_come_after_later_good_ones() -> None:
    window = Window()
    add(window, [11, 13], [(A, 1), (A, 2)])
    window.reject(10)
    window.reject(12)
    assert (window.first, window.last) == (10, 13)


def test_a_sum_of_zero_stays_a_sum() -> None:
    window = Window()
    add(window, [1, 2], [(A, 5), (A, -5)])
    assert window.sums == {A: 0}


def test_sums_go_beyond_int64() -> None:
    window = Window()
    add(window, [1, 2, 3], [(A, INT64_MAX)] * 3)
    assert window.sums == {A: 3 * INT64_MAX}


@pytest.mark.parametrize("given", [[], [(A, 1)], [(A, 1)] * 3])
def test_an_increment_too_many_or_too_few_is_a_defect(given: list[Increment]) -> None:
    with pytest.raises(ValueError, match="each offset needs a unit increment"):
        add(Window(), [1, 2], given)


def test_counters_of_one_item_and_items_of_two_tables_are_apart() -> None:
    window = Window()
    add(window, [1, 2, 3, 4], [(ref, 1) for ref in REFS])
    assert window.sums == dict.fromkeys(REFS, 1)


def test_counters_are_known_before_they_are_summed() -> None:
    window = Window()
    add(window, [1, 2], [(A, 1), (B, 1)])
    add(window, [3], [(A, 2)])
    assert window.counters == 2
    assert window.sums == {A: 3, B: 1}
    add(window, [4, 5], [(A_HITS, 7), (A, 1)])
    assert window.counters == 3
    assert list(window.sums.items()) == [(A, 4), (B, 1), (A_HITS, 7)]
    assert list(window.sums.items()) == [(A, 4), (B, 1), (A_HITS, 7)]


def test_offsets_that_follow_each_other_take_no_memory() -> None:
    window = Window()
    for start in range(0, 10_000, 1000):
        window.add(range(start, start + 1000), [UNITS[A]] * 1000)
    assert all(isinstance(offsets, range) for offsets in window._offsets)
    assert window.sums_above([A], 4_999) == ({A: 5_000}, 5_000)


@pytest.mark.parametrize("times", [[1], [1, 2, 3]])
def test_multipliers_too_many_or_too_few_are_a_defect(times: list[int]) -> None:
    with pytest.raises(ValueError, match="a multiplier or no"):
        Window().add([1, 2], [UNITS[A], UNITS[B]], times)


@given(st.lists(st.sets(st.sampled_from(REFS)), max_size=12), st.integers(-1, 12))
def test_an_event_may_add_to_several_counters(events: list[set[CounterRef]], fence: int) -> None:
    window = Window()
    added = [(offset, ref) for offset, refs in enumerate(events) for ref in sorted(refs, key=str)]
    counted = sum(map(bool, events))
    window.add([o for o, _ in added], [UNITS[ref] for _, ref in added], None, counted)
    if events:
        window.pass_over(0, len(events) - 1, unmatched=len(events) - counted, tombstones=0)
    assert len(window) == len(events)
    assert window.has_shared_events is (len(added) > counted)
    assert [(offset, ref) for offset, ref, _ in window.events()] == added
    above = Counter(ref for offset, ref in added if offset > fence)
    assert window.sums_above(REFS, fence) == (above, sum(offset <= fence for offset, _ in added))
    known = Counter(offset for offset, ref in added if offset <= fence and ref in (A, A_HITS))
    whole = {offset for offset in known if known[offset] == len(events[offset])}
    assert window.count_whole_events(known) == (
        len(whole) if window.has_shared_events else len(known)
    )
