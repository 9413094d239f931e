"""Sends changes to DynamoDB, in batches or one at a time, and returns what the answers mean.

The client never retries: a plain ADD that is sent twice counts twice, so `writer` decides.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
)

from dynatomic.dynamodb.answers import (
    APPLIED,
    Answer,
    Applied,
    Item,
    Refused,
    Retry,
    classify_answer,
)
from dynatomic.dynamodb.client import (
    MISCONFIGURED,
    call_client,
    credentials_message,
    error_code,
    error_message,
)
from dynatomic.dynamodb.direct.transport import Transport
from dynatomic.dynamodb.statements import Change, Step, request_body, update_item
from dynatomic.dynamodb.tables import arn, refusal_message
from dynatomic.dynamodb.write_units import WriteUnits
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.events.row import KeySchema

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


# A DynamoDB call that has to refresh the credentials raises the errors of these operations.
_FOR_CREDENTIALS = {
    "AssumeRole",
    "AssumeRoleWithSAML",
    "AssumeRoleWithWebIdentity",
    "GetRoleCredentials",
}


@dataclass(frozen=True, slots=True)
class Counters:
    """Writes changes of the given tables, one blocking request per call. Thread-safe.

    ``shared`` is the transport of the client, if it has one already.
    """

    client: "DynamoDBClient"
    keys: Mapping[str, KeySchema]
    shared: InitVar[Transport | None] = None
    transport: Transport = field(init=False)
    units: WriteUnits = field(init=False, default_factory=WriteUnits)

    def __post_init__(self, shared: Transport | None) -> None:
        object.__setattr__(self, "transport", shared or Transport(self.client))

    def check_access(self, table: str, write_mode: str) -> None:
        """Raise ConfigError if the table refuses writes, UnavailableError if it did not answer.

        It sends writes that change nothing: updates that add zero to an item that does not exist,
        in a batch and by UpdateItem, which the rare cases need. A missing permission to insert is
        not detected before the first new counter is written.
        """
        keys = self.keys[table]
        value = {"S": "dynatomic-access-check", "N": "-1E+100"}
        range_ = value[keys.range_type or "S"] if keys.range_name else None
        change = Change(table, value[keys.hash_type], range_, {"dynatomic-access-check": 0})
        writes: list[tuple[str, Step, Callable[[], list[Answer]]]] = [
            ("UpdateItem", Step.UPDATE_ITEM, lambda: self._update_existing(change))
        ]
        if write_mode == "batch":
            batch = lambda: self._batch(Step.UPDATE, [change])  # noqa: E731 - shorter than a method
            writes.insert(0, ("PartiQLUpdate", Step.UPDATE, batch))
        for action, step, send in writes:
            match self._with_errors_as_answers(step, [change], send):
                case [Refused(cause)]:
                    resource = arn(self.client, table)
                    raise ConfigError(refusal_message(cause, resource, f"dynamodb:{action}"))
                case [Retry(cause)]:
                    raise UnavailableError(
                        f"table {table} cannot be written yet: {cause}; try again"
                    )

    def execute(self, step: Step, batch: Sequence[Change]) -> list[Answer]:
        """Send one request and return an answer for each change. Errors of AWS are answers.

        A batch has up to 25 changes of different items. A step that goes alone takes one change.
        """
        send = self._single if step.alone else self._batch
        return self._with_errors_as_answers(step, batch, lambda: send(step, batch))

    def _batch(self, step: Step, batch: Sequence[Change]) -> list[Answer]:
        answer = self.transport.send(request_body(step, self.keys, batch))
        responses: Any = answer.get("Responses")
        if _is_not_from_dynamodb(answer) or not _has_all_responses(responses, len(batch)):
            return [Retry("IncompleteResponse")] * len(batch)
        self.units.record(answer.get("ConsumedCapacity"))
        return [
            classify_answer(step, change, *_error_of(response)) if "Error" in response else APPLIED
            for change, response in zip(batch, responses, strict=True)
        ]

    def _single(self, step: Step, batch: Sequence[Change]) -> list[Answer]:
        (change,) = batch
        request = update_item(self.keys[change.table], change, step)
        response = call_client(self.client.update_item, **request)
        self.units.record([response.get("ConsumedCapacity")])
        return [
            Retry("IncompleteResponse")
            if _is_not_from_dynamodb(response)
            else classify_answer(step, change, None, "")
        ]

    def _update_existing(self, change: Change) -> list[Answer]:
        keys = self.keys[change.table]
        request = update_item(keys, change)
        request["ExpressionAttributeNames"]["#key"] = keys.hash_name
        try:
            answer = call_client(
                self.client.update_item, **request, ConditionExpression="attribute_exists(#key)"
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return [Applied()]  # the usual answer: the item does not exist, and writes are allowed
        return [Retry("IncompleteResponse") if _is_not_from_dynamodb(answer) else Applied()]

    def _with_errors_as_answers(
        self, step: Step, batch: Sequence[Change], send: Callable[[], list[Answer]]
    ) -> list[Answer]:
        try:
            return send()
        except ClientError as error:
            code, message = error_code(error), error_message(error)
            if error.operation_name in _FOR_CREDENTIALS:
                return [Refused(f"{code}: no credentials by {error.operation_name}")] * len(batch)
            if code.isdigit():  # the error page of a proxy has no code but its HTTP status
                return [Retry(f"HTTP {code}")] * len(batch)
            item = error.response.get("Item")
            return [classify_answer(step, change, code, message, item) for change in batch]  # type: ignore[arg-type]
        except MISCONFIGURED as error:
            return [Refused(f"{type(error).__name__}: {credentials_message(error)}")] * len(batch)
        except (BotoCoreError, HTTPClientError, RuntimeError, ValueError) as error:
            return [Retry(type(error).__name__)] * len(batch)


def _has_all_responses(responses: object, count: int) -> bool:
    return (
        isinstance(responses, list)
        and len(responses) == count
        and all(isinstance(response, dict) for response in responses)
    )


def _is_not_from_dynamodb(response: Mapping[str, Any]) -> bool:
    """Return whether something else answered, such as a proxy with a page and status 200."""
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return "x-amzn-requestid" not in headers


def _error_of(response: Mapping[str, Any]) -> tuple[str | None, str, Item | None]:
    error = response["Error"]
    if error is None:
        return None, "", None
    if not isinstance(error, dict):
        return "Unknown", "", None
    return error.get("Code") or "Unknown", error.get("Message") or "", error.get("Item")
