"""Adding to DynamoDB counters: windows in batches, and one increment at once.

The client never retries by itself: a plain ADD that is sent twice counts twice, so whoever
calls decides (`writer` for windows, the caller for `increment`).
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
)

from consumer.answers import APPLIED, Answer, Applied, Item, Refused, Retry, answer
from consumer.errors import ConfigError, IncrementError, RowError, UnavailableError
from consumer.row import KeySchema, Reason, Row, check, key_value
from consumer.statements import Change, Step, body, update_item
from consumer.tables import (
    MISCONFIGURED,
    arn,
    ask,
    aws_chain,
    code_of,
    describe,
    make_client,
    refusal,
    unavailable,
)
from consumer.transport import Transport

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


# A client that has to refresh its credentials raises their service's errors from its own calls.
_FOR_CREDENTIALS = {
    "AssumeRole",
    "AssumeRoleWithSAML",
    "AssumeRoleWithWebIdentity",
    "GetRoleCredentials",
}


class Units:
    """The write units that DynamoDB reported, by table; safe from any thread.

    An answer names them only where the request asks (``ReturnConsumedCapacity``), which costs
    nothing; DynamoDB Local names none for batches.
    """

    def __init__(self) -> None:
        self.by_table: Counter[str] = Counter()
        self._lock = Lock()

    def add(self, reported: Any) -> None:
        """Take in what one answer says, which may be nothing."""
        for each in reported if isinstance(reported, list) else ():
            if isinstance(each, dict) and isinstance(
                units := each.get("CapacityUnits"), int | float
            ):
                with self._lock:
                    self.by_table[str(each.get("TableName"))] += units  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Counters:
    """Writes changes of the given tables, one blocking request a call; safe from any thread."""

    client: "DynamoDBClient"
    keys: Mapping[str, KeySchema]
    transport: Transport = field(init=False)
    units: Units = field(init=False, default_factory=Units)

    def __post_init__(self) -> None:
        object.__setattr__(self, "transport", Transport(self.client))

    def check_access(self, table: str, write_mode: str) -> None:
        """Raise ConfigError if the table may not be written, UnavailableError if unknown.

        It sends writes that change nothing: updates, which would add zero, of an item that is not
        there, in a batch and by UpdateItem, which the rarer cases need. The permission to insert
        shows only when the first new counter is written.
        """
        keys = self.keys[table]
        value = {"S": "dynatomic-access-check", "N": "-1E+100"}
        range_ = value[keys.range_type or "S"] if keys.range_name else None
        change = Change(table, value[keys.hash_type], range_, {"dynatomic-access-check": 0})
        writes: list[tuple[str, Step, Callable[[], list[Answer]]]] = [
            ("UpdateItem", Step.UPDATE_ITEM, lambda: self._existing(change))
        ]
        if write_mode == "batch":
            batch = lambda: self._batch(Step.UPDATE, [change])  # noqa: E731 - beside its like
            writes.insert(0, ("PartiQLUpdate", Step.UPDATE, batch))
        for action, step, send in writes:
            match self._answers(step, [change], send):
                case [Refused(cause)]:
                    resource = arn(self.client, table)
                    raise ConfigError(refusal(cause, resource, f"dynamodb:{action}"))
                case [Retry(cause)]:
                    raise UnavailableError(
                        f"table {table} cannot be written yet: {cause}; try again"
                    )

    def execute(self, step: Step, batch: Sequence[Change]) -> list[Answer]:
        """Send one request; return an answer for each change. Never raises for what servers do.

        A batch holds up to 25 changes of different items; a step that goes alone takes one.
        """
        send = self._single if step.alone else self._batch
        return self._answers(step, batch, lambda: send(step, batch))

    def _batch(self, step: Step, batch: Sequence[Change]) -> list[Answer]:
        answered = self.transport.send(body(step, self.keys, batch))
        responses: Any = answered.get("Responses")
        if _odd(answered) or not _fits(responses, len(batch)):
            return [Retry("IncompleteResponse")] * len(batch)
        self.units.add(answered.get("ConsumedCapacity"))
        return [
            answer(step, change, *_error_of(response)) if "Error" in response else APPLIED
            for change, response in zip(batch, responses, strict=True)
        ]

    def _single(self, step: Step, batch: Sequence[Change]) -> list[Answer]:
        (change,) = batch
        request = update_item(self.keys[change.table], change, step)
        response = ask(self.client.update_item, **request)
        self.units.add([response.get("ConsumedCapacity")])
        return [Retry("IncompleteResponse") if _odd(response) else answer(step, change, None, "")]

    def _existing(self, change: Change) -> list[Answer]:
        keys = self.keys[change.table]
        request = update_item(keys, change)
        request["ExpressionAttributeNames"]["#key"] = keys.hash_name
        try:
            found = ask(
                self.client.update_item, **request, ConditionExpression="attribute_exists(#key)"
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return [Applied()]  # the usual answer: the item is not there, and we may write
        return [Retry("IncompleteResponse") if _odd(found) else Applied()]

    def _answers(
        self, step: Step, batch: Sequence[Change], send: Callable[[], list[Answer]]
    ) -> list[Answer]:
        """Turn what a request raises into answers."""
        try:
            return send()
        except ClientError as error:
            message = str(error.response.get("Error", {}).get("Message", ""))
            code = code_of(error)
            if error.operation_name in _FOR_CREDENTIALS:
                return [Refused(f"{code}: no credentials by {error.operation_name}")] * len(batch)
            if code.isdigit():  # an error page of something between us has no code of its own
                return [Retry(f"HTTP {code}")] * len(batch)
            item = error.response.get("Item")
            return [answer(step, change, code, message, item) for change in batch]  # type: ignore[arg-type]
        except MISCONFIGURED as error:
            return [Refused(f"{type(error).__name__}: {aws_chain(error)}")] * len(batch)
        except (BotoCoreError, HTTPClientError, RuntimeError, ValueError) as error:
            return [Retry(type(error).__name__)] * len(batch)


def _fits(responses: object, count: int) -> bool:
    """Tell whether there is a response for each statement."""
    return (
        isinstance(responses, list)
        and len(responses) == count
        and all(isinstance(response, dict) for response in responses)
    )


def _odd(response: Mapping[str, Any]) -> bool:
    """Tell an answer that DynamoDB did not write, such as a proxy's page with status 200."""
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return "x-amzn-requestid" not in headers


