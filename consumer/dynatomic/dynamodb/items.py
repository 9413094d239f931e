"""Reads items, strongly consistent: BatchGetItem for some, Query for those of a key, Scan for all.

Source: AWS, *BatchGetItem* (100 keys a request; ``UnprocessedKeys`` has the keys that were left
out), *Query* and *Scan* (pages of up to 1 MB; the next page starts after ``LastEvaluatedKey``).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from dynatomic.dynamodb.answers import Item, Refused, Retry, classify
from dynatomic.dynamodb.backoff import pause_s
from dynatomic.dynamodb.client import (
    UnreadableAnswerError,
    call_client,
    dynatomic_errors,
    error_code,
    error_message,
    unavailable_error,
)
from dynatomic.dynamodb.statements import key_attributes
from dynatomic.dynamodb.tables import arn, refusal_message
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.events.row import KeySchema, key_value

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

BATCH_GET = 100
"""The largest number of keys in one BatchGetItem."""

PATIENCE_S = 60.0

Sleep = Callable[[float], object]
"""Waits for some seconds. A true result cancels the read."""

ItemKey = str | tuple[str, str]
"""The identity of an item in its table: key, or key and range. Compact: there may be millions."""


def item_key(key: str, range_: str | None) -> ItemKey:
    """Return the identity of an item in its table."""
    return key if range_ is None else (key, range_)


def key_of(item: ItemKey) -> tuple[str, str | None]:
    """Return key and range."""
    return (item, None) if isinstance(item, str) else item


def read_items(  # noqa: PLR0913 - two are for tests
    client: "DynamoDBClient",
    table: str,
    keys: KeySchema,
    wanted: Sequence[ItemKey],
    *,
    sleep: Sleep = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[ItemKey, Item]:
    """Return up to `BATCH_GET` different items by their keys, without those that do not exist.

    A key that is throttled, left out or not answered is requested again. Raises ConfigError if
    the request is denied, UnavailableError after `PATIENCE_S` seconds without another item,
    DynatomicError if DynamoDB refuses the request.
    """
    unread = [key_attributes(keys, *key_of(item)) for item in wanted]
    items: dict[ItemKey, Item] = {}
    reads = _RetriedRead(client, table, "dynamodb:BatchGetItem", sleep, clock)
    while unread:
        answer = reads.read(partial(_batch, client, table, unread))
        if answer is not None:
            items |= {
                item_identity(keys, item): item for item in answer["Responses"].get(table, ())
            }
            before, unread = unread, answer["UnprocessedKeys"].get(table, {}).get("Keys", [])
            if len(unread) < len(before):
                reads.restart_deadline()
        if unread:
            reads.pause()
    return items


def scan_items(
    client: "DynamoDBClient",
    table: str,
    keys: KeySchema,
    *,
    sleep: Sleep = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[ItemKey, Item]]:
    """Yield every item that was in the table at the start. Raises as `read_items` does."""
    reads = _RetriedRead(client, table, "dynamodb:Scan", sleep, clock)
    yield from _pages(reads, partial(_page, client.scan, table), keys)


def query_items(  # noqa: PLR0913 - two are for tests
    client: "DynamoDBClient",
    table: str,
    keys: KeySchema,
    key: str,
    *,
    range_: str | None = None,
    prefix: str = "",
    sleep: Sleep = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[ItemKey, Item]]:
    """Yield the items of a hash key, in the order of their ranges. Raises as `read_items` does.

    With ``range_`` only that item, with ``prefix`` only items whose range starts with it.
    """
    condition, names = "#k = :k", {"#k": keys.hash_name}
    values = {":k": {keys.hash_type: key}}
    if keys.range_name is not None and (range_ is not None or prefix):
        names["#r"] = keys.range_name
        values[":r"] = {keys.range_type or "S": prefix if range_ is None else range_}
        condition += " AND begins_with(#r, :r)" if range_ is None else " AND #r = :r"
    page = partial(
        _page,
        client.query,
        table,
        KeyConditionExpression=condition,
        ExpressionAttributeNames=names,
        ExpressionAttributeValues=values,
    )
    yield from _pages(_RetriedRead(client, table, "dynamodb:Query", sleep, clock), page, keys)


def _pages(
    reads: "_RetriedRead", page_at: Callable[..., Any], keys: KeySchema
) -> Iterator[tuple[ItemKey, Item]]:
    start: dict[str, Any] = {}
    while True:
        page = reads.read(partial(page_at, **start))
        if page is None:
            reads.pause()
            continue
        yield from ((item_identity(keys, item), item) for item in page["Items"])
        reads.restart_deadline()
        if not (last := page.get("LastEvaluatedKey")):
            return
        start = {"ExclusiveStartKey": last}


def item_identity(keys: KeySchema, item: Item) -> ItemKey:
    """Return the identity of an item as DynamoDB returned it."""
    key = key_value(item[keys.hash_name][keys.hash_type], keys.hash_type)
    if keys.range_name is None:
        return key
    range_type = keys.range_type or "S"
    return key, key_value(item[keys.range_name][range_type], range_type)


class _RetriedRead:
    """Repeats a read after growing pauses, for up to `PATIENCE_S` seconds without progress."""

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        action: str,
        sleep: Sleep,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._table = table
        self._action = action
        self._sleep = sleep
        self._clock = clock
        self._last_error: UnavailableError | None = None
        self.restart_deadline()

    def restart_deadline(self) -> None:
        """Allow another `PATIENCE_S` seconds, because the read made progress."""
        self._attempts, self._deadline = 0, self._clock() + PATIENCE_S

    def read(self, send: Callable[[], Any]) -> Any:
        """Return the answer, or None if there is none and another attempt can help."""
        self._last_error = None
        try:
            with dynatomic_errors(self._client, self._error):
                return send()
        except UnavailableError as error:
            self._last_error = error
        return None

    def pause(self) -> None:
        """Wait before the next attempt. Raises UnavailableError after the deadline."""
        if self._clock() >= self._deadline:
            raise self._last_error or self._throttled_error()
        self._attempts += 1
        if self._sleep(pause_s(self._attempts)):
            raise UnavailableError(f"table {self._table}: the read was cancelled")

    def _error(self, error: ClientError) -> DynatomicError:
        match classify(error_code(error), error_message(error)):
            case Retry():
                return unavailable_error(self._client, error)
            case Refused(cause):
                resource = arn(self._client, self._table)
                return ConfigError(refusal_message(cause, resource, self._action))
        return DynatomicError(
            f"table {self._table}: DynamoDB refused {self._action} ({error_code(error)})"
        )

    def _throttled_error(self) -> UnavailableError:
        return UnavailableError(
            f"table {self._table} returned no item for {PATIENCE_S:.0f} s: it is throttled; raise "
            "its read capacity, lower --max-requests, or try again later"
        )


def _batch(client: "DynamoDBClient", table: str, keys: Sequence[Mapping[str, Any]]) -> Any:
    request = {table: {"Keys": keys, "ConsistentRead": True}}
    answer = call_client(client.batch_get_item, RequestItems=request)
    return _checked_answer(answer, Responses=dict, UnprocessedKeys=dict)


def _page(operation: Callable[..., Any], table: str, **request: Any) -> Any:
    answer = call_client(operation, TableName=table, ConsistentRead=True, **request)
    return _checked_answer(answer, Items=list)


def _checked_answer(answer: Any, **part_types: type) -> Any:
    """Return the answer, or raise UnreadableAnswerError if it is not from DynamoDB.

    A proxy's page with status 200 would otherwise mean that no item exists.
    """
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    is_complete = all(isinstance(answer.get(name), kind) for name, kind in part_types.items())
    if not is_complete or "x-amzn-requestid" not in headers:
        raise UnreadableAnswerError(kind="incomplete")
    return answer
