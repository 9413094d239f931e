"""A change that is too large for one request is split by offset, and counted once."""

import itertools
import queue
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynatomic.dynamodb import parts, write
from dynatomic.dynamodb.answers import Answer, Retry
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.fence import Fence
from dynatomic.dynamodb.parts import MAX_COUNTERS_PER_STATEMENT, SMALL, split
from dynatomic.dynamodb.statements import Change, Step, group_changes, statement, update_item
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.decoded import UnitIncrement
from dynatomic.events.row import CounterRef, KeySchema
from dynatomic.events.window import Window
from dynatomic.testing.dynamodb.client import FakeDynamoDB
from dynatomic.testing.dynamodb.sizes import MAX_EXPRESSION_BYTES, MAX_STATEMENT_CHARACTERS

FENCE = "fence_0123abcd_123456"
LONG = "x" * 255
KEYS = KeySchema(LONG, "S", "y" * 255, "S")
SECONDS = 10

Events = list[tuple[int, str, int]]


def window_of(events: Events, table: str = "tab", key: str = "k") -> Window:
    """Make a window of (offset, counter, increment) of one item."""
    window = Window()
    window.add(
        [offset for offset, _, _ in events],
        [UnitIncrement(CounterRef(table, key, None, name), incr) for _, name, incr in events],
    )
    return window


def change_of(window: Window, *, fenced: bool) -> Change:
    fence = Fence(FENCE, window.first, window.last) if fenced else None
    ((change,),) = group_changes(window.sums, fence).values()
    return change


@st.composite
def event_lists(draw: st.DrawFn, names: st.SearchStrategy[str], most: int) -> Events:
    count = draw(st.integers(1, most))
    gaps = st.lists(st.integers(0, 3), min_size=count - 1, max_size=count - 1)
    offsets = itertools.accumulate(draw(gaps), initial=draw(st.integers(0, 2**40)))
    return [(offset, draw(names), draw(st.integers(-9, 9))) for offset in offsets]


@given(st.randoms(use_true_random=False), st.integers(1, 900), st.sampled_from([3, 20, 200, 255]))
def test_every_part_fits_and_all_together_are_the_change(
    rng: random.Random, count: int, length: int
) -> None:
    events = [(3 * i, f"{rng.randrange(count):0{length}d}", i) for i in range(count)]
    window = window_of(events)
    for fenced in (False, True):
        change = change_of(window, fenced=fenced)
        found = split(change, window)
        whole: Counter[str] = Counter()
        for part in found:
            whole.update(part.sums)
            for step in (Step.UPDATE, Step.ADD_FENCE, Step.INSERT):
                if fenced or step is not Step.ADD_FENCE:
                    long = part._replace(table=LONG, range="r")
                    text = statement(step, KEYS, long)["Statement"]
                    assert len(text) <= MAX_STATEMENT_CHARACTERS
            request = update_item(KEYS, part)
            assert len(request["UpdateExpression"]) <= MAX_EXPRESSION_BYTES
            assert len(part.sums) <= MAX_COUNTERS_PER_STATEMENT
        assert dict(whole) == change.sums
        assert len(found) == 1 or len(change.sums) > SMALL


@given(event_lists(st.integers(0, 9).map(str), 60), st.integers(1, 4))
def test_each_part_is_the_longest_prefix_of_the_rest_that_fits(events: Events, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "MAX_COUNTERS_PER_STATEMENT", most)
        window = window_of(events)
        found = split(change_of(window, fenced=True), window)
    first = window.first
    for part, after in itertools.zip_longest(found, found[1:]):
        assert part.fence is not None
        assert part.fence.first == first
        inside = [e for e in events if part.fence.first <= e[0] <= part.fence.last]
        sums: Counter[str] = Counter()
        for _, name, incr in inside:
            sums[name] += incr
        assert part.sums == dict(sums)
        if after is not None:
            first = part.fence.last + 1
            more = {name for offset, name, _ in events if offset == first}
            assert more, "the next part begins with an event"
            assert len(sums.keys() | more) > most
    assert found[-1].fence is not None
    assert found[-1].fence.last == window.last


class Lossy:
    """Sends requests to a fake, and says of some that were applied that they were not."""

    def __init__(self, client: FakeDynamoDB, rng: random.Random, share: float) -> None:
        self._counters = Counters(cast("Any", client), {"tab": KeySchema("pk")})
        self._rng = rng
        self._share = share

    def __call__(self, step: Step, batch: Sequence[Change]) -> list[Answer]:
        if self._rng.random() < self._share / 2:
            return [Retry("request lost")] * len(batch)
        answers = self._counters.execute(step, batch)
        lost = self._rng.random() < self._share / 2
        return [Retry("answer lost")] * len(batch) if lost else answers


def counted_by_windows(client: FakeDynamoDB, events: Events, rng: random.Random) -> set[int]:
    """Write overlapping windows of the events, as after rewinds; return the offsets of letters."""
    execute = Lossy(client, rng, 0.3)
    letters: set[int] = set()
    position = 0
    while position < len(events):
        start = rng.randint(max(0, position - 8), position)
        position = rng.randint(position + 1, len(events))
        window = window_of(events[start:position])
        done: queue.Queue[write.WindowWrite] = queue.Queue()
        writer = Writer(execute, max_requests=2, clock=itertools.count(0.0, 1000.0).__next__)
        try:
            writer.submit(window, done.put, FENCE)
            held_back = True
            while held_back:
                found = done.get(timeout=SECONDS)
                refused = {ref: why.first for ref, why in found.rejected.items()}
                letters |= {offset for offset, _, _ in window.increments_from(refused)}
                found.rejected.clear()
                if held_back := bool(found.held_back):
                    writer.write_held_back(found)
        finally:
            writer.close()
        assert writer.failure is None
        assert found.later_parts == {}
        assert found.finished_counters == window.counters
    return letters


@pytest.mark.parametrize("seed", range(60))
def test_an_item_in_parts_is_counted_once_whatever_is_lost_and_rewound(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MAX_COUNTERS_PER_STATEMENT", 3)
    monkeypatch.setattr(write, "SMALL", 2)
    rng = random.Random(seed)  # noqa: S311 - for a test
    client = FakeDynamoDB()
    client.create_table(
        TableName="tab",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    item: dict[str, Any] = {f"n{i}": {"N": "0"} for i in rng.sample(range(12), 6)}
    bad = {name for name in ("n3", "n8") if rng.random() < 0.5}
    item |= {name: {"S": "text"} for name in bad}
    if bad or rng.random() < 0.5:
        client.put_item(TableName="tab", Item={"pk": {"S": "k"}, **item})
    events = [(i, f"n{rng.randrange(12)}", 10**i) for i in range(30)]
    letters = counted_by_windows(client, events, rng)
    expected: Counter[str] = Counter()
    for _, name, incr in events:
        expected[name] += incr
    (stored,) = client.items("tab")
    counted = {name: int(stored[name]["N"]) for name in expected if "N" in stored[name]}
    assert counted == {name: total for name, total in expected.items() if name not in bad}
    assert letters == {offset for offset, name, _ in events if name in bad}
