"""`aincrement` beside an event loop that must go on."""

import asyncio
import threading
from typing import TYPE_CHECKING, cast

from dynatomic.dynamodb.increment import aincrement
from dynatomic.testing.dynamodb.client import FakeDynamoDB, Request

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SECONDS = 30


def test_the_event_loop_goes_on_while_a_request_is_under_way() -> None:
    fake, answered = FakeDynamoDB(), threading.Event()
    fake.create_table(
        TableName="hits",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )

    def hold(request: Request) -> Exception | None:
        if request.operation == "UpdateItem" and not answered.wait(SECONDS):
            return TimeoutError("the event loop did not go on")
        return None

    fake.faults.before = hold

    async def count() -> int:
        task = asyncio.create_task(aincrement("hits", "k", client=cast("DynamoDBClient", fake)))
        await asyncio.sleep(0)  # the task starts
        answered.set()
        return await task

    assert asyncio.run(count()) == 1
