"""Fences are lowered and adopted, on the fake, the embedded table and DynamoDB Local."""

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ReadTimeoutError

from dynatomic.dynamodb.answers import Item
from dynatomic.dynamodb.fence_changes import adopted_fences, change_fences, lowered_fences
from dynatomic.errors import DynatomicError
from dynatomic.events.row import KeySchema
from tests.support.tables import MakeTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_dynamodb import DynamoDBClient

OLD, NEW = "a" * 32, "b" * 32
KEYS = KeySchema("pk", "S", "rk", "N")
ITEMS: dict[str, dict[str, int]] = {
    "below": {"fence_aaaaaaaa_0": 5, "count": 1},
    "at": {"fence_aaaaaaaa_0": 6, "count": 2},
    "above": {"fence_aaaaaaaa_0": 900, "fence_aaaaaaaa_1": 900, "count": 3},
    "other": {"fence_cccccccc_0": 900, "count": 4},
    "none": {"count": 5},
}


@pytest.fixture
def filled(dynamodb: "DynamoDBClient", make_table: MakeTable) -> str:
    table = make_table(dynamodb, "S", "N")
    for key, numbers in ITEMS.items():
        attributes: dict[str, Any] = {name: {"N": str(n)} for name, n in numbers.items()}
        dynamodb.put_item(TableName=table, Item={"pk": {"S": key}, "rk": {"N": "7"}, **attributes})
    return table


def numbers(client: "DynamoDBClient", table: str) -> dict[str, dict[str, int]]:
    items = client.scan(TableName=table, ConsistentRead=True)["Items"]
    return {
        item["pk"]["S"]: {
            name: int(value["N"]) for name, value in item.items() if name not in {"pk", "rk"}
        }
        for item in items
    }


def with_fences(**fences: dict[str, int]) -> dict[str, dict[str, int]]:
    return {key: {**values, **fences.get(key, {})} for key, values in ITEMS.items()}


def test_fences_at_the_cut_or_above_it_are_lowered_below_it(
    dynamodb: "DynamoDBClient", filled: str
) -> None:
    changes = lowered_fences(OLD, {0: 6, 3: 0})
    assert change_fences(dynamodb, filled, KEYS, changes) == (5, 2)
    expected = with_fences(at={"fence_aaaaaaaa_0": 5}, above={"fence_aaaaaaaa_0": 5})
    assert numbers(dynamodb, filled) == expected
    assert change_fences(dynamodb, filled, KEYS, changes) == (5, 0), "again it changes nothing"
    everything = lowered_fences(OLD, {0: 0})
    assert change_fences(dynamodb, filled, KEYS, everything) == (5, 3)
    assert numbers(dynamodb, filled)["at"]["fence_aaaaaaaa_0"] == -1


def test_a_copy_gets_the_fences_of_the_old_topic_and_keeps_higher_ones_of_its_own(
    dynamodb: "DynamoDBClient", filled: str
) -> None:
    dynamodb.update_item(
        TableName=filled,
        Key={"pk": {"S": "at"}, "rk": {"N": "7"}},
        UpdateExpression="SET #f = :v",
        ExpressionAttributeNames={"#f": "fence_bbbbbbbb_0"},
        ExpressionAttributeValues={":v": {"N": "8"}},
    )
    assert change_fences(dynamodb, filled, KEYS, adopted_fences(OLD, NEW)) == (5, 2)
    assert numbers(dynamodb, filled) == with_fences(
        below={"fence_bbbbbbbb_0": 5},
        at={"fence_bbbbbbbb_0": 8},
        above={"fence_bbbbbbbb_0": 900, "fence_bbbbbbbb_1": 900},
    )
    assert change_fences(dynamodb, filled, KEYS, adopted_fences(OLD, NEW)) == (5, 0)


def test_an_item_that_a_consumer_writes_meanwhile_is_an_error(
    dynamodb: "DynamoDBClient", filled: str
) -> None:
    def late(item: Item) -> dict[str, int]:
        wanted = lowered_fences(OLD, {0: 6})(item)
        if wanted:
            dynamodb.update_item(
                TableName=filled,
                Key={"pk": item["pk"], "rk": item["rk"]},
                UpdateExpression="SET #f = :v",
                ExpressionAttributeNames={"#f": "fence_aaaaaaaa_0"},
                ExpressionAttributeValues={":v": {"N": "901"}},
            )
        return wanted

    with pytest.raises(DynatomicError, match=r"an item changed .* stop it, and try again"):
        change_fences(dynamodb, filled, KEYS, late)


def test_an_item_that_is_deleted_meanwhile_is_not_made_again(
    dynamodb: "DynamoDBClient", filled: str
) -> None:
    def late(item: Item) -> dict[str, int]:
        wanted = adopted_fences(OLD, NEW)(item)
        if wanted:
            dynamodb.delete_item(TableName=filled, Key={"pk": item["pk"], "rk": item["rk"]})
        return wanted

    with pytest.raises(DynatomicError, match="an item changed"):
        change_fences(dynamodb, filled, KEYS, late)
    assert len(numbers(dynamodb, filled)) == len(ITEMS) - 1


def test_a_lost_answer_is_no_error(
    dynamodb: "DynamoDBClient", filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = dynamodb.update_item
    lost: list[Mapping[str, Any]] = []

    def lose_first(**request: Any) -> Any:
        answer = send(**request)
        if not lost:
            lost.append(request)
            raise ReadTimeoutError(endpoint_url="memory://dynamodb")
        return answer

    monkeypatch.setattr(dynamodb, "update_item", lose_first)
    pauses: list[float] = []
    changes = lowered_fences(OLD, {0: 6})
    assert change_fences(dynamodb, filled, KEYS, changes, sleep=pauses.append) == (5, 2)
    assert len(pauses) == 1
    assert numbers(dynamodb, filled)["at"]["fence_aaaaaaaa_0"] == 5
