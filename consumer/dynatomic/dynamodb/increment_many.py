"""Many additions at once: rows are summed by counter, and sent in batches of 25 items."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from dynatomic.dynamodb.answers import (
    Answer,
    Applied,
    Fenced,
    PartiallyRejected,
    Refused,
    Rejected,
    Retry,
    TryStep,
)
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.increment import connect
from dynatomic.dynamodb.parts import split
from dynatomic.dynamodb.statements import Change, Step, group_changes, next_batches
from dynatomic.dynamodb.tables import arn, refusal_message
from dynatomic.errors import IncrementError
from dynatomic.events.row import CounterRef, Row, check, counter_ref
from dynatomic.events.window import Window

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_MAX_CAUSES = 3  # in one message
_MAX_STEPS = 8
"""Steps of a change. Without other writers it takes at most four."""


class IncrementManyError(IncrementError):
    """Some rows of a list were not added, or perhaps not. The other rows are added.

    ``not_added`` has what was surely not added, and may be passed to `increment_many` again.
    ``unknown`` has what may or may not have been added: read these counters first. Both have one
    row for each counter, with the sum of its rows.
    """

    def __init__(self, message: str, not_added: list[Row], unknown: list[Row]) -> None:
        super().__init__(message, applied=None if unknown else False)
        self.not_added = not_added
        self.unknown = unknown


def increment_many(rows: Iterable[Row], *, client: "DynamoDBClient | None" = None) -> None:
    """Add each row to its counter, in requests of up to 25 items, and return no values.

    The rows of one counter are summed first, and all counters of an item are one write. Requests
    follow each other. None is sent again after a lost answer or a throttled one. The additions are
    not atomic together.

    Raises RowError before anything is sent if the table of a row cannot take it. Raises
    IncrementManyError, with the rows concerned, if some were not added. Raises ConfigError and
    UnavailableError as `increment` does.
    """
    connection = connect(client)
    sums: Counter[CounterRef] = Counter()
    keys = {}
    for row in rows:
        check(row)
        keys[row.table] = connection.keys(row.table)
        sums[counter_ref(row, row.counter or "count", keys[row.table])] += row.incr
    counters = Counters(connection.client, keys, connection.batch)
    _Additions(counters, connection.client).send(sums)


class _Additions:
    """Takes changes through the steps of the write path, and collects what was not added."""

    def __init__(self, counters: Counters, client: "DynamoDBClient") -> None:
        self._counters = counters
        self._client = client
        self._not_added: list[Row] = []
        self._unknown: list[Row] = []
        self._causes: Counter[str] = Counter()

    def send(self, sums: Mapping[CounterRef, int]) -> None:
        """Add the sums. Raises IncrementManyError."""
        changes = [change for table in group_changes(sums).values() for change in table]
        # The parts of an item with many counters follow each other, because a batch must not have
        # two statements for one item.
        for parts in zip_longest(*(split(change, Window()) for change in changes)):
            self._add([part for part in parts if part is not None])
        if self._causes:
            causes = ", ".join(
                f"{count}: {cause}" for cause, count in self._causes.most_common(_MAX_CAUSES)
            )
            raise IncrementManyError(
                f"{len(self._not_added)} of {len(sums)} counters were not raised, and "
                f"{len(self._unknown)} may or may not have been raised ({causes})",
                self._not_added,
                self._unknown,
            )

    def _add(self, parts: list[Change]) -> None:
        steps = {Step.UPDATE: parts}
        for _ in range(_MAX_STEPS):
            steps = self._round(steps)
        for change in chain.from_iterable(steps.values()):
            self._record(change, "other writers change the item; try again", unknown=False)

    def _round(self, changes: Mapping[Step, list[Change]]) -> dict[Step, list[Change]]:
        """Send each change once, and return those that need another step."""
        following: dict[Step, list[Change]] = {}
        for step, waiting in changes.items():
            batches = [(change,) for change in waiting] if step.alone else next_batches(waiting)
            for batch in batches:
                for change, answer in zip(batch, self._counters.execute(step, batch), strict=True):
                    if isinstance(answer, TryStep) and answer.step is Step.INSPECT:
                        # One counter of the item is refused: the others are added without it.
                        following.setdefault(Step.UPDATE_ITEM, []).extend(
                            change.only({name: change.sums[name]}) for name in change.names
                        )
                    elif isinstance(answer, TryStep):
                        following.setdefault(answer.step, []).append(change)
                    else:
                        self._end(change, answer)
        return following

    def _end(self, change: Change, answer: Answer) -> None:
        match answer:
            case Applied():
                pass
            case Retry(cause):
                self._record(change, cause, unknown=answer.is_unknown)
            case Refused(cause):
                resource = arn(self._client, change.table)
                message = refusal_message(cause, resource, "dynamodb:UpdateItem")
                self._record(change, message, unknown=False)
            case Rejected(_, detail):
                self._record(change, detail, unknown=False)
            case TryStep() | Fenced() | PartiallyRejected():
                raise AssertionError(f"unexpected answer: {answer}")

    def _record(self, change: Change, cause: str, *, unknown: bool) -> None:
        rows = self._unknown if unknown else self._not_added
        rows += [
            Row(change.table, change.key, range=change.range, counter=name, incr=total)
            for name, total in change.sums.items()
        ]
        self._causes[f"table {change.table}: {cause}"] += len(change.sums)
