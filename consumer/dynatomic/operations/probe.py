"""``dynatomic config check --probe``: whether DynamoDB answers as the product takes for granted.

On one scratch item, removed afterwards, every statement form is played with the product's own
statements and read with its own table of answers. What another endpoint, or a later version of
the service, answers differently is named.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dynatomic.dynamodb.answers import (
    Answer,
    Fenced,
    Item,
    PartiallyRejected,
    Refused,
    Rejected,
    Retry,
    TryStep,
)
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.fence import Fence, fence_name
from dynatomic.dynamodb.increment import increment
from dynatomic.dynamodb.statements import Change, Step, key_attributes, update_item
from dynatomic.dynamodb.tables import arn, call_table, describe, refusal_message
from dynatomic.errors import ConfigError, IncrementError, UnavailableError
from dynatomic.events.row import KeySchema, key_value

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PATIENCE_S, PAUSE_S = 20.0, 0.2

_ACTIONS = {
    Step.UPDATE: "PartiQLUpdate",
    Step.ADD_FENCE: "PartiQLUpdate",
    Step.INSERT: "PartiQLInsert",
    Step.UPDATE_ITEM: "UpdateItem",
    Step.INSPECT: "UpdateItem",
}
_FENCE, _OTHER = (fence_name("0" * 32, number) for number in (0, 1))
_LARGEST_NUMBER = 10**38 - 1  # of a number's 38 digits


@dataclass(frozen=True, slots=True)
class ProbeCase:
    """One write, the answer that is expected, and what the item holds after it."""

    name: str
    step: Step
    sums: Mapping[str, int]
    expected: str
    fence: Fence | None = None
    holds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What was played, and how the answer differs; empty if it does not."""

    name: str
    difference: str = ""


UPDATE, FIRST, INSERT, UPDATE_ITEM, LOOK = Step
_WINDOW, _LATER = Fence(_FENCE, 10, 19), Fence(_FENCE, 30, 39)
_TWO = {"text": 1, "a": 1}

BATCHES = (
    ProbeCase("an item that is missing", UPDATE, {"a": 1}, "next: insert", _WINDOW),
    ProbeCase("the same, first of a partition", FIRST, {"a": 1}, "next: insert", _WINDOW),
    ProbeCase(
        *("INSERT", INSERT, {"a": 2, "b": 3}, "applied", Fence(_FENCE, 0, 9)),
        {"a": 2, "b": 3, _FENCE: 9},
    ),
    ProbeCase(
        "a duplicate INSERT", INSERT, {"a": 2}, "next: update", Fence(_FENCE, 0, 9), {"a": 2}
    ),
    ProbeCase(
        *("arithmetic, and two SET clauses", UPDATE, {"a": 5, "b": -4}, "applied", _WINDOW),
        {"a": 7, "b": -1, _FENCE: 19},
    ),
    ProbeCase(
        "a refused fence returns the old item", UPDATE, {"a": 5}, "fenced: 19", _WINDOW, {"a": 7}
    ),
    ProbeCase("a window that overlaps", UPDATE, {"a": 5}, "fenced: 19", Fence(_FENCE, 15, 25)),
    ProbeCase("IS MISSING, where it is not", FIRST, {"a": 5}, "fenced: 19", _WINDOW, {"a": 7}),
    ProbeCase("a fence that is missing", UPDATE, {"a": 1}, "next: first", Fence(_OTHER, 0, 4)),
    ProbeCase(
        *("IS MISSING", FIRST, {"a": 1}, "applied", Fence(_OTHER, 0, 4)),
        {"a": 8, _OTHER: 4, _FENCE: 19},
    ),
    ProbeCase("without a fence", UPDATE, {"a": -3}, "applied", None, {"a": 5}),
    ProbeCase("an attribute that does not exist", UPDATE, {"c": 4}, "next: update-item", _LATER),
)
ALONE = (
    ProbeCase(
        *("UpdateItem makes what is missing", UPDATE_ITEM, {"a": 0, "c": 4}, "applied", _LATER),
        {"c": 4, _FENCE: 39},
    ),
    ProbeCase("UpdateItem is refused by the fence", UPDATE_ITEM, {"c": 4}, "fenced: 39", _LATER),
    ProbeCase("UpdateItem without a fence", UPDATE_ITEM, {"c": 3}, "applied", None, {"c": 7}),
    ProbeCase(
        "38 digits", UPDATE_ITEM, {"d": _LARGEST_NUMBER}, "applied", None, {"d": _LARGEST_NUMBER}
    ),
    ProbeCase(
        "more digits are refused", UPDATE_ITEM, {"d": 2}, "rejected", None, {"d": _LARGEST_NUMBER}
    ),
)
# From here on the item has a counter that is text.
TEXT = (
    ProbeCase("a counter that is text", UPDATE_ITEM, {"text": 1}, "rejected: counter-not-a-number"),
    ProbeCase("the same, among others", UPDATE_ITEM, _TWO, "next: look"),
    ProbeCase("which one it is", LOOK, _TWO, "partly: text counter-not-a-number"),
)
TEXT_IN_BATCHES = (ProbeCase("text, in a batch", UPDATE, {"text": 1}, "next: update-item"),)


