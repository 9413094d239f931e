"""How a sum is added to an item: PartiQL statements, and what each answer means. Pure.

Table and attribute names stand in the statements, quoted; they come from the allow-list, from
DescribeTable and from `row.check_counter_name`. Values are parameters only.

Sources: AWS, *PartiQL for DynamoDB* (UPDATE, INSERT, BatchExecuteStatement) and
*Error handling with DynamoDB*.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from consumer.row import CounterRef, KeySchema, Reason

BATCH = 25
"""Statements that one BatchExecuteStatement takes."""

AttributeValue = dict[str, Any]


class Step(Enum):
    """One way to write a change. A change starts with UPDATE and moves on by the answers."""

    UPDATE = "update"
    INSERT = "insert"
    UPDATE_ITEM = "update-item"


@dataclass(frozen=True)
class Change:
    """What a window adds to one item: a sum for each of its counters."""

    table: str
    key: str
    range: str | None
    sums: Mapping[str, int]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The item's counters, in a fixed order, so that equal changes make equal statements."""
        return tuple(sorted(self.sums))

    def refs(self) -> list[CounterRef]:
        """Return the counters of this change."""
        return [CounterRef(self.table, self.key, self.range, name) for name in self.names]

    def split(self) -> "list[Change]":
        """Return one change a counter, so that one bad attribute does not refuse the others."""
        return [Change(self.table, self.key, self.range, {n: s}) for n, s in self.sums.items()]


def changes(sums: Mapping[CounterRef, int]) -> dict[str, list[Change]]:
    """Group sums by item and table: an item may stand only once in a batch.

    A sum of zero is written too: it makes the counter visible.
    """
    items: dict[tuple[str, str, str | None], dict[str, int]] = {}
    for (table, key, range_, name), total in sums.items():
        counters = items.setdefault((table, key, range_), {})
        counters[name] = counters.get(name, 0) + total
    grouped: dict[str, list[Change]] = {}
    for (table, key, range_), counters in items.items():
        grouped.setdefault(table, []).append(Change(table, key, range_, counters))
    return grouped


def key_attributes(keys: KeySchema, key: str, range_: str | None) -> dict[str, AttributeValue]:
    """Return the key of an item as DynamoDB takes it."""
    attributes: dict[str, AttributeValue] = {keys.hash_name: {keys.hash_type: key}}
    if keys.range_name is not None and range_ is not None:
        attributes[keys.range_name] = {keys.range_type or "S": range_}
    return attributes


def statement(step: Step, keys: KeySchema, change: Change) -> dict[str, Any]:
    """Return the PartiQL statement of a change, for ExecuteStatement or a batch of them."""
    where = key_attributes(keys, change.key, change.range)
    numbers = [{"N": str(change.sums[name])} for name in change.names]
    if step is Step.INSERT:
        names = [*where, *change.names]
        pairs = ", ".join(f"'{name}': ?" for name in names)
        text = f'INSERT INTO "{change.table}" VALUE {{{pairs}}}'
        parameters = [*where.values(), *numbers]
    else:
        sets = " ".join(f'SET "{name}"="{name}"+?' for name in change.names)
        condition = " AND ".join(f'"{name}"=?' for name in where)
        text = f'UPDATE "{change.table}" {sets} WHERE {condition}'
        parameters = [*numbers, *where.values()]
    return {
        "Statement": text,
        "Parameters": parameters,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def update_item(keys: KeySchema, change: Change) -> dict[str, Any]:
    """Return the arguments of an UpdateItem that makes the item or the counter where missing."""
    names = {f"#{i}": name for i, name in enumerate(change.names)}
    values = {f":{i}": {"N": str(change.sums[name])} for i, name in enumerate(change.names)}
    adds = ", ".join(f"#{i} :{i}" for i in range(len(names)))
    return {
        "TableName": change.table,
        "Key": key_attributes(keys, change.key, change.range),
        "UpdateExpression": f"ADD {adds}",
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }


@dataclass(frozen=True, slots=True)
class Applied:
    """The change is in the table."""


@dataclass(frozen=True, slots=True)
class Next:
    """The change is not in the table; another step can add it."""

    step: Step


@dataclass(frozen=True, slots=True)
class Split:
    """The item refused its counters together; each goes alone."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not applied, or unknown: the same again, after a pause and with fewer at once."""

    cause: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Retrying cannot help until somebody mends the table, its name or the permissions."""

    cause: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The item can never take this: the events become dead letters."""

    reason: Reason
    detail: str


Answer = Applied | Next | Split | Retry | Refused | Rejected

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
_TELLING = {"AccessDenied", "ResourceNotFound"}
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


def answer(  # noqa: PLR0911 - a table of answers
    step: Step, change: Change, code: str | None, message: str
) -> Answer:
    """Return what to do after one statement was answered with an error code, or with none."""
    if code is None:
        return Applied()
    code = code.removesuffix(_SUFFIX) or "Unknown"
    if code == "ConditionalCheckFailed" and step is Step.UPDATE:
        return Next(Step.INSERT)
    if code == "DuplicateItem":
        return Next(Step.UPDATE)
    if code in {"Validation", "ValidationError"}:
        return _invalid(step, change, message)
    if code == "ItemCollectionSizeLimitExceeded":
        return Rejected(Reason.REFUSED, code)
    if code in _THROTTLED:
        return Retry(code)
    if code in _REFUSED:
        # Of a bad signature AWS's message shows the request, with the session's token.
        told = f": {' '.join(message.split())}" if code in _TELLING else ""
        return Refused(code + told)
    return Retry(code)


def _invalid(step: Step, change: Change, message: str) -> Answer:
    if step is not Step.UPDATE_ITEM:
        return Next(Step.UPDATE_ITEM)
    if len(change.sums) > 1:
        return Split()
    if "data type" in message or "operand" in message.lower():
        return Rejected(Reason.COUNTER_NOT_A_NUMBER, "the counter's attribute is no number")
    return Rejected(Reason.REFUSED, "DynamoDB finds the update invalid")


def next_batches(items: Iterable[Change]) -> list[tuple[Change, ...]]:
    """Cut changes of different items into batches of at most `BATCH`."""
    held = tuple(items)
    return [held[i : i + BATCH] for i in range(0, len(held), BATCH)]
