"""Statements and UpdateItem arguments."""

from typing import Any

import pytest

from dynatomic.dynamodb.fence import Fence
from dynatomic.dynamodb.statements import (
    BATCH,
    Change,
    Step,
    group_changes,
    key_attributes,
    next_batches,
    statement,
    update_item,
)
from dynatomic.events.row import CounterRef, KeySchema
from tests.support.changes import FENCE, ONE, ONE_FENCED, TWO, TWO_FENCED

TEXT = KeySchema("pk")


NUMBER = KeySchema("id", "N")


RANGED = KeySchema("pk", "S", "rk", "N")


@pytest.mark.parametrize(
    ("step", "keys", "change", "text", "parameters"),
    [
        (
            Step.UPDATE,
            TEXT,
            ONE,
            'UPDATE "tab" SET "count"="count"+? WHERE "pk"=?',
            [{"N": "5"}, {"S": "k"}],
        ),
        (
            Step.UPDATE,
            NUMBER,
            Change("a.b-c_d", "7", None, {"count": -5}),
            'UPDATE "a.b-c_d" SET "count"="count"+? WHERE "id"=?',
            [{"N": "-5"}, {"N": "7"}],
        ),
        (
            Step.UPDATE,
            RANGED,
            Change("tab", "k", "-1.5", {"count": 0}),
            'UPDATE "tab" SET "count"="count"+? WHERE "pk"=? AND "rk"=?',
            [{"N": "0"}, {"S": "k"}, {"N": "-1.5"}],
        ),
        (
            Step.UPDATE,
            TEXT,
            TWO,
            'UPDATE "tab" SET "bytes"="bytes"+? SET "hits"="hits"+? WHERE "pk"=?',
            [{"N": str(10**30)}, {"N": "-1"}, {"S": "k"}],
        ),
        (
            Step.INSERT,
            TEXT,
            ONE,
            "INSERT INTO \"tab\" VALUE {'pk': ?, 'count': ?}",
            [{"S": "k"}, {"N": "5"}],
        ),
        (
            Step.INSERT,
            RANGED,
            Change("tab", "k", "2", {"hits": 1, "a.b": 2}),
            "INSERT INTO \"tab\" VALUE {'pk': ?, 'rk': ?, 'a.b': ?, 'hits': ?}",
            [{"S": "k"}, {"N": "2"}, {"N": "2"}, {"N": "1"}],
        ),
        (
            Step.UPDATE,
            RANGED,
            Change("tab", "k", "2", {"hits": 1, "count": 5}, FENCE),
            (
                'UPDATE "tab" SET "count"="count"+? SET "hits"="hits"+? SET "fence_0123abcd_7"=? '
                'WHERE "pk"=? AND "rk"=? AND "fence_0123abcd_7"<?'
            ),
            [{"N": "5"}, {"N": "1"}, {"N": "19"}, {"S": "k"}, {"N": "2"}, {"N": "10"}],
        ),
        (
            Step.ADD_FENCE,
            TEXT,
            ONE_FENCED,
            (
                'UPDATE "tab" SET "count"="count"+? SET "fence_0123abcd_7"=? '
                'WHERE "pk"=? AND "fence_0123abcd_7" IS MISSING'
            ),
            [{"N": "5"}, {"N": "19"}, {"S": "k"}],
        ),
        (
            Step.INSERT,
            TEXT,
            ONE_FENCED,
            "INSERT INTO \"tab\" VALUE {'pk': ?, 'count': ?, 'fence_0123abcd_7': ?}",
            [{"S": "k"}, {"N": "5"}, {"N": "19"}],
        ),
    ],
)
def test_the_statement_of_a_step(
    step: Step, keys: KeySchema, change: Change, text: str, parameters: list[dict[str, Any]]
) -> None:
    assert statement(step, keys, change) == {
        "Statement": text,
        "Parameters": parameters,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def test_keys_go_as_parameters_whatever_they_hold() -> None:
    key = "x\"' OR 1=1 ?"
    found = statement(Step.UPDATE, RANGED, Change("tab", key, "1", {"count": 1}))
    assert key not in found["Statement"]
    assert found["Statement"].count("?") == len(found["Parameters"]) == 3
    assert {"S": key} in found["Parameters"]


def test_equal_changes_make_equal_statements() -> None:
    turned = Change("tab", "k", None, {"bytes": 10**30, "hits": -1})
    assert statement(Step.UPDATE, TEXT, TWO) == statement(Step.UPDATE, TEXT, turned)


@pytest.mark.parametrize(
    ("keys", "change", "expected"),
    [
        (
            TEXT,
            ONE,
            {
                "Key": {"pk": {"S": "k"}},
                "UpdateExpression": "ADD #0 :0",
                "ExpressionAttributeNames": {"#0": "count"},
                "ExpressionAttributeValues": {":0": {"N": "5"}},
            },
        ),
        (
            RANGED,
            Change("tab", "k", "2", {"hits": -1, "a.b": 7}),
            {
                "Key": {"pk": {"S": "k"}, "rk": {"N": "2"}},
                "UpdateExpression": "ADD #0 :0, #1 :1",
                "ExpressionAttributeNames": {"#0": "a.b", "#1": "hits"},
                "ExpressionAttributeValues": {":0": {"N": "7"}, ":1": {"N": "-1"}},
            },
        ),
    ],
)
def test_the_update_of_a_single_item(
    keys: KeySchema, change: Change, expected: dict[str, Any]
) -> None:
    asked = {"TableName": "tab", "ReturnConsumedCapacity": "TOTAL"}
    assert update_item(keys, change) == {**asked, **expected}


def test_the_fenced_update_of_a_single_item() -> None:
    found = update_item(TEXT, TWO_FENCED)
    assert found["UpdateExpression"] == "ADD #0 :0, #1 :1 SET #f = :last"
    assert found["ConditionExpression"] == "attribute_not_exists(#f) OR #f < :first"
    assert found["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
    assert found["ExpressionAttributeNames"]["#f"] == FENCE.name
    values = found["ExpressionAttributeValues"]
    assert (values[":last"], values[":first"]) == ({"N": "19"}, {"N": "10"})


@pytest.mark.parametrize("change", [ONE, ONE_FENCED])
def test_to_look_is_to_update_only_an_item_that_is_not_there(change: Change) -> None:
    found = update_item(TEXT, change, Step.INSPECT)
    assert found["ConditionExpression"] == "attribute_not_exists(#key)"
    assert found["ExpressionAttributeNames"]["#key"] == "pk"
    assert found["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
    assert (":last" in found["ExpressionAttributeValues"]) == (change.fence is not None)
    assert ":first" not in found["ExpressionAttributeValues"]  # DynamoDB refuses what is not used


def test_key_attributes_have_the_types_of_the_table() -> None:
    assert key_attributes(TEXT, "1", None) == {"pk": {"S": "1"}}
    assert key_attributes(NUMBER, "1", None) == {"id": {"N": "1"}}
    assert key_attributes(RANGED, "1", "1") == {"pk": {"S": "1"}, "rk": {"N": "1"}}


def test_sums_are_grouped_by_table_and_item() -> None:
    sums = {
        CounterRef("tab", "a", None, "count"): 1,
        CounterRef("other", "a", None, "count"): 2,
        CounterRef("tab", "b", None, "count"): 3,
        CounterRef("tab", "a", None, "hits"): 0,
        CounterRef("tab", "a", "r", "count"): 5,
    }
    assert group_changes(sums) == {
        "tab": [
            Change("tab", "a", None, {"count": 1, "hits": 0}),
            Change("tab", "b", None, {"count": 3}),
            Change("tab", "a", "r", {"count": 5}),
        ],
        "other": [Change("other", "a", None, {"count": 2})],
    }
    assert group_changes({}) == {}


def test_a_change_knows_its_counters_and_makes_smaller_ones() -> None:
    assert TWO.refs() == [CounterRef("tab", "k", None, n) for n in ("bytes", "hits")]
    assert TWO.only({"hits": 7}, 3) == Change("tab", "k", None, {"hits": 7})
    fenced = TWO._replace(fence=FENCE)
    assert fenced.only({"hits": 7}) == Change("tab", "k", None, {"hits": 7}, FENCE)
    rest = Change("tab", "k", None, {"hits": 7}, Fence("fence_0123abcd_7", 15, 19))
    assert fenced.only({"hits": 7}, 15) == rest


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (25, [25]), (26, [25, 1]), (75, [25] * 3)]
)
def test_batches_hold_at_most_what_a_request_takes(count: int, sizes: list[int]) -> None:
    items = [Change("tab", str(i), None, {"count": i}) for i in range(count)]
    batches = next_batches(iter(items))
    assert BATCH == 25
    assert [len(batch) for batch in batches] == sizes
    assert [change for batch in batches for change in batch] == items