class Probe:
    """Plays with one item of one table. Raises as `probe` does."""

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        *,
        batches: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client: Any = client
        self._table = table
        self._batches = batches
        self._clock = clock
        self._sleep = sleep
        self._keys = describe(client, table)
        self._counters = Counters(client, {table: self._keys})
        self._key = scratch_key(self._keys)

    def run(self) -> Iterator[ProbeResult]:
        """Play everything, and remove the item whatever happens."""
        # A denied permission to remove it is told before there is anything to remove.
        self._asked("DeleteItem", self._client.delete_item, Key=self._attributes())
        try:
            for play in (*(BATCHES if self._batches else ()), *ALONE):
                yield self._play(play)
            if self._batches:
                yield self._batch()
            yield self._increment()
            self._make_text()
            for play in (*TEXT, *(TEXT_IN_BATCHES if self._batches else ())):
                yield self._play(play)
        finally:
            self._remove()
        if self._batches:
            yield self._play(
                ProbeCase("the scratch item is removed", UPDATE, {"a": 1}, "next: insert")
            )

    def _change(self, sums: Mapping[str, int], fence: Fence | None = None) -> Change:
        return Change(self._table, *self._key, sums, fence)

    def _play(self, play: ProbeCase) -> ProbeResult:
        (found,) = self._answers(play.step, [self._change(play.sums, play.fence)])
        if not told(found).startswith(play.expected):
            return ProbeResult(play.name, f"expected {play.expected!r}, answered {told(found)!r}")
        return ProbeResult(play.name, self._differs(play.holds))

    def _differs(self, holds: Mapping[str, int]) -> str:
        item = self._item() if holds else {}
        for name, expected in holds.items():
            found = item.get(name, {}).get("N")
            if found is None or Decimal(found) != expected:
                return f"{name!r} is {found or 'no number'} instead of {expected}"
        return ""

    def _batch(self) -> ProbeResult:
        """Play a batch: answers in the order of the statements, each on its own."""
        name = "a batch of a missing and an existing item"
        other = Change(self._table, *scratch_key(self._keys), {"a": 1})
        found = self._answers(UPDATE, [other, self._change({"a": 1})])
        expected = "next: insert, applied"
        answered = ", ".join(map(told, found))
        if answered != expected:
            return ProbeResult(name, f"expected {expected!r}, answered {answered!r}")
        return ProbeResult(name, self._differs({"a": 6}))

    def _increment(self) -> ProbeResult:
        """Play `increment`, which returns the new value."""
        name = "an increment returns the new value"
        try:
            found = increment(self._table, *self._key, "c", 5, client=self._client)
        except IncrementError as error:
            return ProbeResult(name, str(error))
        return ProbeResult(name, "" if found == 12 else f"expected 12, answered {found}")  # noqa: PLR2004 - 7 and 5

    def _make_text(self) -> None:
        self._update(
            Key=key_attributes(self._keys, *self._key),
            UpdateExpression="SET #text = :text",
            ExpressionAttributeNames={"#text": "text"},
            ExpressionAttributeValues={":text": {"S": "many"}},
        )

    def _item(self) -> Item:
        """Return what the item holds, as the product asks for it: by an update that is refused."""
        request = update_item(self._keys, self._change({"a": 0}), LOOK)
        try:
            self._update(**{name: each for name, each in request.items() if name != "TableName"})
        except self._client.exceptions.ConditionalCheckFailedException as error:
            found: Item = error.response.get("Item", {})
            return found
        return {}

    def _answers(self, step: Step, changes: list[Change]) -> list[Answer]:
        """Send until it is neither throttled nor unanswered. A write that was sent is not safe."""
        deadline = self._clock() + PATIENCE_S
        while True:
            found = self._counters.execute(step, changes)
            for each in found:
                if isinstance(each, Refused):
                    action = f"dynamodb:{_ACTIONS[step]}"
                    raise ConfigError(
                        refusal_message(each.cause, arn(self._client, self._table), action)
                    )
            waits = [each for each in found if isinstance(each, Retry)]
            if not waits:
                return found
            if self._clock() >= deadline:
                raise UnavailableError(
                    f"table {self._table} gives no answer: {waits[0].cause}; try again"
                )
            self._sleep(PAUSE_S)

    def _update(self, **request: Any) -> None:
        self._asked("UpdateItem", self._client.update_item, **request)

    def _asked(self, action: str, operation: Callable[..., Any], **request: Any) -> None:
        """Call what may be called twice, until it is neither throttled nor unanswered."""
        deadline = self._clock() + PATIENCE_S
        while True:
            try:
                call_table(self._client, self._table, f"dynamodb:{action}", operation, **request)
            except UnavailableError:
                if self._clock() >= deadline:
                    raise
                self._sleep(PAUSE_S)
            else:
                return

    def _attributes(self) -> dict[str, Any]:
        return key_attributes(self._keys, *self._key)

    def _remove(self) -> None:
        try:
            self._asked("DeleteItem", self._client.delete_item, Key=self._attributes())
        except (ConfigError, UnavailableError) as error:
            key = ", ".join(f"{name} {each}" for name, each in self._named().items())
            raise type(error)(
                f"table {self._table} may still have the scratch item with {key} ({error}): "
                "delete it there"
            ) from None

    def _named(self) -> dict[str, str]:
        return {name: str(*value.values()) for name, value in self._attributes().items()}


