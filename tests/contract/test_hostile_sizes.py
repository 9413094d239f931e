"""Items with more counters than fit into one request, and items that are nearly full.

On the fake, the embedded table and DynamoDB Local.
"""

from typing import TYPE_CHECKING, Any

import pytest

from dynatomic.dynamodb.parts import MAX_COUNTERS_PER_STATEMENT
from dynatomic.dynamodb.statements import Step
from dynatomic.events.row import CounterRef, Reason
from dynatomic.testing.dynamodb.sizes import MAX_ITEM_BYTES, item_bytes
from tests.support.counters import FENCE, add, numbers, put, refs, stored, window
from tests.support.tables import MakeTable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Event = tuple[int, str, str, int]


def events_of(key: str, names: list[str], first: int = 0) -> list[Event]:
    return [(first + i, key, name, i + 1) for i, name in enumerate(names)]


def names_of(count: int, length: int = 4) -> list[str]:
    return [f"{i:0{length}d}" for i in range(count)]


@pytest.mark.parametrize("fence", [None, FENCE])
@pytest.mark.parametrize("first", [Step.UPDATE, Step.INSERT, Step.UPDATE_ITEM])
@pytest.mark.parametrize(
    "names",
    [
        names_of(393),
        names_of(3 * MAX_COUNTERS_PER_STATEMENT + 1),
        names_of(200, 20),
        names_of(40, 255),
    ],
    ids=["393", "many", "200 names of 20", "40 names of 255"],
)
def test_all_counters_of_an_item_are_counted(
    dynamodb: "DynamoDBClient",
    make_table: MakeTable,
    names: list[str],
    first: Step,
    fence: str | None,
) -> None:
    table = make_table(dynamodb)
    put(dynamodb, table, "some", **{name: {"N": "1000"} for name in names[::2]})
    events = [
        event
        for key in ("some", "none")
        for event in events_of(key, names, 0 if key == "some" else len(names))
    ]
    events += [(2 * len(names) + i, f"other-{i}", "count", 1) for i in range(30)]
    full = window(table, *events)
    (write,) = add(dynamodb, full, first=first, fence=fence)
    assert write.rejected == {}
    had = {CounterRef(table, "some", None, name): 1000 for name in names[::2]}
    expected = {ref: total + had.get(ref, 0) for ref, total in full.sums.items()}
    assert numbers(dynamodb, expected) == expected
    if fence:
        (write,) = add(dynamodb, full, first=first, fence=fence)
        assert numbers(dynamodb, expected) == expected
        assert write.suppressed_events == len(events)
        fences = stored(dynamodb, refs(table, ["some", "none"], FENCE))
        assert fences == {ref: {"N": f"{full.last}"} for ref in fences}


@pytest.mark.parametrize(
    "known", [0, 1, MAX_COUNTERS_PER_STATEMENT - 1, MAX_COUNTERS_PER_STATEMENT, 700, 999]
)
def test_of_an_item_that_has_a_part_of_the_window_only_the_rest_is_added(
    dynamodb: "DynamoDBClient", make_table: MakeTable, known: int
) -> None:
    table = make_table(dynamodb)
    names = [f"{(7 * i) % 600:04d}" for i in range(1000)]  # most counters have two events
    events = events_of("k", names, 5)
    add(dynamodb, window(table, *events[: known + 1]), fence=FENCE)
    (write,) = add(dynamodb, window(table, *events), fence=FENCE)
    whole = window(table, *events).sums
    assert numbers(dynamodb, whole) == whole
    assert (write.rejected, write.suppressed_events) == ({}, known + 1)


@pytest.mark.parametrize("fence", [None, FENCE])
@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_bad_counters_among_many_are_rejected_alone(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step, fence: str | None
) -> None:
    table = make_table(dynamodb)
    names = names_of(700)
    put(dynamodb, table, "k", **{name: {"S": "text"} for name in ("0003", "0300", "0699")})
    events = [*events_of("k", names), *events_of("k", names, 700)]
    full = window(table, *events)
    (write,) = add(dynamodb, full, first=first, fence=fence)
    bad = {ref for ref in full.sums if ref.name in {"0003", "0300", "0699"}}
    assert {ref: (why.reason, why.first) for ref, why in write.rejected.items()} == {
        ref: (Reason.COUNTER_NOT_A_NUMBER, write.rejected[ref].first) for ref in bad
    }
    # What is below is counted or a dead letter already when the rest is refused.
    assert all(why.first <= int(ref.name) for ref, why in write.rejected.items())
    good = {ref: total for ref, total in full.sums.items() if ref not in bad}
    assert numbers(dynamodb, good) == good


@pytest.mark.parametrize("fence", [None, FENCE])
@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_a_full_item_takes_events_of_the_counters_that_it_has(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step, fence: str | None
) -> None:
    table = make_table(dynamodb)
    item: dict[str, Any] = {"pk": {"S": "k"}, "old": {"N": "10"}, "other": {"N": "10"}}
    item |= {FENCE: {"N": "1"}, "x": {"S": ""}}
    item["x"]["S"] = "x" * (MAX_ITEM_BYTES - item_bytes(item) - 2)
    dynamodb.put_item(TableName=table, Item=item)
    events = [(10, "k", "old", 5), (11, "k", "new", 1), (12, "k", "other", 7), (12, "a", "new", 1)]
    (write,) = add(dynamodb, window(table, *events), first=first, fence=fence)
    new = CounterRef(table, "k", None, "new")
    assert set(write.rejected) == {new}
    assert write.rejected[new].reason == Reason.REFUSED
    assert "400 kB" in write.rejected[new].detail
    expected = {new._replace(name="old"): 15, new._replace(name="other"): 17}
    expected[new._replace(key="a")] = 1
    assert numbers(dynamodb, expected) == expected
    (write,) = add(dynamodb, window(table, (20, "k", "new", 1)), first=first, fence=fence)
    assert "400 kB" in write.rejected[new].detail


def test_a_full_item_has_no_room_for_a_fence(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    table = make_table(dynamodb)
    item: dict[str, Any] = {"pk": {"S": "k"}, "old": {"N": "10"}, "x": {"S": ""}}
    item["x"]["S"] = "x" * (MAX_ITEM_BYTES - item_bytes(item))
    dynamodb.put_item(TableName=table, Item=item)
    (write,) = add(dynamodb, window(table, (10, "k", "old", 5), (10, "a", "old", 5)), fence=FENCE)
    old = CounterRef(table, "k", None, "old")
    assert set(write.rejected) == {old}
    assert "400 kB" in write.rejected[old].detail
    assert numbers(dynamodb, [old, old._replace(key="a")]) == {old: 10, old._replace(key="a"): 5}
