"""The tables of a round, with items of all kinds that were there before it."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tests.chaos.load import TEXT_KEY

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from tests.support.events import Log


def make_table(client: "DynamoDBClient", name: str, keys: Mapping[str, str]) -> None:
    """Make a table with these keys and their types, the hash key first."""
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": key, "AttributeType": kind}  # type: ignore[typeddict-item]
            for key, kind in keys.items()
        ],
        KeySchema=[
            {"AttributeName": key, "KeyType": role}  # type: ignore[typeddict-item]
            for key, role in zip(keys, ("HASH", "RANGE"), strict=False)
        ],
    )


def make_tables(client: "DynamoDBClient", plain: str, ranged: str) -> "Log":
    """Make a table without and one with a range key; return what their counters hold already."""
    make_table(client, plain, {"pk": "S"})
    make_table(client, ranged, {"pk": "S", "rk": "S"})
    before: Log = Counter()
    for number in range(0, 60, 3):
        key = f"c{number}"
        item = {"pk": {"S": key}, "count": {"N": "1000"}, "note": {"S": "not ours"}}
        if number % 2:
            del item["count"]
        else:
            before[plain, key, None, "count"] += 1000
        client.put_item(TableName=plain, Item=item)
    text = {"pk": {"S": TEXT_KEY}, "count": {"S": "many"}}
    client.put_item(TableName=plain, Item=text)
    return before
