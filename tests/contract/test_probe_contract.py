"""The probe of a table: all as expected on every DynamoDB, and what differs is named."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest

from dynatomic.dynamodb.statements import Step
from dynatomic.dynamodb.tables import switch_ttl_on
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.operations.probe import Probe, ProbeResult, probe
from dynatomic.operations.probe_cases import ALONE, BATCHES, TEXT, TEXT_IN_BATCHES
from dynatomic.testing.dynamodb.client import FakeDynamoDB, Request
from dynatomic.testing.dynamodb.responses import client_error
from tests.support.clients import Clock
from tests.support.tables import MakeTable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# ministack adds with 28 digits, and rounds what has more.
ROUNDED = {"38 digits", "more digits are refused"}


def different(outcomes: Iterable[ProbeResult]) -> dict[str, str]:
    return {each.name: each.difference for each in outcomes if each.difference}


def expected_of(request: pytest.FixtureRequest) -> set[str]:
    return ROUNDED if request.node.callspec.params["dynamodb"] == "embedded" else set()


def rows(client: Any, table: str) -> list[Any]:
    if isinstance(client, FakeDynamoDB):
        return list(client.items(table))
    found: list[Any] = client.scan(TableName=table, ConsistentRead=True)["Items"]
    return found


@pytest.mark.parametrize(("hash_type", "range_type"), [("S", None), ("N", "S"), ("S", "N")])
def test_everything_is_as_expected(
    dynamodb: "DynamoDBClient",
    make_table: MakeTable,
    request: pytest.FixtureRequest,
    hash_type: Any,
    range_type: Any,
) -> None:
    table = make_table(dynamodb, hash_type, range_type)
    played = list(probe(dynamodb, table))
    assert len(played) == 24
    assert set(different(played)) == expected_of(request)
    assert rows(dynamodb, table) == []


@pytest.mark.parametrize("attribute", ["a", "text"])
def test_a_table_whose_ttl_attribute_the_probe_would_write_is_refused(
    dynamodb: "DynamoDBClient", make_table: MakeTable, attribute: str
) -> None:
    table = make_table(dynamodb)
    switch_ttl_on(dynamodb, table, attribute)
    with pytest.raises(ConfigError, match=f"writes the attribute '{attribute}'"):
        list(probe(dynamodb, table))
    assert rows(dynamodb, table) == []


def test_without_partiql(
    dynamodb: "DynamoDBClient", make_table: MakeTable, request: pytest.FixtureRequest
) -> None:
    table = make_table(dynamodb)
    played = list(probe(dynamodb, table, batches=False))
    assert len(played) == 9
    assert set(different(played)) == expected_of(request)
    assert rows(dynamodb, table) == []


class NoOldItem(FakeDynamoDB):
    """Does not return the item that a condition refused."""

    def batch_execute_statement(self, **params: Any) -> dict[str, Any]:
        answered = dict(super().batch_execute_statement(**params))
        for response in answered["Responses"]:
            response.get("Error", {}).pop("Item", None)
        return answered


class NoCondition(FakeDynamoDB):
    """Applies an UpdateItem whatever its condition says."""

    def update_item(self, **params: Any) -> dict[str, Any]:
        if params.get("ConditionExpression", "").startswith("attribute_not_exists(#f)"):
            del params["ConditionExpression"], params["ExpressionAttributeValues"][":first"]
        return dict(super().update_item(**params))


class Sets(FakeDynamoDB):
    """Takes ``count+?`` for a new value."""

    def batch_execute_statement(self, **params: Any) -> dict[str, Any]:
        for each in params["Statements"]:
            each["Statement"] = each["Statement"].replace('"a"="a"+?', '"a"=?')
        return dict(super().batch_execute_statement(**params))


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (NoOldItem, {"a refused fence returns the old item": "next: insert"}),
        (NoCondition, {"UpdateItem is refused by the fence": "'applied'"}),
        (Sets, {"arithmetic, and two SET clauses": "'a' is 5 instead of 7"}),
    ],
)
def test_what_differs_is_named(
    kind: type[FakeDynamoDB], named: dict[str, str], make_table: MakeTable
) -> None:
    client = cast("DynamoDBClient", kind())
    found = different(probe(client, make_table(client)))
    for name, part in named.items():
        assert part in found[name]
    assert "an item that is missing" not in found


@pytest.fixture
def fake() -> FakeDynamoDB:
    return FakeDynamoDB()


@pytest.fixture
def table(fake: FakeDynamoDB, make_table: MakeTable) -> str:
    return make_table(cast("DynamoDBClient", fake))


def refusing(fake: FakeDynamoDB, operation: str, code: str, message: str = "") -> None:
    def before(request: Request) -> Exception | None:
        return client_error(code, message, operation) if request.operation == operation else None

    fake.faults.before = before


def run(fake: FakeDynamoDB, table: str, **more: Any) -> Iterator[ProbeResult]:
    return Probe(cast("DynamoDBClient", fake), table, **more).run()


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("DeleteItem", "dynamodb:DeleteItem"),
        ("UpdateItem", "dynamodb:UpdateItem"),
        ("BatchExecuteStatement", "dynamodb:PartiQLUpdate"),
    ],
)
def test_a_denied_action_is_named(
    fake: FakeDynamoDB, table: str, operation: str, action: str
) -> None:
    refusing(fake, operation, "AccessDeniedException")
    with pytest.raises(ConfigError, match=f"access denied: allow {action} on "):
        list(run(fake, table))
    assert fake.items(table) == []


def test_nothing_is_written_where_it_could_not_be_removed(fake: FakeDynamoDB, table: str) -> None:
    refusing(fake, "DeleteItem", "AccessDeniedException")
    with pytest.raises(ConfigError):
        next(run(fake, table))
    assert fake.requests["BatchExecuteStatement"] == fake.requests["UpdateItem"] == 0


@pytest.mark.parametrize("plays", range(1, 24))
def test_the_item_is_removed_wherever_it_ends(fake: FakeDynamoDB, table: str, plays: int) -> None:
    going = run(fake, table)
    for _ in range(plays):
        next(going)
    going.close()  # type: ignore[attr-defined]
    assert fake.items(table) == []


def test_a_throttled_write_is_sent_again(fake: FakeDynamoDB, table: str) -> None:
    clock, left = Clock(), [3]

    def before(request: Request) -> Exception | None:
        if request.operation != "BatchExecuteStatement" or not left[0]:
            return None
        left[0] -= 1
        return client_error("ThrottlingException", "", request.operation)

    fake.faults.before = before
    assert not different(run(fake, table, clock=clock, sleep=clock.advance))


def test_one_that_is_never_answered_ends(fake: FakeDynamoDB, table: str) -> None:
    clock = Clock()
    refusing(fake, "BatchExecuteStatement", "ThrottlingException")
    with pytest.raises(UnavailableError, match="gives no answer: Throttling"):
        list(run(fake, table, clock=clock, sleep=clock.advance))
    assert fake.items(table) == []


def test_a_throttled_removal_is_asked_again(fake: FakeDynamoDB, table: str) -> None:
    clock = Clock()

    def before(request: Request) -> Exception | None:
        # Every other one: the second is the one at the end.
        if request.operation != "DeleteItem" or fake.requests["DeleteItem"] % 2:
            return None
        return client_error("ThrottlingException", "", request.operation)

    fake.faults.before = before
    assert not different(run(fake, table, clock=clock, sleep=clock.advance))
    assert fake.requests["DeleteItem"] == 3
    assert fake.items(table) == []


@pytest.mark.parametrize(
    ("code", "kind", "cause"),
    [
        ("ThrottlingException", UnavailableError, "does not answer (ThrottlingException)"),
        ("AccessDeniedException", ConfigError, "allow dynamodb:DeleteItem"),
    ],
)
def test_an_item_that_stays_is_named(
    fake: FakeDynamoDB, table: str, code: str, kind: type[Exception], cause: str
) -> None:
    clock = Clock()
    going = run(fake, table, clock=clock, sleep=clock.advance)
    for _ in range(5):
        next(going)
    (item,) = fake.items(table)
    refusing(fake, "DeleteItem", code)
    with pytest.raises(kind) as caught:
        going.close()  # type: ignore[attr-defined]
    says = str(caught.value)
    assert says.startswith(f"table {table} may still have the scratch item with pk ")
    assert item["pk"]["S"] in says
    assert cause in says


def test_every_step_of_a_write_is_played(fake: FakeDynamoDB, table: str) -> None:
    cases = (*BATCHES, *ALONE, *TEXT, *TEXT_IN_BATCHES)
    assert {case.step for case in cases} == set(Step)
    assert not different(run(fake, table))