def scratch_key(keys: KeySchema) -> tuple[str, str | None]:
    """Return hash and range key of an item that is nobody's."""
    number = uuid4().int
    value = {
        "S": f"dynatomic-probe-{number:032x}",
        "N": key_value(f"-{number % 10**30}", "N"),
    }
    return value[keys.hash_type], value[keys.range_type or "S"] if keys.range_name else None


def told(found: Answer) -> str:
    """Return an answer in words."""
    match found:
        case TryStep(step):
            return f"next: {step.value}"
        case Fenced(offset):
            return f"fenced: {offset}"
        case Rejected(reason):
            return f"rejected: {reason.value}"
        case PartiallyRejected(rejected):
            return "partly: " + ", ".join(f"{n} {why.reason.value}" for n, why in rejected.items())
        case Retry(cause) | Refused(cause):
            return cause
    return "applied"


def probe(client: "DynamoDBClient", table: str, *, batches: bool = True) -> Iterator[ProbeResult]:
    """Yield what was played on a table, one by one; the scratch item is removed at the end.

    ``batches`` False leaves out PartiQL. Raises ConfigError if the table is missing or an action is
    denied, UnavailableError if there is no answer. Needs ``dynamodb:DeleteItem``, and what ``run``
    needs.
    """
    return Probe(client, table, batches=batches).run()
