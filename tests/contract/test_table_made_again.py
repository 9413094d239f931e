"""A table that is made again with other keys while a consumer writes to it refuses its windows.

On the fake and on DynamoDB Local. ministack inserts items without their keys, so it is left out.
"""

import itertools
import queue
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from dynatomic.dynamodb.answers import KEYS_CHANGED
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.increment import increment
from dynatomic.dynamodb.statements import Step
from dynatomic.dynamodb.tables import describe
from dynatomic.dynamodb.writer import Writer
from dynatomic.errors import IncrementError
from dynatomic.events.row import CounterRef
from tests.support.counters import FENCE, SECONDS
from tests.support.names import unique
from tests.support.waiting import wait_until
from tests.support.windows import window_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from dynatomic.dynamodb.write import WindowWrite

pytestmark = pytest.mark.parametrize("dynamodb", ["fake", "real"], indirect=True)

Keys = list[tuple[str, str]]
"""Names and types, the hash key first."""

PLAIN: Keys = [("pk", "S")]
RANGED: Keys = [("pk", "S"), ("rk", "S")]
CHANGES: dict[str, tuple[Keys, Keys]] = {
    "another name": (PLAIN, [("id", "S")]),
    "another type": (PLAIN, [("pk", "N")]),
    "a range key": (PLAIN, RANGED),
    "no range key": (RANGED, PLAIN),
}


def make(client: "DynamoDBClient", table: str, keys: Keys) -> None:
    client.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[
            {"AttributeName": name, "KeyType": role}  # type: ignore[typeddict-item]
            for (name, _), role in zip(keys, ("HASH", "RANGE"), strict=False)
        ],
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": kind}  # type: ignore[typeddict-item]
            for name, kind in keys
        ],
    )


@pytest.fixture
def tables(dynamodb: "DynamoDBClient") -> Iterator[Callable[[Keys], str]]:
    """Return the function that makes a table, again if it is there; it is deleted at the end."""
    name = unique("again")
    made: list[str] = []

    def table(keys: Keys) -> str:
        if made:
            dynamodb.delete_table(TableName=name)
        made.append(name)
        make(dynamodb, name, keys)
        return name

    yield table
    dynamodb.delete_table(TableName=name)


@pytest.mark.parametrize("fence", [None, FENCE])
@pytest.mark.parametrize("first", [Step.UPDATE, Step.INSERT, Step.UPDATE_ITEM])
@pytest.mark.parametrize("names", [["count"], ["count", "hits"]])
@pytest.mark.parametrize("change", CHANGES)
def test_its_window_waits_until_the_keys_are_right(
    dynamodb: "DynamoDBClient",
    tables: Callable[[Keys], str],
    change: str,
    names: list[str],
    first: Step,
    fence: str | None,
) -> None:
    before, after = CHANGES[change]
    table = tables(before)
    counters = Counters(dynamodb, {table: describe(dynamodb, table)})
    tables(after)
    ranges = ["r1", "r2"] if before is RANGED else [None]
    sums = {CounterRef(table, "k", range_, name): 5 for range_ in ranges for name in names}
    done: queue.Queue[WindowWrite] = queue.Queue()
    writer = Writer(
        counters.execute,
        max_requests=1,
        first_step=first,
        clock=itertools.count(0.0, 1000.0).__next__,
    )
    try:
        write = writer.submit(window_of(sums), done.put, fence)
        wait_until(lambda: bool(write.refused_tables) or not done.empty(), "refused")
        assert write.refused_tables == {table: KEYS_CHANGED}
        assert write.rejected == {}
        tables(before)
        assert done.get(timeout=SECONDS) is write
    finally:
        writer.close()
    assert (write.rejected, write.held_back) == ({}, [])
    assert writer.failure is None


def test_increment_says_so_and_describes_it_again(
    dynamodb: "DynamoDBClient", tables: Callable[[Keys], str]
) -> None:
    table = tables(PLAIN)
    assert increment(table, "k", client=dynamodb) == 1
    tables([("id", "S")])
    with pytest.raises(IncrementError, match="other keys") as error:
        increment(table, "k", client=dynamodb)
    assert error.value.applied is False
    assert increment(table, "k", client=dynamodb) == 1
