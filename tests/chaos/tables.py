"""The tables of a round, with items of all kinds that were there before it."""

from collections import Counter
from typing import TYPE_CHECKING

from tests.chaos.load import TEXT_KEY

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from tests.support.events import Log


def make_tables(client: "DynamoDBClient", plain: str, ranged: str) -> "Log":
    """Make a table without and one with a range key; return what their counters hold already."""
    for name, keys in ((plain, ("pk",)), (ranged, ("pk", "rk"))):
        client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": k, "AttributeType": "S"} for k in keys],
            KeySchema=[
                {"AttributeName": k, "KeyType": t}  # type: ignore[typeddict-item]
                for k, t in zip(keys, ("HASH", "RANGE"), strict=False)
            ],
        )
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
