"""One atomic increment of one counter, with the new value as the answer."""

import os
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
)

from dynatomic.dynamodb.answers import Refused, classify, keys_changed
from dynatomic.dynamodb.client import (
    MISCONFIGURED,
    call_client,
    error_code,
    error_message,
    http_status,
    make_client,
    unavailable_error,
)
from dynatomic.dynamodb.statements import Change, update_item
from dynatomic.dynamodb.tables import arn, describe, refusal_message
from dynatomic.errors import ConfigError, IncrementError, RowError
from dynatomic.events.row import KeySchema, Reason, Row, check, key_value

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@lru_cache(maxsize=1)
def _default_client(_pid: int) -> "DynamoDBClient":
    return make_client()


@lru_cache(maxsize=256)
def _described(client: "DynamoDBClient", table: str) -> KeySchema:
    return describe(client, table)


def increment(  # noqa: PLR0913 - the five parts of a row, and where to
    table: str,
    key: str,
    range: str | None = None,  # noqa: A002 - the row's field
    counter: str = "count",
    by: int = 1,
    *,
    client: "DynamoDBClient | None" = None,
) -> int:
    """Add ``by`` to one counter atomically and return its new value.

    Sends one UpdateItem, which creates a missing item; for rate limits and sequence numbers. There
    is no fence: if the answer is lost, IncrementError says so (``applied`` is None), and another
    call may count twice. ``client`` must not retry, which would count twice without a sign.

    Raises RowError for a key that the table cannot take, ConfigError for a client that retries,
    ConfigError or UnavailableError if the table cannot be described.
    """
    client = client or _default_client(os.getpid())
    _check_retries(client)
    check(Row(table, key, range, counter, by))
    keys = _described(client, table)
    if (range is None) != (keys.range_name is None):
        if range is None:
            raise RowError(Reason.RANGE_MISSING, f"table {table} has a range key")
        raise RowError(Reason.RANGE_UNEXPECTED, f"table {table} has no range key")
    hash_key = key_value(key, keys.hash_type)
    range_key = None if range is None else key_value(range, keys.range_type or "S")
    request = update_item(keys, Change(table, hash_key, range_key, {counter: by}))
    try:
        response = call_client(client.update_item, **request, ReturnValues="UPDATED_NEW")
        return int(response["Attributes"][counter]["N"])
    except ClientError as error:
        raise _increment_error(client, table, counter, error) from None
    except (EndpointConnectionError, ConnectTimeoutError, *MISCONFIGURED) as error:
        raise IncrementError(
            f"not sent, nothing was counted: {unavailable_error(client, error)}", applied=False
        ) from None
    except (BotoCoreError, KeyError, ValueError) as error:
        raise IncrementError(
            f"the answer was lost ({type(error).__name__}), the counter of table {table} may or "
            "may not have been raised: read it before you try again",
            applied=None,
        ) from None


def _check_retries(client: "DynamoDBClient") -> None:
    """Raise ConfigError if the client sends a request again by itself."""
    config = getattr(client.meta, "config", None)  # a fake has none
    retries: Any = {} if config is None else getattr(config, "retries", None) or {}
    if config is not None and retries.get("total_max_attempts") != 1:
        raise ConfigError(
            "increment: the client retries, so a lost answer counts twice: make it with "
            'botocore.config.Config(retries={"total_max_attempts": 1}), or leave out client='
        )


def _increment_error(
    client: "DynamoDBClient", table: str, counter: str, error: ClientError
) -> IncrementError:
    code, status = error_code(error), http_status(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return IncrementError(
            f"DynamoDB answered {status} {code}: the counter of table {table} may or may not have "
            "been raised; read it before you try again",
            applied=None,
        )
    meaning = classify(code, error_message(error))
    cause = f"{code}; try again later"
    if keys_changed(error_message(error)):
        _described.cache_clear()
        return IncrementError(
            f"table {table}: nothing was counted: it has other keys than before; call again",
            applied=False,
        )
    if isinstance(meaning, Refused):
        cause = refusal_message(meaning.cause, arn(client, table), "dynamodb:UpdateItem")
    elif code.startswith("Validation"):
        cause = f"attribute {counter!r} of the item is not a number, or the item cannot take it"
    return IncrementError(f"table {table}: nothing was counted: {cause}", applied=False)
