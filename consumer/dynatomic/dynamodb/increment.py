"""One atomic addition to one counter, with the new value as the answer."""

import asyncio
import json
import os
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
)

from dynatomic.dynamodb.addition import Addition
from dynatomic.dynamodb.answers import keys_changed
from dynatomic.dynamodb.bucket import Per, bucket_at, in_bucket
from dynatomic.dynamodb.client import (
    MISCONFIGURED,
    UnreadableAnswerError,
    error_message,
    make_client,
    unavailable_error,
)
from dynatomic.dynamodb.direct.transport import Transport
from dynatomic.dynamodb.tables import arn, describe_with_ttl
from dynatomic.errors import ConfigError, IncrementError
from dynatomic.events.row import KeySchema, Row, check, counter_ref

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_MAX_TOKEN_CHARACTERS = 36
_MAX_LIMIT = 10**37
"""Limits below this have at most 38 digits, also after an int64 was subtracted."""


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """A client, what sends its requests, and the process that made it."""

    client: "DynamoDBClient"
    update: Transport
    transact: Transport
    batch: Transport
    process: int

    def keys(self, table: str) -> KeySchema:
        """Return the key schema, which is read once. Raises ConfigError or UnavailableError."""
        return _described(self.client, table)


@lru_cache(maxsize=1)
def _default_client(_pid: int) -> "DynamoDBClient":
    return make_client(max_requests=32)


@lru_cache(maxsize=256)
def _described(client: "DynamoDBClient", table: str) -> KeySchema:
    return describe_with_ttl(client, table)


@lru_cache(maxsize=16)
def _connection(client: "DynamoDBClient") -> Connection:
    _check_retries(client)
    return Connection(
        client,
        update=Transport(client, "UpdateItem"),
        transact=Transport(client, "TransactWriteItems"),
        batch=Transport(client),
        process=os.getpid(),
    )


def connect(client: "DynamoDBClient | None") -> Connection:
    """Return the connection of a client, by default of one for each process.

    Raises ConfigError for a client that retries. Raises RuntimeError for one that was used before
    a ``fork``, because two processes would read each other's answers.
    """
    connection = _connection(client or _default_client(os.getpid()))
    if connection.process != os.getpid():
        raise RuntimeError(
            "increment: this client was used by the parent process: make one after fork, or leave "
            "out client="
        )
    return connection


class IncrementOptions(TypedDict, total=False):
    """The options of `increment`, which describes them, for type checkers."""

    limit: int | None
    per: Per | None
    at: float | None
    client: "DynamoDBClient | None"


@overload
def increment(
    table: str,
    key: str,
    range: str | None = None,
    counter: str = "count",
    by: int = 1,
    *,
    token: None = None,
    **options: Unpack[IncrementOptions],
) -> int: ...


@overload
def increment(
    table: str,
    key: str,
    range: str | None = None,
    counter: str = "count",
    by: int = 1,
    *,
    token: str,
    **options: Unpack[IncrementOptions],
) -> None: ...


