"""Send single statements to DynamoDB, and read items."""

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from dynatomic.dynamodb.statements import Change, Step, statement, update_item
from dynatomic.events.row import KeySchema

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TEXT = KeySchema("pk", "S", None, None)

CONDITION = "ConditionalCheckFailed"

INVALID = "ValidationError"


def send(client: "DynamoDBClient", *statements: dict[str, Any]) -> list[dict[str, Any]]:
    """Send one batch and return the answer to each of its statements."""
    answered: Any = client.batch_execute_statement(Statements=list(statements))  # type: ignore[arg-type]
    assert "x-amzn-requestid" in answered["ResponseMetadata"]["HTTPHeaders"]
    assert len(answered["Responses"]) == len(statements)
    return list(answered["Responses"])


def codes(answers: list[dict[str, Any]]) -> list[str | None]:
    return [answer.get("Error", {}).get("Code") for answer in answers]


def refused(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def change(table: str, key: str, **sums: int) -> Change:
    return Change(table, key, None, sums)


def update(table: str, key: str, **sums: int) -> dict[str, Any]:
    return statement(Step.UPDATE, TEXT, change(table, key, **sums))


def insert(table: str, key: str, **sums: int) -> dict[str, Any]:
    return statement(Step.INSERT, TEXT, change(table, key, **sums))


def put(client: "DynamoDBClient", table: str, key: str, **attributes: int | str) -> None:
    item: Any = {n: {"S" if isinstance(v, str) else "N": str(v)} for n, v in attributes.items()}
    client.put_item(TableName=table, Item={"pk": {"S": key}, **item})


def get(client: "DynamoDBClient", table: str, key: str, kind: str = "S") -> dict[str, Any] | None:
    """Return the attributes of an item without its key, or None if there is no item."""
    found: Any = client.get_item(TableName=table, Key={"pk": {kind: key}}, ConsistentRead=True)
    item = found.get("Item")
    return {n: v for n, v in item.items() if n != "pk"} if item else None


def add(client: "DynamoDBClient", keys: KeySchema, what: Change) -> dict[str, Any]:
    answered: Any = client.update_item(**update_item(keys, what), ReturnValues="UPDATED_NEW")
    return dict(answered["Attributes"])
