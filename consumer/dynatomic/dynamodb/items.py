"""Reading items back: BatchGetItem for some, Scan for all of a table, both strongly consistent.

Source: AWS, *BatchGetItem* (100 keys a request; what it leaves out stands in ``UnprocessedKeys``)
and *Scan* (pages of up to 1 MB; the next one begins at ``LastEvaluatedKey``).
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from dynatomic.dynamodb.answers import Item, Refused, Retry, classify_answer
from dynatomic.dynamodb.client import (
    MISCONFIGURED,
    UnreadableAnswerError,
    call_client,
    credentials_message,
    error_code,
    unavailable_error,
)
from dynatomic.dynamodb.statements import Change, Step, key_attributes
from dynatomic.dynamodb.tables import arn, refusal_message
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.events.row import KeySchema, key_value

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

BATCH_GET = 100
"""Keys that one BatchGetItem takes."""

PATIENCE_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0

Sleep = Callable[[float], object]
"""Waits some seconds. What is true in the end says that nobody waits for the items any more."""

ItemKey = str | tuple[str, str]
"""What names an item of a table: its key, or its key and range. Compact: there may be millions."""


def item_key(key: str, range_: str | None) -> ItemKey:
    """Return what names an item within its table."""
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
    """Return up to `BATCH_GET` different items by their keys; those that are not there are missing.

    What is throttled, left out or not answered is asked for again. Raises ConfigError if it is
    denied, UnavailableError after `PATIENCE_S` seconds without an item more, DynatomicError if
    DynamoDB refuses the request.
    """
    left = [key_attributes(keys, *key_of(item)) for item in wanted]
    found: dict[ItemKey, Item] = {}
    asking = _RetriedRead(client, table, "dynamodb:BatchGetItem", sleep, clock)
    while left:
        answered = asking.read(partial(_batch, client, table, left))
        if answered is not None:
            found |= {
                item_identity(keys, item): item for item in answered["Responses"].get(table, ())
            }
            before, left = left, answered["UnprocessedKeys"].get(table, {}).get("Keys", [])
            if len(left) < len(before):
                asking.progressed()
        if left:
            asking.pause()
    return found


def scan_items(
    client: "DynamoDBClient",
    table: str,
    keys: KeySchema,
    *,
    sleep: Sleep = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[ItemKey, Item]]:
    """Yield every item that was in a table when it began; raises as `read_items` does."""
    asking = _RetriedRead(client, table, "dynamodb:Scan", sleep, clock)
    start: dict[str, Any] = {}
    while True:
        page = asking.read(partial(_page, client, table, start))
        if page is None:
            asking.pause()
            continue
        yield from ((item_identity(keys, item), item) for item in page["Items"])
        asking.progressed()
        if not (last := page.get("LastEvaluatedKey")):
            return
        start = {"ExclusiveStartKey": last}


def item_identity(keys: KeySchema, item: Item) -> ItemKey:
    """Return what names an item that DynamoDB gave."""
    key = key_value(item[keys.hash_name][keys.hash_type], keys.hash_type)
    if keys.range_name is None:
        return key
    kind = keys.range_type or "S"
    return key, key_value(item[keys.range_name][kind], kind)


class _RetriedRead:
    """Asks again after pauses that grow, until `PATIENCE_S` seconds brought nothing more."""

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
        self._trouble: Exception | None = None
        self.progressed()

    def progressed(self) -> None:
        """Begin the patience anew."""
        self._attempts, self._deadline = 0, self._clock() + PATIENCE_S

    def read(self, send: Callable[[], Any]) -> Any:
        """Return the answer, None if there is none for a reason that may pass."""
        self._trouble = None
        try:
            return send()
        except ClientError as error:
            self._check(error)
            self._trouble = error
        except MISCONFIGURED as error:
            raise ConfigError(credentials_message(error)) from None
        except BotoCoreError as error:
            self._trouble = error
        return None

    def pause(self) -> None:
        """Wait before the next attempt; raises UnavailableError if there shall be none."""
        if self._clock() >= self._deadline:
            raise self._given_up()
        self._attempts += 1
        most = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._attempts)
        if self._sleep(random.uniform(most / 2, most)):  # noqa: S311 - jitter
            raise UnavailableError(f"table {self._table}: reading was called off")

    def _check(self, error: ClientError) -> None:
        """Raise what asking again cannot help."""
        code, message = error_code(error), str(error.response.get("Error", {}).get("Message", ""))
        verdict = classify_answer(
            Step.UPDATE_ITEM, Change(self._table, "", None, {}), code, message
        )
        if isinstance(verdict, Refused):
            where = arn(self._client, self._table)
            raise ConfigError(refusal_message(verdict.cause, where, self._action)) from None
        if not isinstance(verdict, Retry):
            raise DynatomicError(
                f"table {self._table}: DynamoDB refused {self._action} ({code})"
            ) from None

    def _given_up(self) -> UnavailableError:
        if self._trouble is not None:
            return unavailable_error(self._client, self._trouble)
        return UnavailableError(
            f"table {self._table} gave no item for {PATIENCE_S:.0f} s: it is throttled; raise its "
            "read capacity, lower --max-requests, or try again later"
        )


def _batch(client: "DynamoDBClient", table: str, keys: Sequence[Mapping[str, Any]]) -> Any:
    request = {table: {"Keys": keys, "ConsistentRead": True}}
    answered = call_client(client.batch_get_item, RequestItems=request)
    return _complete_answer(answered, Responses=dict, UnprocessedKeys=dict)


def _page(client: "DynamoDBClient", table: str, start: Mapping[str, Any]) -> Any:
    return _complete_answer(
        call_client(client.scan, TableName=table, ConsistentRead=True, **start), Items=list
    )


def _complete_answer(answered: Any, **parts: type) -> Any:
    """Return an answer of DynamoDB's.

    A page of something between us, with status 200, would read as "nothing is there".
    """
    headers = answered.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    whole = all(isinstance(answered.get(name), kind) for name, kind in parts.items())
    if not whole or "x-amzn-requestid" not in headers:
        raise UnreadableAnswerError(kind="incomplete")
    return answered