def _error_of(response: Mapping[str, Any]) -> tuple[str | None, str, Item | None]:
    error = response["Error"]
    if error is None:
        return None, "", None
    if not isinstance(error, dict):
        return "Unknown", "", None
    return error.get("Code") or "Unknown", error.get("Message") or "", error.get("Item")


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
    """Add ``by`` to one counter now, atomically, and return its new value.

    One UpdateItem, made where missing; for rate limits and sequence numbers. It has no fence: when
    the answer is lost, IncrementError says so (``applied`` is None) and calling again may count
    twice. Raises RowError for a key that the table cannot take, ConfigError or UnavailableError
    when the table cannot be described.
    """
    client = client or _default_client(os.getpid())
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
        response = ask(client.update_item, **request, ReturnValues="UPDATED_NEW")
        return int(response["Attributes"][counter]["N"])
    except ClientError as error:
        raise _increment_error(client, table, counter, error) from None
    except (EndpointConnectionError, ConnectTimeoutError, *MISCONFIGURED) as error:
        raise IncrementError(
            f"not sent, nothing was counted: {unavailable(client, error)}", applied=False
        ) from None
    except (BotoCoreError, KeyError, ValueError) as error:
        raise IncrementError(
            f"the answer was lost ({type(error).__name__}), the counter of table {table} may or "
            "may not have been raised: read it before you try again",
            applied=None,
        ) from None


def _increment_error(
    client: "DynamoDBClient", table: str, counter: str, error: ClientError
) -> IncrementError:
    code, message = code_of(error), error.response.get("Error", {}).get("Message", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status >= 500:  # noqa: PLR2004 - HTTP's server errors
        return IncrementError(
            f"DynamoDB answered {status} {code}: the counter of table {table} may or may not have "
            "been raised; read it before you try again",
            applied=None,
        )
    verdict = answer(Step.UPDATE_ITEM, Change(table, "", None, {counter: 1}), code, message)
    what = f"{code}; try again later"
    if isinstance(verdict, Refused):
        what = refusal(verdict.cause, arn(client, table), "dynamodb:UpdateItem")
    elif code.startswith("Validation"):
        what = f"attribute {counter!r} of the item is no number, or the item cannot take it"
    return IncrementError(f"table {table}: nothing was counted: {what}", applied=False)
