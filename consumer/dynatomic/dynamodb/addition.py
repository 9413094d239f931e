"""One addition to one counter: its request, and what DynamoDB's answer to it means. Pure.

Source: AWS, *UpdateItem* (``ReturnValuesOnConditionCheckFailure``) and *TransactWriteItems*
(``ClientRequestToken``, ``CancellationReasons``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from botocore.exceptions import ClientError

from dynatomic.dynamodb.answers import ITEM_NOT_RETURNED, Refused, classify, keys_changed
from dynatomic.dynamodb.bucket import Bucket
from dynatomic.dynamodb.client import error_code, error_message, http_status
from dynatomic.dynamodb.statements import key_attributes
from dynatomic.dynamodb.tables import refusal_message
from dynatomic.errors import IncrementError, LimitExceededError
from dynatomic.events.row import CounterRef, KeySchema

_OTHER_ADDITION = (
    "this token was used for another addition in the last 10 minutes; with per=, pass the time of "
    "the first call as at="
)


@dataclass(frozen=True, slots=True)
class Addition:
    """Adds ``by`` to a counter if the new value is at most ``limit``.

    ``bucket`` is the time bucket in the key, whose item gets an expiry. ``now_s`` is the time of
    the call in epoch seconds.
    """

    ref: CounterRef
    keys: KeySchema
    by: int
    limit: int | None = None
    bucket: Bucket | None = None
    now_s: float = 0.0

    def update(self) -> dict[str, Any]:
        """Return the arguments that UpdateItem and the update of a transaction share."""
        table, key, range_, counter = self.ref
        update, names = "ADD #0 :0", {"#0": counter}
        values = {":0": {"N": str(self.by)}}
        if self.bucket is not None and self.keys.ttl_name is not None:
            update += " SET #t = :t"
            names["#t"] = self.keys.ttl_name
            values[":t"] = {"N": str(self.bucket.expires_s)}
        request = {
            "TableName": table,
            "Key": key_attributes(self.keys, key, range_),
            "UpdateExpression": update,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
        }
        # A negative addition is never above a limit: it gives back what was counted before.
        if self.limit is not None and self.by > 0:
            values[":most"] = {"N": str(self.limit - self.by)}
            request["ConditionExpression"] = "#0 <= :most"
            if self.by <= self.limit:
                request["ConditionExpression"] = "attribute_not_exists(#0) OR #0 <= :most"
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        return request

    def value_in(self, answer: Mapping[str, Any]) -> int:
        """Return the new value. Raises KeyError or ValueError if the answer does not have it."""
        return int(answer["Attributes"][self.ref.name]["N"])

    def error(self, error: ClientError, resource: str, token: str | None) -> IncrementError:
        """Return what a refusal means; ``resource`` is the ARN of the table."""
        if http_status(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return self.unknown(
                f"DynamoDB answered {http_status(error)} {error_code(error)}", token
            )
        code, message, item = _refusal(error)
        if code == "TransactionInProgress":
            return self.unknown("another request with this token is in progress", token)
        if code == "ConditionalCheckFailed":
            return self._above_limit(item, resource)
        return self._not_counted(self._cause(code, message, resource))

    def _cause(self, code: str, message: str, resource: str) -> str:
        if code == "IdempotentParameterMismatch":
            return _OTHER_ADDITION
        if keys_changed(message):
            return "the table has other keys than before; call again"
        meaning = classify(code, message)
        if isinstance(meaning, Refused):
            return refusal_message(meaning.cause, resource, "dynamodb:UpdateItem")
        return self._not_a_number if code.startswith("Validation") else f"{code}; try again later"

    def unknown(self, cause: str, token: str | None) -> IncrementError:
        """Return the error of a request whose outcome is not known."""
        action = (
            "read it before you try again"
            if token is None
            else "within 10 minutes, call again with the same token"
        )
        return IncrementError(
            f"{cause}: the counter of table {self.ref.table} may or may not have been raised; "
            f"{action}",
            applied=None,
        )

    def _above_limit(self, item: Mapping[str, Any] | None, resource: str) -> IncrementError:
        limit = self.limit or 0
        attribute = (item or {}).get(self.ref.name)
        if not attribute and self.by <= limit:  # the condition holds for a missing counter
            return self._not_counted(
                refusal_message(ITEM_NOT_RETURNED, resource, "dynamodb:UpdateItem")
            )
        if attribute and "N" not in attribute:
            return self._not_counted(self._not_a_number)
        value = int(attribute["N"].partition(".")[0]) if attribute else 0
        after_s = None if self.bucket is None else max(0.0, self.bucket.end_s - self.now_s)
        return LimitExceededError(
            f"table {self.ref.table}: nothing was counted: the counter is {value}, and {self.by} "
            f"more would exceed the limit of {limit}",
            value=value,
            limit=limit,
            retry_after_s=after_s,
        )

    @property
    def _not_a_number(self) -> str:
        return (
            f"attribute {self.ref.name!r} of the item is not a number, or the item cannot take it"
        )

    def _not_counted(self, cause: str) -> IncrementError:
        return IncrementError(
            f"table {self.ref.table}: nothing was counted: {cause}", applied=False
        )


def _refusal(error: ClientError) -> tuple[str, str, Mapping[str, Any] | None]:
    """Return code, message and the item that refused a condition; of a transaction, its cause."""
    code, message = error_code(error), error_message(error)
    item: Any = error.response.get("Item")
    if code == "TransactionCanceledException":
        reasons: Any = error.response.get("CancellationReasons") or [{}]
        code, message = str(reasons[0].get("Code")), str(reasons[0].get("Message") or "")
        item = reasons[0].get("Item")
    return code.removesuffix("Exception"), message, item
