"""What DynamoDB answers to statements with a fence, on the fake and on both servers."""

from typing import TYPE_CHECKING, Any

import pytest

from dynatomic.dynamodb.statements import update_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
from tests.support.statements import CONDITION, TEXT, change, codes, get, put, send


def fenced(table: str, condition: str, *parameters: int) -> dict[str, Any]:
    """Return the exactly-once form for the item "a": one atomic update with two SET clauses."""
    numbers: list[dict[str, Any]] = [{"N": str(number)} for number in parameters]
    numbers.insert(2, {"S": "a"})
    sets = 'SET "count"="count"+? SET "fence"=?'
    return {
        "Statement": f'UPDATE "{table}" {sets} WHERE "pk"=? AND {condition}',
        "Parameters": numbers,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def test_a_fence_below_lets_both_sets_through(dynamodb: "DynamoDBClient", table: str) -> None:
    put(dynamodb, table, "a", count=1, fence=9)
    assert codes(send(dynamodb, fenced(table, '"fence"<?', 5, 19, 10))) == [None]
    assert get(dynamodb, table, "a") == {"count": {"N": "6"}, "fence": {"N": "19"}}


@pytest.mark.parametrize("fence", [10, 19, 100])
def test_a_fence_that_is_not_below_refuses_and_returns_the_item(
    dynamodb: "DynamoDBClient", table: str, fence: int
) -> None:
    put(dynamodb, table, "a", count=1, fence=fence)
    (answer,) = send(dynamodb, fenced(table, '"fence"<?', 5, 19, 10))
    assert answer["Error"]["Code"] == CONDITION
    assert answer["Error"]["Item"] == {
        "pk": {"S": "a"},
        "count": {"N": "1"},
        "fence": {"N": str(fence)},
    }
    assert get(dynamodb, table, "a") == {"count": {"N": "1"}, "fence": {"N": str(fence)}}


def test_the_old_item_comes_only_if_asked_for(dynamodb: "DynamoDBClient", table: str) -> None:
    put(dynamodb, table, "a", count=1, fence=19)
    silent = fenced(table, '"fence"<?', 5, 19, 10)
    del silent["ReturnValuesOnConditionCheckFailure"]
    (answer,) = send(dynamodb, silent)
    assert answer["Error"]["Code"] == CONDITION
    assert "Item" not in answer["Error"]


def test_a_missing_fence_is_not_below_and_is_missing_once(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    put(dynamodb, table, "a", count=1)
    (below,) = send(dynamodb, fenced(table, '"fence"<?', 5, 19, 10))
    assert below["Error"]["Code"] == CONDITION
    assert below["Error"]["Item"] == {"pk": {"S": "a"}, "count": {"N": "1"}}

    missing = fenced(table, '"fence" IS MISSING', 5, 19)
    assert codes(send(dynamodb, missing)) == [None]
    (again,) = send(dynamodb, missing)
    assert again["Error"]["Code"] == CONDITION
    assert again["Error"]["Item"]["fence"] == {"N": "19"}
    assert get(dynamodb, table, "a") == {"count": {"N": "6"}, "fence": {"N": "19"}}


def test_a_missing_item_is_not_made_by_is_missing(dynamodb: "DynamoDBClient", table: str) -> None:
    (answer,) = send(dynamodb, fenced(table, '"fence" IS MISSING', 5, 19))
    assert answer["Error"]["Code"] == CONDITION
    assert "Item" not in answer["Error"]
    assert get(dynamodb, table, "a") is None


def test_update_item_adds_and_sets_the_fence_under_its_condition(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    request: Any = update_item(TEXT, change(table, "a", count=5))
    request["UpdateExpression"] += " SET #f = :last"
    request["ConditionExpression"] = "attribute_not_exists(#f) OR #f < :first"
    request["ExpressionAttributeNames"]["#f"] = "fence"
    request["ExpressionAttributeValues"] |= {":last": {"N": "19"}, ":first": {"N": "10"}}
    request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    dynamodb.update_item(**request)
    with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException) as error:
        dynamodb.update_item(**request)
    expected = {"count": {"N": "5"}, "fence": {"N": "19"}}
    response: Any = error.value.response
    assert response["Item"] == {"pk": {"S": "a"}, **expected}
    assert get(dynamodb, table, "a") == expected
