"""The meaning of an answer of DynamoDB to a statement, and the next step. No I/O.

Source: AWS, *Error handling with DynamoDB* and *PartiQL for DynamoDB*.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any, Protocol

from dynatomic.dynamodb.statements import Change, Step
from dynatomic.events.row import Reason

Item = Mapping[str, Mapping[str, Any]]

_EXACT = Context(prec=400)
_MAX_DIGITS = 38  # significant digits of a DynamoDB number


@dataclass(frozen=True, slots=True)
class Applied:
    """The change is in the table."""


APPLIED = Applied()


@dataclass(frozen=True, slots=True)
class TryStep:
    """The change is not in the table; another step can add it."""

    step: Step


@dataclass(frozen=True, slots=True)
class Fenced:
    """The fence of the item lies in the window: the item has the events up to this offset.

    ``missing`` are counters of the change that the item does not have.
    """

    offset: int
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Retry:
    """The change is not in the table, or the outcome is unknown: send it again after a pause."""

    cause: str

    @property
    def throttled(self) -> bool:
        """Whether the table takes no more writes for now."""
        return self.cause in _THROTTLED - _CONFLICTS

    @property
    def is_unknown(self) -> bool:
        """Whether the change may be in the table: without a fence, a retry may add it twice."""
        return self.cause not in _NOT_APPLIED


@dataclass(frozen=True, slots=True)
class Refused:
    """A retry cannot help until the table, its name or the permissions are corrected."""

    cause: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The item can never take this: the events from offset ``first`` on become dead letters."""

    reason: Reason
    detail: str
    first: int = 0


@dataclass(frozen=True, slots=True)
class PartiallyRejected:
    """The item can never take some of its counters; it may take the others."""

    rejected: Mapping[str, Rejected] = field(default_factory=dict)


Answer = Applied | TryStep | Fenced | Retry | Refused | Rejected | PartiallyRejected


class Execute(Protocol):
    """Sends one request and returns an answer for each change (`counters.Counters.execute`)."""

    def __call__(self, step: Step, batch: Sequence[Change], /) -> list[Answer]:
        """Send one request."""


# The code of a request ends in this suffix. The code of a statement does not, or ends in "Error".
_SUFFIX = "Exception"
_THROTTLED = {
    "Throttling",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "TransactionConflict",
    "LimitExceeded",
    "ReplicatedWriteConflict",
}
_CONFLICTS = {"TransactionConflict", "ReplicatedWriteConflict"}
# The last ones are raised by botocore before the request is sent.
_NOT_APPLIED = _THROTTLED | {
    "ConditionalCheckFailed",
    "ConnectTimeoutError",
    "EndpointConnectionError",
    "NoCredentialsError",
    "CredentialRetrievalError",
}
_WITH_MESSAGE = {"AccessDenied", "ResourceNotFound"}
_REFUSED = {
    "AccessDenied",
    "ResourceNotFound",
    "UnrecognizedClient",
    "InvalidSignature",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "ExpiredToken",
    "InvalidAction",
    "UnknownOperation",
    "NotImplemented",
    "OptInRequired",
    "KMSAccessDenied",
    "KMSDisabled",
    "KMSNotFound",
}
_VALIDATION = {"Validation", "ValidationError"}
KEYS_CHANGED = "KeySchemaChanged"
ITEM_NOT_RETURNED = "ItemNotReturned"
# AWS has the first message for a key of another schema. DynamoDB Local has the other three.
_OTHER_KEYS = (
    "does not match the schema",
    "One of the required keys was not given a value",
    "The number of conditions on the keys is invalid",
    "Type mismatch for key",
)
_DEPENDS_ON_REQUEST = _VALIDATION | {
    "ConditionalCheckFailed",
    "DuplicateItem",
    "ItemCollectionSizeLimitExceeded",
}


def classify(code: str, message: str) -> Retry | Refused | None:
    """Return what an error code of any request means.

    None for a code whose meaning depends on the request: a validation error, a condition that
    does not hold, an item that exists.
    """
    code = code.removesuffix(_SUFFIX) or "Unknown"
    if code in _DEPENDS_ON_REQUEST:
        return None
    if code in _REFUSED:
        # After a bad signature, AWS's message shows the request with the token of the session.
        detail = f": {' '.join(message.split())}" if code in _WITH_MESSAGE else ""
        return Refused(code + detail)
    return Retry(code)