def increment(  # noqa: PLR0913 - the five parts of a row, and how to add it
    table: str,
    key: str,
    range: str | None = None,  # noqa: A002 - the row's field
    counter: str = "count",
    by: int = 1,
    *,
    limit: int | None = None,
    per: Per | None = None,
    token: str | None = None,
    at: float | None = None,
    client: "DynamoDBClient | None" = None,
) -> int | None:
    """Add ``by`` to one counter atomically and return its new value.

    It sends one UpdateItem, which creates a missing item, and never sends it again. If the answer
    is lost, IncrementError says so (``applied`` is None), and another call may count twice.

    ``limit``: the new value must not exceed it. Otherwise nothing is counted, and
    LimitExceededError has the current value; the same request brings both answers. A negative
    ``by`` is always allowed.

    ``per``: counts in a bucket of a minute, an hour or a day (UTC). The bucket is added to the
    range key, or to the hash key of a table without one, and the item expires after the bucket.
    ``at`` chooses the bucket, in seconds since the epoch; the default is the clock of this
    machine.

    ``token`` (1 to 36 characters): calls with the same token within 10 minutes count once, so
    after a lost answer you may call again. It sends a TransactWriteItems, which costs two write
    units instead of one and returns no value, so the result is None.

    ``client`` must not retry, which would count twice without a sign.

    Raises RowError for a key or a counter name that the table cannot take; ConfigError for a
    client that retries, an invalid option, or a table without TTL attribute when ``per`` is
    given; ConfigError or UnavailableError if the table cannot be described.
    """
    row = check(Row(table, key, range=range, counter=counter, incr=by))
    _check_options(limit, token)
    connection = connect(client)
    bucket, now_s = None, 0.0
    keys = connection.keys(table)
    if per is not None:
        now_s = time.time() if at is None else at
        bucket = bucket_at(per, now_s)
        if keys.ttl_name is None:
            _described.cache_clear()  # TTL may have been switched on meanwhile
            keys = connection.keys(table)
        row = check(in_bucket(row, bucket, keys))
    addition = Addition(counter_ref(row, counter, keys), keys, by, limit, bucket, now_s)
    try:
        if token is None:
            request = addition.update() | {"ReturnValues": "UPDATED_NEW"}
            return addition.value_in(connection.update.send(json.dumps(request).encode()))
        _add_once(connection, addition, token)
    except ClientError as error:
        if keys_changed(error_message(error)):
            _described.cache_clear()
        raise addition.error(error, arn(connection.client, table), token) from None
    except (EndpointConnectionError, ConnectTimeoutError, *MISCONFIGURED) as error:
        raise IncrementError(
            f"not sent, nothing was counted: {unavailable_error(connection.client, error)}",
            applied=False,
        ) from None
    except (BotoCoreError, KeyError, TypeError, ValueError) as error:
        cause = f"the answer was lost ({type(error).__name__})"
        raise addition.unknown(cause, token) from None
    return None


@overload
async def aincrement(
    table: str,
    key: str,
    range: str | None = None,
    counter: str = "count",
    by: int = 1,
    *,
    token: None = None,
    **options: Unpack[IncrementOptions],
) -> int: ...


@overload
async def aincrement(
    table: str,
    key: str,
    range: str | None = None,
    counter: str = "count",
    by: int = 1,
    *,
    token: str,
    **options: Unpack[IncrementOptions],
) -> None: ...


async def aincrement(*args: Any, **options: Any) -> int | None:
    """Do what `increment` does in a thread, so that the event loop is not blocked.

    If the task is cancelled, the request is not: the counter may or may not be raised.
    """
    value: int | None = await asyncio.to_thread(increment, *args, **options)
    return value


def _add_once(connection: Connection, addition: Addition, token: str) -> None:
    request = {"ClientRequestToken": token, "TransactItems": [{"Update": addition.update()}]}
    answer = connection.transact.send(json.dumps(request).encode())
    if "x-amzn-requestid" not in answer["ResponseMetadata"]["HTTPHeaders"]:
        # For example a proxy's page with status 200. The answer itself has no content.
        raise UnreadableAnswerError(kind="no request id")


def _check_options(limit: int | None, token: str | None) -> None:
    if limit is not None and (type(limit) is not int or abs(limit) >= _MAX_LIMIT):
        raise ConfigError("increment: limit is no integer of at most 37 digits: use one")
    if token is not None and not 1 <= len(token) <= _MAX_TOKEN_CHARACTERS:
        raise ConfigError(
            f"increment: token has {len(token)} characters: use 1 to 36, such as a UUID"
        )


def _check_retries(client: "DynamoDBClient") -> None:
    """Raise ConfigError if the client retries requests."""
    config = getattr(client.meta, "config", None)  # a fake has none
    retries: Any = {} if config is None else getattr(config, "retries", None) or {}
    if config is not None and retries.get("total_max_attempts") != 1:
        raise ConfigError(
            "increment: the client retries, so a lost answer counts twice: make it with "
            'botocore.config.Config(retries={"total_max_attempts": 1}), or leave out client='
        )
