"""The limits of DynamoDB, on the fake, the embedded table and DynamoDB Local."""

from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from dynatomic.dynamodb.statements import Change, Step, statement
from dynatomic.events.row import KeySchema
from tests.support.tables import MakeTable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
from tests.support.statements import (
    CONDITION,
    INVALID,
    TEXT,
    add,
    change,
    codes,
    get,
    insert,
    put,
    refused,
    send,
    update,
)

NUMBER = KeySchema("pk", "N", None, None)


TWO_TEXTS = KeySchema("pk", "S", "rk", "S")


LARGEST = 10**38 - 1


def test_25_statements_are_taken_and_26_are_refused_whole(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    inserts = [insert(table, f"k{i}", count=i) for i in range(26)]
    assert codes(send(dynamodb, *inserts[:25])) == [None] * 25
    updates = [update(table, f"k{i}", count=1) for i in range(25)]
    with pytest.raises(ClientError) as error:
        send(dynamodb, *updates, inserts[25])
    assert refused(error) == "ValidationException"
    assert [get(dynamodb, table, f"k{i}") for i in (0, 24)] == [
        {"count": {"N": "0"}},
        {"count": {"N": "24"}},
    ]
    assert get(dynamodb, table, "k25") is None


def test_an_item_that_stands_twice_in_a_batch_refuses_it_whole(
    dynamodb: "DynamoDBClient", table: str, request: pytest.FixtureRequest, *, lax: bool
) -> None:
    put(dynamodb, table, "a", count=0)
    put(dynamodb, table, "b", count=0)
    batch = [update(table, key, count=1) for key in ("a", "b", "a")]
    if lax:  # ministack runs them one after the other
        assert codes(send(dynamodb, *batch)) == [None, None, None]
        assert get(dynamodb, table, "a") == {"count": {"N": "2"}}
        return
    with pytest.raises(ClientError, match="Provided list of item keys contains duplicates") as e:
        send(dynamodb, *batch)
    assert refused(e) == "ValidationException"
    # DynamoDB Local refuses the batch after it applied all of it: such a batch may never be sent.
    applied = "1" if "real" in request.node.callspec.params.values() else "0"
    assert get(dynamodb, table, "b") == {"count": {"N": applied}}


def test_numbers_that_are_equal_are_one_key(
    dynamodb: "DynamoDBClient", make_table: MakeTable, *, lax: bool
) -> None:
    table = make_table(dynamodb, "N")

    def run(step: Step, *keys: str) -> list[str | None]:
        batch = [statement(step, NUMBER, change(table, key, count=5)) for key in keys]
        return codes(send(dynamodb, *batch))

    assert run(Step.INSERT, "1") == [None]
    if lax:  # ministack compares number keys as text, so rows must bring them in one form
        assert run(Step.UPDATE, "1.0") == [CONDITION]
        assert get(dynamodb, table, "01", "N") is None
        return
    for same in ("1.0", "1E0", "01", "+1", "0.1e1"):
        assert run(Step.UPDATE, same) == [None]
        assert run(Step.INSERT, same) == ["DuplicateItem"]
    assert get(dynamodb, table, "1.000", "N") == {"count": {"N": "30"}}
    with pytest.raises(ClientError, match="duplicates"):
        run(Step.UPDATE, "1", "1.00")


def test_a_number_key_comes_back_in_its_canonical_form(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    table = make_table(dynamodb, "N")
    add(dynamodb, NUMBER, change(table, "007.50", count=1))
    found = dynamodb.get_item(TableName=table, Key={"pk": {"N": "007.50"}})["Item"]
    assert found["pk"] == {"N": "7.5"}


@pytest.mark.parametrize("step", [Step.UPDATE, Step.INSERT])
def test_a_key_that_is_no_number_is_refused(
    dynamodb: "DynamoDBClient", make_table: MakeTable, step: Step, *, lax: bool
) -> None:
    table = make_table(dynamodb, "N")
    bad = statement(step, NUMBER, change(table, "x", count=5))
    if lax:  # ministack refuses that statement only
        assert codes(send(dynamodb, bad)) == [INVALID]
        return
    with pytest.raises(ClientError) as error:
        send(dynamodb, bad)
    assert refused(error) == "ValidationException"


def long_key(role: str, length: int) -> tuple[str, str]:
    """Return a hash and a range key, one of them of this many bytes."""
    text = ("é" * (length // 2)) + "k" * (length % 2)
    return (text, "r") if role == "hash" else ("h", text)


@pytest.mark.parametrize("step", [Step.INSERT, Step.UPDATE, Step.UPDATE_ITEM])
@pytest.mark.parametrize(("role", "most"), [("hash", 2048), ("range", 1024)])
def test_keys_have_a_size_limit_in_bytes(
    dynamodb: "DynamoDBClient",
    make_table: MakeTable,
    role: str,
    most: int,
    step: Step,
    *,
    lax: bool,
) -> None:
    table = make_table(dynamodb, "S", "S")

    def code(length: int) -> str | None:
        what = Change(table, *long_key(role, length), {"count": 1})
        if step is not Step.UPDATE_ITEM:
            (found,) = codes(send(dynamodb, statement(step, TWO_TEXTS, what)))
            return found
        try:
            add(dynamodb, TWO_TEXTS, what)
        except ClientError as error:
            return error.response["Error"]["Code"]
        return None

    untouched = CONDITION if step is Step.UPDATE else None
    assert code(most) == untouched
    if step is Step.UPDATE_ITEM:
        assert code(most + 1) == code(0) == "ValidationException"
    elif lax:  # ministack bounds keys in UpdateItem only
        assert code(most + 1) == untouched
    else:
        assert code(most + 1) == code(0) == INVALID


@pytest.mark.parametrize("step", [Step.UPDATE, Step.UPDATE_ITEM])
def test_a_missing_range_key_is_invalid(
    dynamodb: "DynamoDBClient", make_table: MakeTable, step: Step
) -> None:
    table = make_table(dynamodb, "S", "S")
    what = change(table, "a", count=1)
    if step is Step.UPDATE:
        assert codes(send(dynamodb, statement(step, TEXT, what))) == [INVALID]
        return
    with pytest.raises(ClientError) as error:
        add(dynamodb, TEXT, what)
    assert refused(error) == "ValidationException"


def test_a_range_key_that_the_table_does_not_have_is_not_always_refused(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    """So the product compares the row with DescribeTable before it sends anything."""
    what = Change(table, "a", "r", {"count": 1})
    assert codes(send(dynamodb, statement(Step.INSERT, TWO_TEXTS, what))) == [None]
    assert get(dynamodb, table, "a") == {"rk": {"S": "r"}, "count": {"N": "1"}}
    with pytest.raises(ClientError) as error:
        add(dynamodb, TWO_TEXTS, what)
    assert refused(error) == "ValidationException"


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_of_38_digits_are_exact(
    dynamodb: "DynamoDBClient", table: str, sign: int, *, lax: bool
) -> None:
    # ministack adds with 28 digits and rounds what is longer.
    largest = 10**28 - 1 if lax else LARGEST
    put(dynamodb, table, "a", count=sign * (largest - 3))
    assert codes(send(dynamodb, update(table, "a", count=sign))) == [None]
    add(dynamodb, TEXT, change(table, "a", count=sign))
    assert get(dynamodb, table, "a") == {"count": {"N": str(sign * (largest - 1))}}
    past = change(table, "a", count=3 * sign)
    if lax:
        assert codes(send(dynamodb, statement(Step.UPDATE, TEXT, past))) == [None]
        return
    assert codes(send(dynamodb, statement(Step.UPDATE, TEXT, past))) == [INVALID]
    with pytest.raises(ClientError) as error:
        add(dynamodb, TEXT, past)
    assert refused(error) == "ValidationException"
    assert get(dynamodb, table, "a") == {"count": {"N": str(sign * (largest - 1))}}


def test_the_largest_number_of_38_digits_is_stored(dynamodb: "DynamoDBClient", table: str) -> None:
    assert codes(send(dynamodb, insert(table, "a", count=LARGEST, owed=-LARGEST))) == [None]
    expected = {"count": {"N": str(LARGEST)}, "owed": {"N": str(-LARGEST)}}
    assert get(dynamodb, table, "a") == expected


def test_a_parameter_of_39_digits_refuses_the_whole_batch(
    dynamodb: "DynamoDBClient", table: str, *, lax: bool
) -> None:
    batch = [insert(table, "good", count=1), insert(table, "bad", count=LARGEST + 2)]
    if lax:  # ministack takes it
        assert codes(send(dynamodb, *batch)) == [None, None]
        return
    with pytest.raises(ClientError) as error:
        send(dynamodb, *batch)
    assert refused(error) == "ValidationException"
    assert get(dynamodb, table, "good") is None
