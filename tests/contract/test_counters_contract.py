"""Sums are added to items of every kind, on the fake, the embedded table and DynamoDB Local."""

from typing import TYPE_CHECKING, Any, cast

import pytest

from dynatomic.dynamodb.answers import (
    Applied,
    Refused,
    Rejected,
    TryStep,
)
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.statements import Change, Step
from dynatomic.dynamodb.tables import describe
from dynatomic.events.row import CounterRef, KeySchema, Reason, key_value
from dynatomic.testing.dynamodb.client import FakeDynamoDB
from tests.support.names import unique
from tests.support.tables import MakeTable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
from tests.support.counters import FENCE, add, numbers, put, refs, stored, window


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_sums_are_added_whatever_the_items_are(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb)
    window = {ref: i - 40 for i, ref in enumerate(refs(table, (f"k{i}" for i in range(80))))}
    before = {}
    for i, ref in enumerate(window):
        if i % 4 == 1:
            put(dynamodb, table, ref.key, count={"N": "1000"}, note={"S": "stays"})
            before[ref] = 1000
        elif i % 4 == 2:
            put(dynamodb, table, ref.key, note={"S": "stays"})
    for round_ in (1, 2):
        (write,) = add(dynamodb, window, first=first)
        assert write.rejected == {}
        expected = {ref: before.get(ref, 0) + round_ * n for ref, n in window.items()}
        assert numbers(dynamodb, window) == expected
    notes = [ref._replace(name="note") for i, ref in enumerate(window) if i % 4 in {1, 2}]
    assert stored(dynamodb, notes) == {ref: {"S": "stays"} for ref in notes}


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_several_counters_of_an_item_some_of_which_are_there(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb)
    names = ["count", "hits", "a.b-c_d", "size", "name"]  # some are reserved words
    put(dynamodb, table, "some", hits={"N": "100"}, size={"N": "100"})
    put(dynamodb, table, "all", **{name: {"N": "100"} for name in names})
    window = {
        CounterRef(table, key, None, name): i + 1
        for key in ("none", "some", "all")
        for i, name in enumerate(names)
    }
    add(dynamodb, window, first=first)
    assert numbers(dynamodb, window) == {
        ref: n + 100 * (ref.key == "all" or (ref.key == "some" and ref.name in {"hits", "size"}))
        for ref, n in window.items()
    }


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_a_counter_that_is_a_string_is_rejected_and_its_neighbours_are_applied(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb)
    put(dynamodb, table, "alone", count={"S": "text"})
    put(dynamodb, table, "both", count={"S": "text"}, hits={"N": "10"})
    put(dynamodb, table, "new", count={"S": "text"})
    bad = refs(table, ["alone", "both", "new"])
    good = [
        *refs(table, (f"k{i}" for i in range(40))),
        *refs(table, ["both", "new"], "hits"),
    ]
    (write,) = add(dynamodb, dict.fromkeys([*bad, *good], 5), first=first)
    assert set(write.rejected) == set(bad)
    assert {found.reason for found in write.rejected.values()} == {Reason.COUNTER_NOT_A_NUMBER}
    ten = CounterRef(table, "both", None, "hits")
    assert numbers(dynamodb, good) == dict.fromkeys(good, 5) | {ten: 15}
    assert stored(dynamodb, bad) == {ref: {"S": "text"} for ref in bad}


def test_a_sum_of_too_many_digits_is_found_among_its_neighbours(make_table: MakeTable) -> None:
    client = cast("Any", FakeDynamoDB())
    table = make_table(client)
    put(client, table, "a", full={"N": "9" * 38}, good={"N": "1"})
    events = window(table, (1, "a", "full", 2), (2, "a", "good", 1))
    (write,) = add(client, events, fence=FENCE)
    assert [ref.name for ref in write.rejected] == ["full"]
    good = CounterRef(table, "a", None, "good")
    assert numbers(client, [good]) == {good: 2}


