"""Items are read by BatchGetItem and Scan, on the fake, the embedded table and DynamoDB Local."""

from typing import TYPE_CHECKING, Any, cast

import pytest

from dynatomic.dynamodb.items import ItemKey, read_items, scan_items
from dynatomic.events.row import KeySchema, KeyType
from tests.support.tables import MakeTable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


KEYS: dict[KeyType, list[str]] = {
    "S": ["a", "é/漢", "1.0"],
    "N": ["7", "-0.5", "0", "1" + "0" * 30],
}


@pytest.mark.parametrize("range_type", [None, "S", "N"])
@pytest.mark.parametrize("hash_type", ["S", "N"])
def test_items_are_found_by_every_kind_of_key(
    dynamodb: "DynamoDBClient",
    make_table: MakeTable,
    hash_type: KeyType,
    range_type: KeyType | None,
) -> None:
    table = make_table(dynamodb, hash_type, range_type)
    keys = KeySchema("pk", hash_type, "rk" if range_type else None, range_type)
    ranges = KEYS[range_type] if range_type else [None]
    wanted: list[ItemKey] = [k if r is None else (k, r) for k in KEYS[hash_type] for r in ranges]
    for number, item in enumerate(wanted[1:], start=1):
        key, range_ = (item, None) if isinstance(item, str) else item
        attributes: dict[str, Any] = {"pk": {hash_type: key}, "count": {"N": str(number)}}
        if range_ is not None:
            attributes["rk"] = {range_type: range_}
        dynamodb.put_item(TableName=table, Item=attributes)
    found = read_items(dynamodb, table, keys, wanted)
    assert {item: found[item]["count"]["N"] for item in found} == {
        item: str(number) for number, item in enumerate(wanted) if number
    }


@pytest.mark.parametrize("hash_type", ["S", "N"])
@pytest.mark.parametrize("dynamodb", ["embedded", "real"], indirect=True)
def test_all_items_of_a_table_are_found_page_by_page(
    dynamodb: "DynamoDBClient", make_table: MakeTable, hash_type: KeyType
) -> None:
    table = make_table(dynamodb, hash_type, "S")
    keys = KeySchema("pk", hash_type, "rk", "S")
    assert list(scan_items(dynamodb, table, keys)) == []
    big = "x" * 300_000  # a page has at most 1 MB
    for number in range(8):
        item = {"pk": {hash_type: f"{number}"}, "rk": {"S": "r"}, "big": {"S": big}}
        dynamodb.put_item(TableName=table, Item=cast("Any", item))
    found = dict(scan_items(dynamodb, table, keys))
    assert sorted(found) == [(f"{number}", "r") for number in range(8)]
    assert all(item["big"]["S"] == big for item in found.values())
