"""Changes the fences of the items of a table, for a group that is stopped.

The whole table is scanned, because no index has the fences. Each fence is changed by one UpdateItem
with a condition. A change can be repeated without an effect.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from dynatomic.dynamodb.answers import Item, Refused, Retry, classify
from dynatomic.dynamodb.backoff import pause_s
from dynatomic.dynamodb.client import (
    call_client,
    dynatomic_errors,
    error_code,
    error_message,
    unavailable_error,
)
from dynatomic.dynamodb.fence import fence_name, fences_of
from dynatomic.dynamodb.items import PATIENCE_S, Sleep, scan_items
from dynatomic.dynamodb.tables import arn, refusal_message
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.events.row import KeySchema

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_ACTION = "dynamodb:UpdateItem"

FenceChanges = Callable[[Item], dict[str, int]]
"""Returns the fences of an item that must change, by attribute name, with their new values."""


def lowered_fences(topic_id: str, ends: Mapping[int, int]) -> FenceChanges:
    """Return the change for logs that were cut: fences at an end or above it go below it.

    ``ends`` has the offset at which each partition was cut. A fence above it would hide the events
    that have the offsets of the lost ones now.
    """

    def changes(item: Item) -> dict[str, int]:
        fences = fences_of(item, topic_id)
        return {
            fence_name(topic_id, partition): end - 1
            for partition, end in ends.items()
            if fences.get(partition, -1) >= end
        }

    return changes


def adopted_fences(old_id: str, topic_id: str) -> FenceChanges:
    """Return the change for a copy of a topic with the same offsets: it gets the old fences.

    A higher fence of the copy stays. The old fences stay too, so that a
    consumer of the old topic that still runs counts nothing twice.
    """

    def changes(item: Item) -> dict[str, int]:
        own = fences_of(item, topic_id)
        return {
            fence_name(topic_id, partition): offset
            for partition, offset in fences_of(item, old_id).items()
            if own.get(partition, -1) < offset
        }

    return changes


def change_fences(  # noqa: PLR0913 - two are for tests
    client: "DynamoDBClient",
    table: str,
    keys: KeySchema,
    changes: FenceChanges,
    *,
    sleep: Sleep = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[int, int]:
    """Apply ``changes`` to all items; return how many items were scanned, and how many changed.

    Raises ConfigError if a request is denied, UnavailableError if the table does not answer, or
    throttles for more than `PATIENCE_S` seconds, DynatomicError if DynamoDB refuses a request. Then
    it can be called again: a change is made only once.
    """
    scanned = changed = 0
    for _, item in scan_items(client, table, keys, sleep=sleep, clock=clock):
        scanned += 1
        wanted = changes(item)
        for name, value in wanted.items():
            request = _request(table, keys, item, name, value)
            _send(client, table, request, sleep=sleep, clock=clock)
        changed += bool(wanted)
    return scanned, changed


def _request(table: str, keys: KeySchema, item: Item, name: str, value: int) -> dict[str, Any]:
    """Return the update of one fence of an item that has not changed since it was read."""
    is_unchanged = "#f = :old" if name in item else "attribute_not_exists(#f)"
    values: dict[str, Any] = {":new": {"N": str(value)}}
    if name in item:
        values[":old"] = item[name]
    return {
        "TableName": table,
        "Key": {key: item[key] for key in (keys.hash_name, keys.range_name) if key},
        "UpdateExpression": "SET #f = :new",
        # An item that was deleted meanwhile is not made again. If the answer was lost, the fence
        # may have its new value already.
        "ConditionExpression": f"attribute_exists(#key) AND {is_unchanged} OR #f = :new",
        "ExpressionAttributeNames": {"#f": name, "#key": keys.hash_name},
        "ExpressionAttributeValues": values,
    }


def _send(
    client: "DynamoDBClient",
    table: str,
    request: Mapping[str, Any],
    *,
    sleep: Sleep,
    clock: Callable[[], float],
) -> None:
    attempts, deadline = 0, clock() + PATIENCE_S
    while True:
        try:
            with dynatomic_errors(client, partial(_error, client, table)):
                call_client(client.update_item, **request)
        except UnavailableError:
            if clock() >= deadline:
                raise
            attempts += 1
            sleep(pause_s(attempts))
        else:
            return


def _error(client: "DynamoDBClient", table: str, error: ClientError) -> DynatomicError:
    code = error_code(error)
    if code == "ConditionalCheckFailedException":
        return DynatomicError(
            f"table {table}: an item changed while its fences were changed: a consumer of the "
            "group still runs; stop it, and try again"
        )
    match classify(code, error_message(error)):
        case Retry():
            return unavailable_error(client, error)
        case Refused(cause):
            return ConfigError(refusal_message(cause, arn(client, table), _ACTION))
    return DynatomicError(
        f"table {table}: DynamoDB refused {_ACTION} ({code}); check the table, and try again"
    )
