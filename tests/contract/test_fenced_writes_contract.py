"""A fenced window is added once, on the fake, the embedded table and DynamoDB Local."""

import queue
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from dynatomic.dynamodb.answers import (
    Answer,
    Applied,
    Fenced,
    PartiallyRejected,
    Rejected,
    TryStep,
)
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.fence import Fence
from dynatomic.dynamodb.statements import Change, Step
from dynatomic.dynamodb.tables import describe
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.row import CounterRef
from tests.support.tables import MakeTable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from dynatomic.dynamodb.write import WindowWrite
from tests.support.counters import FENCE, SECONDS, add, numbers, put, refs, stored, window


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_a_fenced_window_counts_once_whatever_the_items_are(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb)
    put(dynamodb, table, "counted", count={"N": "100"}, note={"S": "stays"})
    put(dynamodb, table, "fenced", count={"N": "100"}, **{FENCE: {"N": "9"}})
    put(dynamodb, table, "other", count={"N": "100"}, fence_0123abcd_8={"N": "9999"})
    put(dynamodb, table, "bare", **{FENCE: {"N": "9"}})
    put(dynamodb, table, "empty")
    put(dynamodb, table, "in", count={"N": "100"}, **{FENCE: {"N": "19"}})
    keys = ["counted", "fenced", "other", "bare", "empty", "missing", "in"]
    keys += [f"k{i}" for i in range(30)]
    events = [(10 + i % 10, key, "count", i + 1) for i, key in enumerate(keys)]
    events += [(19, "missing", "hits", 7), (19, "counted", "hits", 8)]
    full = window(table, *sorted(events))
    (write,) = add(dynamodb, full, first=first, fence=FENCE)
    had = dict.fromkeys(("counted", "fenced", "other"), 100)
    expected = {
        ref: n + (had.get(ref.key, 0) if ref.name == "count" else 0) for ref, n in full.sums.items()
    }
    expected[CounterRef(table, "in", None, "count")] = 100
    for _ in range(2):
        assert numbers(dynamodb, expected) == expected
        fences = stored(dynamodb, refs(table, keys, FENCE))
        assert fences == {ref: {"N": "19"} for ref in fences}
        assert write.rejected == {}
        (write,) = add(dynamodb, full, first=first, fence=FENCE)  # once more: nothing changes
        assert (write.fenced_items, write.suppressed_events) == (len(keys), len(events))
    assert stored(dynamodb, refs(table, ["counted"], "note"))


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_of_a_window_that_is_in_by_half_only_the_rest_is_added(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb)
    events = [(i, f"k{i % 3}", "hits" if i % 2 else "count", 10**i) for i in range(20)]
    add(dynamodb, window(table, *events[:13]), first=first, fence=FENCE)
    (write,) = add(dynamodb, window(table, *events[5:]), first=first, fence=FENCE)
    whole = window(table, *events).sums
    assert numbers(dynamodb, whole) == whole
    assert (write.fenced_items, write.suppressed_events) == (3, 8)


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_a_bad_counter_of_a_fenced_item_holds_back_the_good_ones(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb)
    put(dynamodb, table, "a", bad={"S": "text"}, good={"N": "1"}, **{FENCE: {"N": "3"}})
    put(dynamodb, table, "alone", bad={"S": "text"})
    full = window(table, (2, "a", "bad", 1), (4, "a", "bad", 1), (5, "a", "good", 5))
    alone = window(table, (4, "alone", "bad", 1))
    settled: queue.Queue[WindowWrite] = queue.Queue()
    counters = Counters(dynamodb, {table: describe(dynamodb, table)})
    writer = Writer(counters.execute, first_step=first)
    good, bad = CounterRef(table, "a", None, "good"), CounterRef(table, "a", None, "bad")
    try:
        write = writer.submit(full, settled.put, FENCE)
        assert settled.get(timeout=SECONDS) is write
        assert {ref: why.first for ref, why in write.rejected.items()} == {bad: 4}
        assert numbers(dynamodb, [good]) == {good: 1}, "added before its neighbour was stored"
        writer.write_held_back(write)
        assert settled.get(timeout=SECONDS) is write
        write = writer.submit(alone, settled.put, FENCE)
        assert settled.get(timeout=SECONDS) is write
    finally:
        writer.close()
    assert numbers(dynamodb, [good, bad._replace(name=FENCE)]) == {
        good: 6,
        bad._replace(name=FENCE): 5,
    }
    assert set(write.rejected) == set(alone.sums)
    assert stored(dynamodb, refs(table, ["alone"], FENCE)) == {
        CounterRef(table, "alone", None, FENCE): None
    }


