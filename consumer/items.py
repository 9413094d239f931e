"""Reading items back: BatchGetItem, strongly consistent.

Source: AWS, *BatchGetItem* (100 keys a request; what it leaves out stands in ``UnprocessedKeys``).
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from consumer.answers import Item, Refused, Retry, answer
from consumer.errors import ConfigError, DynatomicError, UnavailableError
from consumer.row import KeySchema, key_value
from consumer.statements import Change, Step, key_attributes
from consumer.tables import (
    MISCONFIGURED,
    UnreadableAnswerError,
    arn,
    ask,
    aws_chain,
    code_of,
    refusal,
    unavailable,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

BATCH_GET = 100
"""Keys that one BatchGetItem takes."""

PATIENCE_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0
_ACTION = "dynamodb:BatchGetItem"

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
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[ItemKey, Item]:
    """Return up to `BATCH_GET` different items by their keys; those that are not there are missing.

    What is throttled, left out or not answered is asked for again. Raises ConfigError if it is
    denied, UnavailableError after `PATIENCE_S` seconds without an item more, DynatomicError if
    DynamoDB refuses the request.
    """
    left = [key_attributes(keys, *key_of(item)) for item in wanted]
    found: dict[ItemKey, Item] = {}
    attempts, deadline = 0, clock() + PATIENCE_S
    while left:
        trouble: Exception | None = None
        before = len(left)
        try:
            answered = _asked(client, table, left)
        except ClientError as error:
            _check(client, table, error)
            trouble = error
        except MISCONFIGURED as error:
            raise ConfigError(aws_chain(error)) from None
        except BotoCoreError as error:
            trouble = error
        else:
            found |= {_identity(keys, item): item for item in answered["Responses"].get(table, ())}
            left = answered["UnprocessedKeys"].get(table, {}).get("Keys", [])
        if len(left) < before:
            attempts, deadline = 0, clock() + PATIENCE_S
        elif clock() >= deadline:
            raise _given_up(client, table, trouble)
        if left:
            attempts += 1
            most = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempts)
            sleep(random.uniform(most / 2, most))  # noqa: S311 - jitter
    return found


def _asked(client: "DynamoDBClient", table: str, keys: Sequence[Mapping[str, Any]]) -> Any:
    answered = ask(
        client.batch_get_item, RequestItems={table: {"Keys": keys, "ConsistentRead": True}}
    )
    headers = answered.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    whole = all(isinstance(answered.get(n), dict) for n in ("Responses", "UnprocessedKeys"))
    # A page of something between us, with status 200, would read as "none of these is there".
    if not whole or "x-amzn-requestid" not in headers:
        raise UnreadableAnswerError(kind="incomplete")
    return answered


def _check(client: "DynamoDBClient", table: str, error: ClientError) -> None:
    """Raise what asking again cannot help."""
    code, message = code_of(error), str(error.response.get("Error", {}).get("Message", ""))
    verdict = answer(Step.UPDATE_ITEM, Change(table, "", None, {}), code, message)
    if isinstance(verdict, Refused):
        raise ConfigError(refusal(verdict.cause, arn(client, table), _ACTION)) from None
    if not isinstance(verdict, Retry):
        raise DynatomicError(f"table {table}: DynamoDB refused {_ACTION} ({code})") from None


def _given_up(client: "DynamoDBClient", table: str, trouble: Exception | None) -> UnavailableError:
    if trouble is not None:
        return unavailable(client, trouble)
    return UnavailableError(
        f"table {table} gave no item for {PATIENCE_S:.0f} s: it is throttled; raise its read "
        "capacity, lower --max-requests, or try again later"
    )


def _identity(keys: KeySchema, item: Item) -> ItemKey:
    key = key_value(item[keys.hash_name][keys.hash_type], keys.hash_type)
    if keys.range_name is None:
        return key
    kind = keys.range_type or "S"
    return key, key_value(item[keys.range_name][kind], kind)
