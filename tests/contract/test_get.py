"""Counters of a hash key are read by Query, and printed by ``dynatomic get``."""

import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from dynatomic.cli import main as cli
from dynatomic.dynamodb.items import query_items
from dynatomic.events.row import KeySchema, KeyType
from tests.support.command_line import failed
from tests.support.tables import MakeTable
from tests.support.tables import make_client as plain_client

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SHARDS = ["day#1#0", "day#1#1", "day#10#0", "day#2", "é"]


def put(client: "DynamoDBClient", table: str, count: int | str, **keys: tuple[str, str]) -> None:
    attributes: Any = {name: {kind: text} for name, (kind, text) in keys.items()}
    number: Any = (
        {"count": {"N": str(count)}} if isinstance(count, int) else {"count": {"S": count}}
    )
    client.put_item(TableName=table, Item={**attributes, **number})


def found(
    client: "DynamoDBClient", table: str, keys: KeySchema, key: str, **which: str
) -> list[Any]:
    items = query_items(client, table, keys, key, **cast("Any", which))
    return [(item, int(attributes["count"]["N"])) for item, attributes in items]


def test_the_items_of_a_key_are_found_by_range_and_prefix(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    table, keys = make_table(dynamodb, "S", "S"), KeySchema("pk", "S", "rk", "S")
    for number, shard in enumerate(SHARDS):
        put(dynamodb, table, number, pk=("S", "k"), rk=("S", shard))
    put(dynamodb, table, 9, pk=("S", "other"), rk=("S", "day#1#0"))
    everything = [(("k", shard), number) for number, shard in enumerate(SHARDS)]
    assert found(dynamodb, table, keys, "k") == everything
    assert found(dynamodb, table, keys, "k", prefix="day#1#") == everything[:2]
    assert found(dynamodb, table, keys, "k", range_="day#2") == everything[3:4]
    assert found(dynamodb, table, keys, "none") == []


@pytest.mark.parametrize("hash_type", ["S", "N"])
def test_the_items_of_number_keys_are_in_their_order(
    dynamodb: "DynamoDBClient", make_table: MakeTable, hash_type: KeyType
) -> None:
    table, keys = make_table(dynamodb, hash_type, "N"), KeySchema("pk", hash_type, "rk", "N")
    for number in (10, 9, -1):
        put(dynamodb, table, number, pk=(hash_type, "7"), rk=("N", str(number)))
    assert [count for _, count in found(dynamodb, table, keys, "7")] == [-1, 9, 10]
    assert found(dynamodb, table, keys, "7", range_="9") == [(("7", "9"), 9)]


def test_all_pages_of_a_key_are_read(endpoint_url: str, make_table: MakeTable) -> None:
    client = plain_client(endpoint_url)
    table, keys = make_table(client, "S", "S"), KeySchema("pk", "S", "rk", "S")
    for number in range(8):  # a page has at most 1 MB
        item = {"pk": {"S": "k"}, "rk": {"S": f"{number}"}, "count": {"N": "1"}}
        client.put_item(TableName=table, Item=cast("Any", item | {"big": {"S": "x" * 300_000}}))
    assert len(found(client, table, keys, "k")) == 8


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert cli.main(["get", *argv]) == 0
    return capsys.readouterr().out


def test_the_command_prints_a_counter_its_shards_and_their_sum(
    endpoint_url: str, make_table: MakeTable, capsys: pytest.CaptureFixture[str]
) -> None:
    client = plain_client(endpoint_url)
    plain, ranged = make_table(client), make_table(client, "S", "S")
    put(client, plain, -5, pk=("S", "k"))
    for number, shard in enumerate(SHARDS):
        put(client, ranged, 10**number, pk=("S", "k"), rk=("S", shard))
    put(client, ranged, "text", pk=("S", "k"), rk=("S", "day#1#2"))
    assert printed(capsys, plain, "k") == "-5\n"
    assert printed(capsys, ranged, "k", "--range", "day#2") == "1000\n"
    assert printed(capsys, ranged, "k", "--prefix", "day#1#") == "day#1#0   1\nday#1#1  10\n"
    assert printed(capsys, ranged, "k", "--prefix", "day#1#", "--total") == "11\n"
    assert printed(capsys, ranged, "k", "--total") == "11111\n"
    lines = printed(capsys, ranged, "k", "--prefix", "day#10", "-o", "json").splitlines()
    assert [json.loads(line) for line in lines] == [{"key": "k", "range": "day#10#0", "value": 100}]
    assert json.loads(printed(capsys, ranged, "k", "--total", "-o", "json")) == {
        "items": 5,
        "value": 11111,
    }


def test_the_command_says_what_it_cannot_read(
    endpoint_url: str, make_table: MakeTable, capsys: pytest.CaptureFixture[str]
) -> None:
    client = plain_client(endpoint_url)
    plain, numbers = make_table(client), make_table(client, "S", "N")
    assert "no item of this key has a number in 'count'" in failed(capsys, 1, "get", plain, "k")
    assert "leave out --range" in failed(capsys, 78, "get", plain, "k", "--range", "r")
    assert "use --range" in failed(capsys, 78, "get", numbers, "k", "--prefix", "1")
    assert "key-not-a-number" in failed(capsys, 1, "get", numbers, "k", "--range", "x")
    assert "does not exist" in failed(capsys, 78, "get", f"{plain}-none", "k")
