"""The size limits of AWS, on the fake and on DynamoDB Local.

The fake has the limits that AWS documents (*Quotas in Amazon DynamoDB*, *Constraints*): 4 KB for
an expression, 8,192 characters for a statement, 300 operators, 400 kB for an item. DynamoDB Local
2.6.1 has the same. Of an UPDATE statement it counts ``+`` as an operator and no comparison; AWS
does not document what counts, so the product stays below 300. ministack limits expressions and
items, but not statements.
"""

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from dynatomic.dynamodb.fence import Fence
from dynatomic.dynamodb.statements import Change, Step, statement, update_item
from dynatomic.testing.dynamodb.sizes import (
    MAX_EXPRESSION_BYTES,
    MAX_ITEM_BYTES,
    MAX_OPERATORS,
    MAX_STATEMENT_CHARACTERS,
    item_bytes,
)
from tests.support.statements import INVALID, TEXT, codes, get, put, refused, send

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

FENCE = Fence("fence_0123abcd_7", 10, 19)
ON_FAKE_AND_LOCAL = pytest.mark.parametrize("dynamodb", ["fake", "real"], indirect=True)


def counters(count: int, length: int = 3) -> dict[str, int]:
    return {f"{i:0{length}d}": 1 for i in range(count)}


def longest(step: Step, table: str, fence: Fence | None) -> Change:
    """Return a change whose statement has nearly as many characters as allowed."""
    change = Change(table, "k", None, {}, fence)
    for i in range(MAX_STATEMENT_CHARACTERS):
        grown = change.only({**change.sums, f"{i:020d}": 1})
        if len(statement(step, TEXT, grown)["Statement"]) > MAX_STATEMENT_CHARACTERS:
            break
        change = grown
    return change


@ON_FAKE_AND_LOCAL
@pytest.mark.parametrize("fence", [None, FENCE])
@pytest.mark.parametrize("step", [Step.UPDATE, Step.ADD_FENCE, Step.INSERT])
def test_a_statement_of_more_than_8192_characters_refuses_the_whole_batch(
    dynamodb: "DynamoDBClient", table: str, step: Step, fence: Fence | None
) -> None:
    change = longest(step, table, fence)
    other = statement(Step.INSERT, TEXT, Change(table, "other", None, {"count": 1}))
    assert INVALID not in codes(send(dynamodb, statement(step, TEXT, change)))
    longer = change.only({**change.sums, "9" * 20: 1})
    with pytest.raises(ClientError, match="less than or equal to 8192") as error:
        send(dynamodb, other, statement(step, TEXT, longer))
    assert refused(error) == "ValidationException"
    assert get(dynamodb, table, "other") is None


@ON_FAKE_AND_LOCAL
@pytest.mark.parametrize("fence", [None, FENCE])
def test_a_statement_of_more_than_300_operators_is_refused_alone(
    dynamodb: "DynamoDBClient", table: str, fence: Fence | None
) -> None:
    other = statement(Step.INSERT, TEXT, Change(table, "other", None, {"count": 1}))
    most = Change(table, "k", None, counters(MAX_OPERATORS), fence)
    put(dynamodb, table, "k", **most.sums, **({fence.name: 1} if fence else {}))
    assert codes(send(dynamodb, statement(Step.UPDATE, TEXT, most))) == [None]
    more = most.only(counters(MAX_OPERATORS + 1), 11)
    put(dynamodb, table, "k", **more.sums, **({fence.name: 1} if fence else {}))
    answers = send(dynamodb, other, statement(Step.UPDATE, TEXT, more))
    assert codes(answers) == [None, INVALID]
    assert "too many operators" in answers[1]["Error"]["Message"]


@pytest.mark.parametrize("step", [Step.UPDATE_ITEM, Step.INSPECT])
def test_an_expression_of_more_than_4_kb_is_refused(
    dynamodb: "DynamoDBClient", table: str, step: Step
) -> None:
    def request(count: int) -> dict[str, Any]:
        return update_item(TEXT, Change(table, f"k{count}", None, counters(count)), step)

    assert len(request(392)["UpdateExpression"]) <= MAX_EXPRESSION_BYTES
    dynamodb.update_item(**request(392))
    assert len(request(393)["UpdateExpression"]) > MAX_EXPRESSION_BYTES
    with pytest.raises(ClientError, match="Expression size has exceeded the maximum") as error:
        dynamodb.update_item(**request(393))
    assert refused(error) == "ValidationException"


def test_an_item_of_400_kb_takes_what_does_not_make_it_larger(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    item: dict[str, Any] = {"pk": {"S": "k"}, "count": {"N": "1"}, "x": {"S": ""}}
    item["x"]["S"] = "x" * (MAX_ITEM_BYTES - item_bytes(item))
    dynamodb.put_item(TableName=table, Item=item)
    same = statement(Step.UPDATE, TEXT, Change(table, "k", None, {"count": 8}))
    assert codes(send(dynamodb, same)) == [None]
    larger = statement(Step.UPDATE, TEXT, Change(table, "k", None, {"count": 1000}))
    other = statement(Step.INSERT, TEXT, Change(table, "other", None, {"count": 1}))
    answers = send(dynamodb, larger, other)
    assert codes(answers) == [INVALID, None]
    assert "Item size" in answers[0]["Error"]["Message"]
    for sums in ({"new": 1}, {"count": 1000}):
        with pytest.raises(ClientError, match="Item size") as error:
            dynamodb.update_item(**update_item(TEXT, Change(table, "k", None, sums)))
        assert refused(error) == "ValidationException"
    kept = get(dynamodb, table, "k")
    assert kept is not None
    assert kept["count"] == {"N": "9"}


@pytest.mark.parametrize(
    "value",
    [
        *[{"N": n} for n in ("0", "7", "-7", "12", "123", "1234", "-12345", "1" * 38, "100")],
        *[{"N": n} for n in ("0.5", "1.1", "123.4", "0.00123", "100.01", "1e100", "1e-100")],
        *[{"S": "é"}, {"BOOL": True}, {"NULL": True}, {"SS": ["a", "bc"]}, {"NS": ["1", "2"]}],
        *[{"L": []}, {"L": [{"S": "a"}]}, {"M": {}}, {"M": {"ab": {"S": "a"}}}],
    ],
    ids=str,
)
def test_the_size_of_an_item_is_the_one_that_is_limited(
    dynamodb: "DynamoDBClient", table: str, value: dict[str, Any]
) -> None:
    item: dict[str, Any] = {"pk": {"S": "k"}, "name": value, "x": {"S": ""}}
    item["x"]["S"] = "x" * (MAX_ITEM_BYTES - item_bytes(item))
    dynamodb.put_item(TableName=table, Item=item)
    item["x"]["S"] += "x"
    with pytest.raises(ClientError, match="Item size"):
        dynamodb.put_item(TableName=table, Item=item)
