"""``dynatomic config check --probe``: checks that DynamoDB answers as the product expects.

It sends every form of statement for one scratch item, which it deletes at the end, and classifies
the answers with the product's own code. It reports each answer of an endpoint, or of a later
version of the service, that differs.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dynatomic.dynamodb.answers import (
    Answer,
    Item,
    Refused,
    Retry,
)
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.fence import Fence
from dynatomic.dynamodb.increment import increment
from dynatomic.dynamodb.statements import Change, Step, key_attributes, update_item
from dynatomic.dynamodb.tables import arn, call_table, describe_with_ttl, refusal_message
from dynatomic.errors import ConfigError, IncrementError, UnavailableError
from dynatomic.events.row import KeySchema, key_value
from dynatomic.operations.probe_cases import (
    ALONE,
    ATTRIBUTES,
    BATCHES,
    INSPECT,
    TEXT,
    TEXT_IN_BATCHES,
    UPDATE,
    ProbeCase,
    describe_answer,
)

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


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The name of a case, and how the answer differs; empty if it does not."""

    name: str
    difference: str = ""


class Probe:
    """Runs the cases on one item of one table. Raises as `probe` does."""

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
        self._keys = describe_with_ttl(client, table)
        _check_names(table, self._keys)
        self._counters = Counters(client, {table: self._keys})
        self._key = scratch_key(self._keys)

    def run(self) -> Iterator[ProbeResult]:
        """Run all cases, and delete the item in any case."""
        # A missing permission to delete the item is noticed before the item exists.
        self._call("DeleteItem", self._client.delete_item, Key=self._attributes())
        try:
            for case in (*(BATCHES if self._batches else ()), *ALONE):
                yield self._play(case)
            if self._batches:
                yield self._batch()
            yield self._increment()
            self._make_text()
            for case in (*TEXT, *(TEXT_IN_BATCHES if self._batches else ())):
                yield self._play(case)
        finally:
            self._remove()
        if self._batches:
            yield self._play(
                ProbeCase("the scratch item is removed", UPDATE, {"a": 1}, "next: insert")
            )

    def _change(self, sums: Mapping[str, int], fence: Fence | None = None) -> Change:
        return Change(self._table, *self._key, sums, fence)

    def _play(self, case: ProbeCase) -> ProbeResult:
        (answer,) = self._answers(case.step, [self._change(case.sums, case.fence)])
        if not describe_answer(answer).startswith(case.expected):
            return ProbeResult(
                case.name, f"expected {case.expected!r}, answered {describe_answer(answer)!r}"
            )
        return ProbeResult(case.name, self._differs(case.holds))

    def _differs(self, holds: Mapping[str, int]) -> str:
        item = self._item() if holds else {}
        for name, expected in holds.items():
            value = item.get(name, {}).get("N")
            if value is None or Decimal(value) != expected:
                return f"{name!r} is {value or 'no number'} instead of {expected}"
        return ""

    def _batch(self) -> ProbeResult:
        """Run a batch: one answer for each statement, in their order."""
        name = "a batch of a missing and an existing item"
        other = Change(self._table, *scratch_key(self._keys), {"a": 1})
        answers = self._answers(UPDATE, [other, self._change({"a": 1})])
        expected = "next: insert, applied"
        answered = ", ".join(map(describe_answer, answers))
        if answered != expected:
            return ProbeResult(name, f"expected {expected!r}, answered {answered!r}")
        return ProbeResult(name, self._differs({"a": 6}))

    def _increment(self) -> ProbeResult:
        """Run `increment`, which returns the new value."""
        name = "an increment returns the new value"
        try:
            value = increment(self._table, *self._key, "c", 5, client=self._client)
        except IncrementError as error:
            return ProbeResult(name, str(error))
        return ProbeResult(name, "" if value == 12 else f"expected 12, answered {value}")  # noqa: PLR2004 - 7 and 5

    def _make_text(self) -> None:
        self._update(
            Key=key_attributes(self._keys, *self._key),
            UpdateExpression="SET #text = :text",
            ExpressionAttributeNames={"#text": "text"},
            ExpressionAttributeValues={":text": {"S": "many"}},
        )

    def _item(self) -> Item:
        """Return the item, read as the product reads it: by an update whose condition fails."""
        request = update_item(self._keys, self._change({"a": 0}), INSPECT)
        try:
            self._update(**{name: value for name, value in request.items() if name != "TableName"})
        except self._client.exceptions.ConditionalCheckFailedException as error:
            old_item: Item = error.response.get("Item", {})
            return old_item
        return {}

    def _answers(self, step: Step, changes: list[Change]) -> list[Answer]:
        """Send the changes again until none is throttled or without an answer."""
        deadline = self._clock() + PATIENCE_S
        while True:
            answers = self._counters.execute(step, changes)
            for answer in answers:
                if isinstance(answer, Refused):
                    action = f"dynamodb:{_ACTIONS[step]}"
                    raise ConfigError(
                        refusal_message(answer.cause, arn(self._client, self._table), action)
                    )
            waits = [answer for answer in answers if isinstance(answer, Retry)]
            if not waits:
                return answers
            if self._clock() >= deadline:
                raise UnavailableError(
                    f"table {self._table} gives no answer: {waits[0].cause}; try again"
                )
            self._sleep(PAUSE_S)

    def _update(self, **request: Any) -> None:
        self._call("UpdateItem", self._client.update_item, **request)

    def _call(self, action: str, operation: Callable[..., Any], **request: Any) -> None:
        """Call an operation that may run twice, until it is neither throttled nor unanswered."""
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
            self._call("DeleteItem", self._client.delete_item, Key=self._attributes())
        except (ConfigError, UnavailableError) as error:
            key = ", ".join(f"{name} {value}" for name, value in self._named().items())
            raise type(error)(
                f"table {self._table} may still have the scratch item with {key} ({error}): "
                "delete it there"
            ) from None

    def _named(self) -> dict[str, str]:
        return {name: str(*value.values()) for name, value in self._attributes().items()}


def _check_names(table: str, keys: KeySchema) -> None:
    """Raise ConfigError if the probe would write an attribute that has a meaning for the table."""
    reserved = keys.index_names | {keys.hash_name, keys.range_name, keys.ttl_name}
    if names := sorted(ATTRIBUTES & reserved):
        raise ConfigError(
            f"table {table}: the probe writes the attribute {names[0]!r}, which is a key or the "
            "TTL attribute of this table: probe another table with --probe"
        )


def scratch_key(keys: KeySchema) -> tuple[str, str | None]:
    """Return the hash key and the range key of an item that nothing else uses."""
    random_bits = uuid4().int
    value = {
        "S": f"dynatomic-probe-{random_bits:032x}",
        "N": key_value(f"-{random_bits % 10**30}", "N"),
    }
    return value[keys.hash_type], value[keys.range_type or "S"] if keys.range_name else None


def probe(client: "DynamoDBClient", table: str, *, batches: bool = True) -> Iterator[ProbeResult]:
    """Yield the result of each case on a table; the scratch item is deleted at the end.

    ``batches`` False omits PartiQL. Raises ConfigError if the table is missing or an action is
    denied, or if the table uses an attribute that the probe writes, UnavailableError if there is no
    answer. Needs ``dynamodb:DeleteItem``, and what ``run`` needs.
    """
    return Probe(client, table, batches=batches).run()