def classify_answer(
    step: Step, change: Change, code: str | None, message: str, item: Item | None = None
) -> Answer:
    """Return what to do after a statement was answered with an error code, or with none.

    ``item`` is the item that did not meet the condition, None if no item exists.
    """
    if code is None:
        return APPLIED
    if (answer := classify(code, message)) is not None:
        return answer
    code = code.removesuffix(_SUFFIX)
    if code == "ConditionalCheckFailed":
        return _classify_condition(step, change, item)
    if code == "DuplicateItem":
        return TryStep(Step.UPDATE)
    if code in _VALIDATION:
        return _classify_validation(step, change, message)
    return Rejected(Reason.REFUSED, code)


def keys_changed(message: str) -> bool:
    """Return whether a validation error says that the table has other keys than the request."""
    return any(text in message for text in _OTHER_KEYS)


def _classify_condition(step: Step, change: Change, item: Item | None) -> Answer:
    fence = change.fence
    in_batches = step in {Step.UPDATE, Step.ADD_FENCE}
    if item is None:
        # The condition of a step that goes alone holds for a missing item, so there is an item.
        return TryStep(Step.INSERT) if in_batches else Refused(ITEM_NOT_RETURNED)
    if fence is not None and fence.name in item:
        fence_value = item[fence.name].get("N")
        if fence_value is None:
            return Rejected(Reason.REFUSED, "the attribute of the fence is not a number")
        if int(Decimal(fence_value)) >= fence.first:
            missing = frozenset(change.sums.keys() - item.keys())
            return Fenced(int(Decimal(fence_value)), missing)
    if step is Step.INSPECT:
        return PartiallyRejected(_rejected_counters(change, item))
    if not in_batches:
        return Retry("ConditionalCheckFailed")
    other = Step.UPDATE if fence is not None and fence.name in item else Step.ADD_FENCE
    # The step that should have been applied was refused. UpdateItem finds the cause, for example
    # that a part of the key is not a key of the table any more.
    return TryStep(other if fence is not None and step is not other else Step.UPDATE_ITEM)


def _rejected_counters(change: Change, item: Item) -> dict[str, Rejected]:
    """Return the counters that an item cannot take; if the item shows no cause, all of them."""
    rejected = {}
    new = dict.fromkeys(change.sums.keys() - item.keys(), _NEW_COUNTER)
    for name, total in change.sums.items():
        value = item.get(name, {"N": "0"})
        if "N" not in value:
            rejected[name] = _NOT_A_NUMBER
        elif _digit_count(_EXACT.add(Decimal(value["N"]), Decimal(total))) > _MAX_DIGITS:
            rejected[name] = Rejected(Reason.REFUSED, "the sum has more than 38 digits")
    # An item without room for new counters may still take those that it has.
    return rejected or new or dict.fromkeys(change.sums, _INVALID)


def _digit_count(value: Decimal) -> int:
    return len(value.normalize(_EXACT).as_tuple().digits)


_NOT_A_NUMBER = Rejected(
    Reason.COUNTER_NOT_A_NUMBER, "the attribute of the counter is not a number"
)
_ITEM_FULL = Rejected(
    Reason.REFUSED, "the item has no room for it: DynamoDB allows 400 kB for each item"
)
_NEW_COUNTER = Rejected(
    Reason.REFUSED,
    "the item cannot get this counter: it has no room (DynamoDB allows 400 kB for each item), or "
    "an index has a key of this name",
)
_INVALID = Rejected(Reason.REFUSED, "DynamoDB refuses the update as invalid")


def _classify_validation(step: Step, change: Change, message: str) -> Answer:
    if not step.alone:
        return TryStep(Step.UPDATE_ITEM)
    if keys_changed(message):
        return Refused(KEYS_CHANGED)
    if step is Step.UPDATE_ITEM and len(change.sums) > 1:
        return TryStep(Step.INSPECT)
    if "data type" in message or "operand" in message.lower():
        return _NOT_A_NUMBER
    return _ITEM_FULL if "Item size" in message else _INVALID