@pytest.mark.parametrize("fence", [None, FENCE])
def test_a_new_item_takes_one_statement_where_most_are_new(
    dynamodb: "DynamoDBClient", make_table: MakeTable, fence: str | None
) -> None:
    table = make_table(dynamodb)
    counters = Counters(dynamodb, {table: describe(dynamodb, table)})
    steps: Counter[Step] = Counter()

    def execute(step: Step, batch: Sequence[Change]) -> list[Answer]:
        steps[step] += len(batch)
        return counters.execute(step, batch)

    settled: queue.Queue[WindowWrite] = queue.Queue()
    writer = Writer(execute, max_requests=1)
    seen: list[dict[Step, int]] = []
    events = [(number, f"k{number}", "count", 1) for number in range(600)]
    again = [(600 + number, f"k{number}", "count", 1) for number in range(300)]
    try:
        for part in (events[:300], events[300:], again):
            steps.clear()
            writer.submit(window(table, *part), settled.put, fence)
            settled.get(timeout=SECONDS)
            seen.append(dict(steps))
    finally:
        writer.close()
    assert seen[0] == {Step.UPDATE: 75, Step.INSERT: 300}
    assert seen[1] == {Step.INSERT: 300}
    assert seen[2] == {Step.INSERT: 75, Step.UPDATE: 300}
    whole = window(table, *events, *again).sums
    assert numbers(dynamodb, whole) == whole


def test_what_the_fenced_steps_answer(dynamodb: "DynamoDBClient", make_table: MakeTable) -> None:
    table = make_table(dynamodb)
    counters = Counters(dynamodb, {table: describe(dynamodb, table)})
    put(dynamodb, table, "none", count={"N": "1"})
    put(dynamodb, table, "low", count={"N": "1"}, **{FENCE: {"N": "9"}})
    put(dynamodb, table, "in", count={"N": "1"}, **{FENCE: {"N": "14"}})
    put(dynamodb, table, "bare", **{FENCE: {"N": "9"}})
    put(dynamodb, table, "text", count={"S": "x"}, **{FENCE: {"N": "9"}})
    put(dynamodb, table, "odd", count={"N": "1"}, **{FENCE: {"S": "x"}})
    fence = Fence(FENCE, 10, 19)

    def ask(step: Step, *keys: str) -> list[Answer]:
        changes = [Change(table, key, None, {"count": 1}, fence) for key in keys]
        if step.alone:
            return [answer for change in changes for answer in counters.execute(step, [change])]
        return counters.execute(step, changes)

    assert ask(Step.UPDATE, "none", "in", "bare", "missing") == [
        TryStep(Step.ADD_FENCE),
        Fenced(14),
        TryStep(Step.UPDATE_ITEM),
        TryStep(Step.INSERT),
    ]
    assert ask(Step.ADD_FENCE, "low", "in", "missing") == [
        TryStep(Step.UPDATE),
        Fenced(14),
        TryStep(Step.INSERT),
    ]
    assert ask(Step.INSERT, "low", "new") == [TryStep(Step.UPDATE), Applied()]
    assert ask(Step.UPDATE_ITEM, "in", "new") == [Fenced(14), Fenced(19)]
    assert all(isinstance(found, Rejected) for found in ask(Step.UPDATE, "odd"))
    assert all(isinstance(found, Rejected) for found in ask(Step.UPDATE_ITEM, "odd", "text"))
    partly, fenced = ask(Step.INSPECT, "text", "in")
    assert (type(partly), fenced) == (PartiallyRejected, Fenced(14))
    assert ask(Step.ADD_FENCE, "none") == [Applied()]
    assert ask(Step.UPDATE, "low") == [Applied()]
    assert numbers(dynamodb, refs(table, ["none", "low", "in", "new"])) == {
        CounterRef(table, key, None, "count"): n
        for key, n in {"none": 2, "low": 2, "in": 1, "new": 1}.items()
    }
