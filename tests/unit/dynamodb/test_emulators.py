"""Endpoints that are not quite DynamoDB are named as such."""

import queue
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from dynatomic.dynamodb.answers import ITEM_NOT_RETURNED
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.statements import Step
from dynatomic.dynamodb.tables import refusal_message
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.row import CounterRef, KeySchema
from dynatomic.testing.dynamodb.client import FakeDynamoDB
from tests.support.waiting import wait_until
from tests.support.windows import window_of

if TYPE_CHECKING:
    from dynatomic.dynamodb.write import WindowWrite

FENCE = "fence_0123abcd_7"
SUMS = {CounterRef("tab", f"k{i}", None, "count"): 5 for i in range(3)}
SECONDS = 10


class WithoutItems(FakeDynamoDB):
    """An emulator that refuses conditions without returning the item."""

    def update_item(self, **params: Any) -> Any:
        try:
            return super().update_item(**params)
        except ClientError as error:
            error.response.pop("Item", None)  # type: ignore[typeddict-item]
            raise

    def batch_execute_statement(self, **params: Any) -> Any:
        answer = super().batch_execute_statement(**params)
        for response in answer["Responses"]:
            response.get("Error", {}).pop("Item", None)
        return answer


@pytest.mark.parametrize("first", [Step.UPDATE, Step.INSERT, Step.UPDATE_ITEM])
def test_conditions_without_an_item_are_a_refusal_and_not_a_wait(first: Step) -> None:
    client: Any = WithoutItems()
    client.create_table(
        TableName="tab",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    client.put_item(TableName="tab", Item={"pk": {"S": "k0"}, "count": {"N": "10"}})
    counters = Counters(client, {"tab": KeySchema("pk")})
    done: queue.Queue[WindowWrite] = queue.Queue()
    writer = Writer(counters.execute, max_requests=1, first_step=first)
    try:
        writer.submit(window_of(SUMS), done.put, FENCE)
        done.get(timeout=SECONDS)
        counts = [int(item["count"]["N"]) for item in client.items("tab")]
        assert counts == [15, 5, 5], "a fence that lets the sum pass needs no item"
        again = writer.submit(window_of(SUMS), done.put, FENCE)
        wait_until(lambda: bool(again.waits_by_table), "refused")
    finally:
        writer.close()
    assert again.refused_tables == {"tab": ITEM_NOT_RETURNED}
    assert "is not DynamoDB" in refusal_message(ITEM_NOT_RETURNED, "table tab", "the write")
    assert [int(item["count"]["N"]) for item in client.items("tab")] == [15, 5, 5]
    assert sum(client.requests.values()) < 30, "it is not sent again and again without a pause"