def test_windows_that_make_the_same_items_at_once_all_count(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    table = make_table(dynamodb)
    counters = refs(table, (f"k{i}" for i in range(30)))
    writes = add(dynamodb, *[dict.fromkeys(counters, 10**i) for i in range(6)])
    assert all(write.rejected == {} for write in writes)
    assert numbers(dynamodb, counters) == dict.fromkeys(counters, 111_111)


def test_two_tables_in_a_window(dynamodb: "DynamoDBClient", make_table: MakeTable) -> None:
    tables = [make_table(dynamodb), make_table(dynamodb)]
    window = {ref: i for i, ref in enumerate(r for t in tables for r in refs(t, ["a", "b"]))}
    add(dynamodb, window)
    assert numbers(dynamodb, window) == window


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_keys_that_are_numbers(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb, "N", "N")
    texts = [
        "0",
        "-1.5",
        "7",
        "9" * 38,
        "-" + "9" * 38,
        "0." + "9" * 38,
        "1e125",
        "1e-130",
        "1e-39",
    ]
    plain = [key_value(text, "N") for text in texts]
    window = {CounterRef(table, n, plain[-1 - i], "count"): i + 1 for i, n in enumerate(plain)}
    add(dynamodb, window, first=first)
    add(dynamodb, window, first=first)
    assert numbers(dynamodb, window) == {ref: 2 * n for ref, n in window.items()}


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_range_keys_tell_items_of_one_hash_key_apart(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb, "S", "S")
    window = {CounterRef(table, "k", f"r{i}", "count"): i for i in range(30)}
    add(dynamodb, window, first=first)
    add(dynamodb, window, first=first)
    assert numbers(dynamodb, window) == {ref: 2 * n for ref, n in window.items()}


def test_keys_may_hold_any_text(dynamodb: "DynamoDBClient", make_table: MakeTable) -> None:
    table = make_table(dynamodb, "S", "S")
    texts = [
        "'",
        '"',
        "?",
        "k' OR '1'='1",
        "a\nb",
        "\x00",
        "žluťoučký",
        "\N{SNOWMAN}",
        "\U0001f600",
    ]
    window = {CounterRef(table, text, text, "count"): 1 for text in texts}
    window[CounterRef(table, "é" * 1024, "é" * 512, "count")] = 1  # the longest keys
    add(dynamodb, window)
    add(dynamodb, window)
    assert numbers(dynamodb, window) == dict.fromkeys(window, 2)


def test_sums_beyond_int64_are_added_exactly(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    table = make_table(dynamodb)
    (ref,) = refs(table, ["k"])
    big = 2**63 * 10**8 - 1  # ministack adds with 28 digits, DynamoDB with 38
    add(dynamodb, {ref: big})
    add(dynamodb, {ref: -(10**26)})
    assert numbers(dynamodb, [ref]) == {ref: big - 10**26}


def test_a_sum_of_zero_makes_the_counter(dynamodb: "DynamoDBClient", make_table: MakeTable) -> None:
    (ref,) = refs(make_table(dynamodb), ["k"])
    add(dynamodb, {ref: 0})
    assert numbers(dynamodb, [ref]) == {ref: 0}


def test_a_missing_table_is_refused_by_its_name(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    there, gone = make_table(dynamodb), unique("gone")
    counters = Counters(dynamodb, {there: KeySchema("pk"), gone: KeySchema("pk")})
    for step in Step:
        (answer,) = counters.execute(step, [Change(gone, "k", None, {"count": 1})])
        assert isinstance(answer, Refused)
        assert answer.cause.startswith("ResourceNotFound")


def test_each_step_answers_for_each_of_its_changes(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    table = make_table(dynamodb)
    counters = Counters(dynamodb, {table: describe(dynamodb, table)})
    put(dynamodb, table, "there", count={"N": "1"})
    put(dynamodb, table, "bare")
    put(dynamodb, table, "text", count={"S": "text"})
    batch = [Change(table, k, None, {"count": 1}) for k in ("there", "missing", "bare", "text")]
    assert counters.execute(Step.UPDATE, batch) == [
        Applied(),
        TryStep(Step.INSERT),
        TryStep(Step.UPDATE_ITEM),
        TryStep(Step.UPDATE_ITEM),
    ]
    assert counters.execute(Step.INSERT, batch[:2]) == [TryStep(Step.UPDATE), Applied()]
    assert counters.execute(Step.UPDATE_ITEM, batch[2:3]) == [Applied()]
    (answer,) = counters.execute(Step.UPDATE_ITEM, batch[3:])
    assert isinstance(answer, Rejected)
