"""`increment_many` on the fake, on both servers, and behind a proxy with faults."""

from typing import TYPE_CHECKING

import pytest

from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.increment_many import IncrementManyError, increment_many
from dynatomic.errors import RowError
from dynatomic.events.row import CounterRef, Row
from tests.support.counters import numbers, put, refs
from tests.support.faults import DropResponse, Fault, access_denied, throttle
from tests.support.proxy import FaultyProxy
from tests.support.tables import MakeTable
from tests.support.tables import make_client as plain_client

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def test_rows_are_summed_and_added(dynamodb: "DynamoDBClient", make_table: MakeTable) -> None:
    table, ranged = make_table(dynamodb), make_table(dynamodb, "N", "S")
    put(dynamodb, table, "k0", count={"N": "100"}, hits={"N": "1"})
    rows = [Row(table, f"k{n % 60}", incr=n) for n in range(600)]
    rows += [
        Row(table, "k0", counter="hits", incr=5),
        Row(ranged, "1.0", range="r"),
        Row(ranged, "1", range="r"),
    ]
    increment_many(rows, client=dynamodb)
    expected = {CounterRef(table, f"k{n}", None, "count"): 10 * n + 60 * 45 for n in range(60)}
    expected[CounterRef(table, "k0", None, "count")] += 100
    expected[CounterRef(table, "k0", None, "hits")] = 6
    expected[CounterRef(ranged, "1", "r", "count")] = 2
    assert numbers(dynamodb, expected) == expected
    increment_many([], client=dynamodb)


def test_an_item_with_many_counters_takes_several_statements(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    names = [f"counter-{n}" for n in range(300)]
    increment_many([Row(table, "k", counter=name) for name in names], client=dynamodb)
    increment_many([Row(table, "k", counter=name) for name in names], client=dynamodb)
    counters = [ref for name in names for ref in refs(table, ["k"], name)]
    assert set(numbers(dynamodb, counters).values()) == {2}


def test_a_counter_that_is_refused_leaves_the_others(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    put(dynamodb, table, "k1", text={"S": "text"})
    rows = [Row(table, f"k{n}", counter=name) for n in range(3) for name in ("count", "text")]
    with pytest.raises(
        IncrementManyError, match=r"1 of 6 counters were not raised.*not a number"
    ) as e:
        increment_many(rows, client=dynamodb)
    assert e.value.not_added == [Row(table, "k1", range=None, counter="text", incr=1)]
    assert (e.value.unknown, e.value.applied) == ([], False)
    counters = refs(table, ["k0", "k1", "k2"])
    assert set(numbers(dynamodb, counters).values()) == {1}


def test_nothing_is_sent_if_a_row_is_invalid(dynamodb: "DynamoDBClient", table: str) -> None:
    for bad in (Row(table, ""), Row(table, "k", range="r"), Row(table, "k", counter="pk")):
        with pytest.raises(RowError):
            increment_many([Row(table, "k"), bad], client=dynamodb)
    assert "Item" not in dynamodb.get_item(TableName=table, Key={"pk": {"S": "k"}})


@pytest.mark.parametrize(
    ("fault", "not_added", "unknown", "says"),
    [
        (throttle(), 25, 0, "25 of 30 counters were not raised, and 0 may"),
        (access_denied(), 25, 0, "allow dynamodb:"),
        (DropResponse(), 0, 25, "0 of 30 counters were not raised, and 25 may"),
    ],
)
def test_no_request_is_sent_again(
    endpoint_url: str, make_table: MakeTable, fault: Fault, not_added: int, unknown: int, says: str
) -> None:
    direct = plain_client(endpoint_url)
    table = make_table(direct)
    rows = [Row(table, f"k{n:02}", range=None, counter="count", incr=1) for n in range(30)]
    for row in rows:
        put(direct, table, row.key, count={"N": "0"})
    with FaultyProxy(endpoint_url, [None, None, fault]) as proxy:
        with pytest.raises(IncrementManyError, match=says) as caught:
            increment_many(rows, client=make_client(proxy.endpoint_url))
        assert proxy.counts["BatchExecuteStatement"] == 2
    error = caught.value
    assert error.not_added == rows[:not_added]
    assert error.unknown == rows[:unknown]
    assert error.applied is (None if unknown else False)
    increment_many(error.not_added, client=direct)
    assert set(numbers(direct, refs(table, [row.key for row in rows])).values()) == {1}
