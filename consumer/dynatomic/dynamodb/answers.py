"""What DynamoDB's answer to a statement means, and what to do next. Pure.

Source: AWS, *Error handling with DynamoDB* and *PartiQL for DynamoDB*.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any

from dynatomic.dynamodb.statements import Change, Step
from dynatomic.events.row import Reason

Item = Mapping[str, Mapping[str, Any]]

_EXACT = Context(prec=400)
_DIGITS = 38  # significant ones, of a DynamoDB number


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
    """The item's fence stands in the window: the events up to this offset are in it already."""

    offset: int


@dataclass(frozen=True, slots=True)
class Retry:
    """Not applied, or unknown: the same again, after a pause and with fewer at once."""

    cause: str

    @property
    def throttled(self) -> bool:
        """Whether the table takes no more for now."""
        return self.cause in _THROTTLED - _CONFLICTS


@dataclass(frozen=True, slots=True)
class Refused:
    """Retrying cannot help until somebody mends the table, its name or the permissions."""

    cause: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The item can never take this: the events become dead letters, from offset ``first`` on."""

    reason: Reason
    detail: str
    first: int = 0


@dataclass(frozen=True, slots=True)
class PartiallyRejected:
    """The item can never take some of its counters; it may take the others."""

    rejected: Mapping[str, Rejected] = field(default_factory=dict)


Answer = Applied | TryStep | Fenced | Retry | Refused | Rejected | PartiallyRejected

# Of a request the codes end in this, of a statement they do not (or in "Error").
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


def classify_answer(  # noqa: PLR0911 - a table of answers
    step: Step, change: Change, code: str | None, message: str, item: Item | None = None
) -> Answer:
    """Return what to do after one statement was answered with an error code, or with none.

    ``item`` is the one that a refused condition found, None if there was none.
    """
    if code is None:
        return APPLIED
    code = code.removesuffix(_SUFFIX) or "Unknown"
    if code == "ConditionalCheckFailed":
        return _classify_condition(step, change, item)
    if code == "DuplicateItem":
        return TryStep(Step.UPDATE)
    if code in {"Validation", "ValidationError"}:
        return _classify_validation(step, change, message)
    if code == "ItemCollectionSizeLimitExceeded":
        return Rejected(Reason.REFUSED, code)
    if code in _THROTTLED:
        return Retry(code)
    if code in _REFUSED:
        # Of a bad signature AWS's message shows the request, with the session's token.
        told = f": {' '.join(message.split())}" if code in _WITH_MESSAGE else ""
        return Refused(code + told)
    return Retry(code)


def _classify_condition(step: Step, change: Change, item: Item | None) -> Answer:
    fence, again = change.fence, Retry("ConditionalCheckFailed")
    in_batches = step in {Step.UPDATE, Step.FIRST}
    if item is None or (fence is None and in_batches):
        return TryStep(Step.INSERT) if in_batches else again
    if fence is not None and fence.name in item:
        stands = item[fence.name].get("N")
        if stands is None:
            return Rejected(Reason.REFUSED, "the fence's attribute is no number")
        if int(Decimal(stands)) >= fence.first:
            return Fenced(int(Decimal(stands)))
    if step is Step.LOOK:
        return PartiallyRejected(_rejected_counters(change, item))
    other = Step.UPDATE if fence is not None and fence.name in item else Step.FIRST
    return TryStep(other) if in_batches and step is not other else again


def _rejected_counters(change: Change, item: Item) -> dict[str, Rejected]:
    """Return the counters that the item cannot take; if no other cause is seen, all of them."""
    found = {}
    for name, total in change.sums.items():
        value = item.get(name, {"N": "0"})
        if "N" not in value:
            found[name] = _NOT_A_NUMBER
        elif _digit_count(_EXACT.add(Decimal(value["N"]), Decimal(total))) > _DIGITS:
            found[name] = Rejected(Reason.REFUSED, "the sum has more than 38 digits")
    return found or dict.fromkeys(change.sums, _INVALID)


def _digit_count(number: Decimal) -> int:
    return len(number.normalize(_EXACT).as_tuple().digits)


_NOT_A_NUMBER = Rejected(Reason.COUNTER_NOT_A_NUMBER, "the counter's attribute is no number")
_INVALID = Rejected(Reason.REFUSED, "DynamoDB finds the update invalid")


def _classify_validation(step: Step, change: Change, message: str) -> Answer:
    if not step.alone:
        return TryStep(Step.UPDATE_ITEM)
    if step is Step.UPDATE_ITEM and len(change.sums) > 1:
        return TryStep(Step.LOOK)
    if "data type" in message or "operand" in message.lower():
        return _NOT_A_NUMBER
    return _INVALID
