"""Checks requests to DynamoDB: whether they are well formed, what they add, and the answer."""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from dynatomic.dynamodb.statements import BATCH
from dynatomic.events.row import KeySchema

KEYS: Final = KeySchema("pk", "S", None, None)
"""The keys of all tables. Every name is a table."""

Added = tuple[str, int]
"""The key of an item, and the sum that was added to its counters."""

OVERWRITING: Final = "BatchWriteItem"
"""The operation that sets counters instead of adding to them."""

_UPDATE: Final = frozenset({"TableName", "UpdateExpression"})
_TYPES: Final = frozenset({"S", "N"})
_NAME: Final = re.compile(r"'([^']+)': \?")


class MalformedError(Exception):
    """A malformed request that DynamoDB would refuse; the text is the reason."""


def judge(
    operation: str, body: bytes, items: set[str] | None = None
) -> tuple[list[Added], dict[str, Any]]:
    """Return what each statement of a request adds to which key, and its answer.

    With `OVERWRITING` the numbers are totals. ``items`` has the keys of the existing items; inserts
    are added to it. Without ``items``, every item exists and can also be inserted. A refused
    statement adds 0. Raises `MalformedError`.
    """
    try:
        request = json.loads(body)
    except ValueError:
        raise MalformedError("the body is no JSON") from None
    if not isinstance(request, dict):
        raise MalformedError("the body is no object")
    if operation == "BatchExecuteStatement":
        statements = request.get("Statements")
        if not isinstance(statements, list) or not 1 <= len(statements) <= BATCH:
            raise MalformedError(f"Statements is no list of 1 to {BATCH}")
        added = [*map(_added, statements)]
        if items is None:
            return added, {"Responses": [{}] * len(statements)}
        errors = [
            _error(each, key, items) for each, (key, _) in zip(statements, added, strict=True)
        ]
        left = [(key, 0 if error else n) for (key, n), error in zip(added, errors, strict=True)]
        return left, {"Responses": [{"Error": error} if error else {} for error in errors]}
    if operation == "UpdateItem":
        return [_updated(request, items)], {}
    if operation == OVERWRITING:
        return _overwritten(request.get("RequestItems")), {"UnprocessedItems": {}}
    if operation == "DescribeTimeToLive":
        return [], {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
    if operation == "DescribeTable":
        return [], _description(request.get("TableName"))
    raise MalformedError(f"{operation or 'no operation'} is not served here")


def _added(statement: Any) -> Added:
    if not isinstance(statement, dict):
        raise MalformedError("a statement is no object")
    text, parameters = statement.get("Statement"), statement.get("Parameters")
    if not isinstance(text, str) or not text.startswith(("UPDATE ", "INSERT ")):
        raise MalformedError("a statement is neither UPDATE nor INSERT")
    if not isinstance(parameters, list) or not parameters or text.count("?") != len(parameters):
        raise MalformedError("a statement's parameters are not as many as its question marks")
    numbers = [_number(value) for value in parameters]
    if text.startswith("INSERT "):
        names = _NAME.findall(text)
        return _key(parameters), sum(
            n for name, n in zip(names, numbers, strict=True) if not name.startswith("fence_")
        )
    # The other numbers are the offsets of a fence.
    return _key(parameters), sum(numbers[: text.count('"+?')])


def _error(statement: dict[str, Any], key: str, items: set[str]) -> dict[str, str] | None:
    if statement["Statement"].startswith("INSERT ") is not (key in items):
        items.add(key)
        return None
    code = "DuplicateItem" if key in items else "ConditionalCheckFailed"
    return {"Code": code, "Message": "refused"}


def _updated(request: dict[str, Any], items: set[str] | None) -> Added:
    values, key = request.get("ExpressionAttributeValues"), request.get("Key")
    if not isinstance(values, dict) or not isinstance(key, dict) or not _UPDATE.issubset(request):
        raise MalformedError("UpdateItem without table, key, expression or values")
    name = _key(key.values())
    if items is not None:
        items.add(name)
    return name, sum(map(_number, values.values()))


def _overwritten(tables: Any) -> list[Added]:
    if not isinstance(tables, dict) or not all(isinstance(each, list) for each in tables.values()):
        raise MalformedError("RequestItems has no lists of requests")
    puts = [put for each in tables.values() for put in each]
    if not 1 <= len(puts) <= BATCH:
        raise MalformedError(f"RequestItems has not 1 to {BATCH} requests")
    try:
        items = [put["PutRequest"]["Item"] for put in puts]
        return [(_key(item.values()), sum(map(_number, item.values()))) for item in items]
    except (TypeError, KeyError, AttributeError):
        raise MalformedError("a request puts no item") from None


def _key(values: Iterable[dict[str, str]]) -> str:
    """Return the only string; the other values are numbers."""
    return next((value["S"] for value in values if "S" in value), "")


def _number(value: Any) -> int:
    """Return the value of a number, and 0 for a string: keys are strings, sums are numbers."""
    if not isinstance(value, dict) or len(value) != 1:
        raise MalformedError("a parameter is no attribute value")
    ((kind, content),) = value.items()
    if kind not in _TYPES or not isinstance(content, str):
        raise MalformedError("a parameter is neither a string nor a number")
    try:
        return int(content) if kind == "N" else 0
    except ValueError:
        raise MalformedError("a number is no integer") from None


def _description(name: Any) -> dict[str, Any]:
    if not isinstance(name, str):
        raise MalformedError("DescribeTable without a table")
    return {
        "Table": {
            "TableName": name,
            "TableStatus": "ACTIVE",
            "AttributeDefinitions": [
                {"AttributeName": KEYS.hash_name, "AttributeType": KEYS.hash_type}
            ],
            "KeySchema": [{"AttributeName": KEYS.hash_name, "KeyType": "HASH"}],
        }
    }
