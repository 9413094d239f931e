"""Tables are described, created and checked for access, on the fake and on both servers."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.statements import key_attributes
from dynatomic.dynamodb.tables import create_table, describe, describe_with_ttl
from dynatomic.errors import ConfigError
from dynatomic.events.row import KeySchema
from tests.support.names import unique
from tests.support.tables import MakeTable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@pytest.mark.parametrize("write_mode", ["batch", "single"])
@pytest.mark.parametrize(("hash_type", "range_type"), [("S", None), ("N", None), ("S", "N")])
def test_the_check_of_access_changes_nothing(
    dynamodb: "DynamoDBClient",
    make_table: MakeTable,
    hash_type: Any,
    range_type: Any,
    write_mode: str,
) -> None:
    table = make_table(dynamodb, hash_type, range_type)
    keys = describe(dynamodb, table)
    Counters(dynamodb, {table: keys}).check_access(table, write_mode)
    for key in ("dynatomic-access-check", "0"):
        item = key_attributes(keys, key, "0") if hash_type == "S" or key == "0" else None
        assert item is None or "Item" not in dynamodb.get_item(TableName=table, Key=item)


@pytest.mark.parametrize("write_mode", ["batch", "single"])
def test_the_check_of_access_finds_a_missing_table(
    dynamodb: "DynamoDBClient", write_mode: str
) -> None:
    gone = unique("gone")
    with pytest.raises(ConfigError, match=gone):
        Counters(dynamodb, {gone: KeySchema("pk")}).check_access(gone, write_mode)


@pytest.mark.parametrize(
    ("hash_type", "range_type", "expected"),
    [
        ("S", None, KeySchema("pk", "S")),
        ("N", None, KeySchema("pk", "N")),
        ("S", "N", KeySchema("pk", "S", "rk", "N")),
        ("N", "S", KeySchema("pk", "N", "rk", "S")),
    ],
)
def test_describe_finds_names_and_types(
    dynamodb: "DynamoDBClient",
    make_table: MakeTable,
    hash_type: Any,
    range_type: Any,
    expected: KeySchema,
) -> None:
    assert describe(dynamodb, make_table(dynamodb, hash_type, range_type)) == expected


def test_describe_says_where_a_table_is_missing_and_which_one_is_similar(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    gone = f"{table[:-1]}_"
    with pytest.raises(ConfigError) as caught:
        describe(dynamodb, gone)
    url = dynamodb.meta.endpoint_url
    assert f"table '{gone}' does not exist in region us-east-1 at {url}" in str(caught.value)
    assert f"init --create-tables --table {gone}`; did you mean '{table}'?" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_describe_refuses_keys_of_bytes(dynamodb: "DynamoDBClient") -> None:
    table = unique("bytes")
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "B"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    try:
        with pytest.raises(ConfigError, match="type B"):
            describe(dynamodb, table)
    finally:
        dynamodb.delete_table(TableName=table)


@pytest.mark.parametrize("range_key", [False, True])
def test_create_table_makes_it_once(dynamodb: "DynamoDBClient", range_key: Any) -> None:
    table = unique("made")
    try:
        assert create_table(dynamodb, table, range_key=range_key) is True
        expected = KeySchema("pk", "S", "rk", "S") if range_key else KeySchema("pk", "S")
        assert describe(dynamodb, table) == expected
        assert create_table(dynamodb, table, range_key=range_key) is False
    finally:
        dynamodb.delete_table(TableName=table)


def test_the_ttl_attribute_is_described(dynamodb: "DynamoDBClient", table: str) -> None:
    assert describe_with_ttl(dynamodb, table).ttl_name is None
    dynamodb.update_time_to_live(
        TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )
    assert describe_with_ttl(dynamodb, table) == replace(
        describe(dynamodb, table), ttl_name="expires"
    )


def test_the_keys_of_indexes_are_described(dynamodb: "DynamoDBClient") -> None:
    name = unique("indexed")
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "day", "AttributeType": "S"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-day",
                "KeySchema": [{"AttributeName": "day", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    try:
        assert describe(dynamodb, name) == KeySchema("pk", index_names=frozenset({"day"}))
    finally:
        dynamodb.delete_table(TableName=name)
