"""What `dynamodb.statements` relies on of DynamoDB: on the fake, ministack and DynamoDB Local.

The fake answers as AWS does where the documents say so. DynamoDB Local has wordings of its own,
so wordings are compared only where the product reads them. ministack is laxer than AWS; each of
its differences stands in the test that meets it.
"""

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from dynatomic.dynamodb.statements import Change, Step, statement, update_item
from dynatomic.events.row import KeySchema
from tests.support.tables import MakeTable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TEXT = KeySchema("pk", "S", None, None)
NUMBER = KeySchema("pk", "N", None, None)
TWO_TEXTS = KeySchema("pk", "S", "rk", "S")

CONDITION = "ConditionalCheckFailed"
INVALID = "ValidationError"
LARGEST = 10**38 - 1


@pytest.fixture
def lax(request: pytest.FixtureRequest) -> bool:
    """Tell whether the test runs on ministack."""
    return "embedded" in request.node.callspec.params.values()


@pytest.fixture
def table(dynamodb: "DynamoDBClient", make_table: MakeTable) -> str:
    return make_table(dynamodb)


def send(client: "DynamoDBClient", *statements: dict[str, Any]) -> list[dict[str, Any]]:
    """Send one batch and return the answer to each of its statements."""
    answered: Any = client.batch_execute_statement(Statements=list(statements))  # type: ignore[arg-type]
    assert "x-amzn-requestid" in answered["ResponseMetadata"]["HTTPHeaders"]
    assert len(answered["Responses"]) == len(statements)
    return list(answered["Responses"])


def codes(answers: list[dict[str, Any]]) -> list[str | None]:
    return [answer.get("Error", {}).get("Code") for answer in answers]


def refused(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def change(table: str, key: str, **sums: int) -> Change:
    return Change(table, key, None, sums)


def update(table: str, key: str, **sums: int) -> dict[str, Any]:
    return statement(Step.UPDATE, TEXT, change(table, key, **sums))


def insert(table: str, key: str, **sums: int) -> dict[str, Any]:
    return statement(Step.INSERT, TEXT, change(table, key, **sums))


def fenced(table: str, condition: str, *parameters: int) -> dict[str, Any]:
    """Return the exactly-once form for the item "a": one atomic update with two SET clauses."""
    numbers: list[dict[str, Any]] = [{"N": str(number)} for number in parameters]
    numbers.insert(2, {"S": "a"})
    sets = 'SET "count"="count"+? SET "fence"=?'
    return {
        "Statement": f'UPDATE "{table}" {sets} WHERE "pk"=? AND {condition}',
        "Parameters": numbers,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def put(client: "DynamoDBClient", table: str, key: str, **attributes: int | str) -> None:
    item: Any = {n: {"S" if isinstance(v, str) else "N": str(v)} for n, v in attributes.items()}
    client.put_item(TableName=table, Item={"pk": {"S": key}, **item})


def get(client: "DynamoDBClient", table: str, key: str, kind: str = "S") -> dict[str, Any] | None:
    """Return the attributes of an item without its key, or None if there is no item."""
    found: Any = client.get_item(TableName=table, Key={"pk": {kind: key}}, ConsistentRead=True)
    item = found.get("Item")
    return {n: v for n, v in item.items() if n != "pk"} if item else None


def add(client: "DynamoDBClient", keys: KeySchema, what: Change) -> dict[str, Any]:
    answered: Any = client.update_item(**update_item(keys, what), ReturnValues="UPDATED_NEW")
    return dict(answered["Attributes"])


def test_an_update_of_an_item_with_its_counter_is_applied(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    put(dynamodb, table, "a", count=1, note="stays")
    assert send(dynamodb, update(table, "a", count=20)) == [{"TableName": table}]
    assert get(dynamodb, table, "a") == {"count": {"N": "21"}, "note": {"S": "stays"}}


def test_an_update_of_a_missing_item_fails_its_condition_and_returns_no_item(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    (answer,) = send(dynamodb, update(table, "a", count=20))
    assert answer["Error"]["Code"] == CONDITION
    assert "Item" not in answer["Error"]
    assert get(dynamodb, table, "a") is None


def test_an_insert_makes_the_item_and_a_second_one_is_a_duplicate(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    first = send(dynamodb, insert(table, "a", count=20, hits=-1))
    assert codes(first) == [None]
    assert codes(send(dynamodb, insert(table, "a", count=5))) == ["DuplicateItem"]
    assert get(dynamodb, table, "a") == {"count": {"N": "20"}, "hits": {"N": "-1"}}


def test_several_counters_of_an_item_in_one_statement(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    put(dynamodb, table, "a", count=1, hits=2, size=3)
    assert codes(send(dynamodb, update(table, "a", count=10, hits=-20, size=0))) == [None]
    assert get(dynamodb, table, "a") == {
        "count": {"N": "11"},
        "hits": {"N": "-18"},
        "size": {"N": "3"},
    }


def test_names_that_are_reserved_words_or_hold_dots_and_dashes(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    sums = {"select": 1, "a.b": 2, "a-b": 3, "a_b": 4}
    assert codes(send(dynamodb, insert(table, "a", **sums))) == [None]
    assert codes(send(dynamodb, update(table, "a", **sums))) == [None]
    add(dynamodb, TEXT, change(table, "a", **sums))
    assert get(dynamodb, table, "a") == {n: {"N": str(3 * v)} for n, v in sums.items()}


@pytest.mark.parametrize("counters", [{"count": 5}, {"count": 5, "hits": 1}])
def test_an_update_of_an_item_without_a_counter_is_invalid_and_changes_nothing(
    dynamodb: "DynamoDBClient", table: str, counters: dict[str, int], *, lax: bool
) -> None:
    put(dynamodb, table, "a", hits=1)
    (answer,) = send(dynamodb, update(table, "a", **counters))
    assert answer["Error"]["Code"] == INVALID
    # ministack has one wording for both; the product therefore goes by the code alone.
    expected = "incorrect data type" if lax else "attribute that does not exist"
    assert expected in answer["Error"]["Message"]
    assert get(dynamodb, table, "a") == {"hits": {"N": "1"}}


def test_an_update_of_a_counter_that_is_text_is_invalid(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    put(dynamodb, table, "a", count="many", hits=1)
    (answer,) = send(dynamodb, update(table, "a", count=5, hits=5))
    assert answer["Error"]["Code"] == INVALID
    assert "incorrect data type" in answer["Error"]["Message"]
    assert get(dynamodb, table, "a") == {"count": {"S": "many"}, "hits": {"N": "1"}}


def test_a_missing_table_fails_its_own_statement_only(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    put(dynamodb, table, "a", count=1)
    answers = send(dynamodb, update("no-such-table", "a", count=1), update(table, "a", count=1))
    assert codes(answers) == ["ResourceNotFound", None]
    assert get(dynamodb, table, "a") == {"count": {"N": "2"}}


def test_each_statement_of_a_batch_has_its_own_outcome_in_its_place(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    put(dynamodb, table, "there", count=1)
    put(dynamodb, table, "text", count="x")
    answers = send(
        dynamodb,
        update(table, "missing", count=1),
        update(table, "there", count=1),
        update(table, "text", count=1),
        insert(table, "new", count=1),
    )
    assert codes(answers) == [CONDITION, None, INVALID, None]
    assert get(dynamodb, table, "there") == {"count": {"N": "2"}}
    assert get(dynamodb, table, "new") == {"count": {"N": "1"}}


def test_a_fence_below_lets_both_sets_through(dynamodb: "DynamoDBClient", table: str) -> None:
    put(dynamodb, table, "a", count=1, fence=9)
    assert codes(send(dynamodb, fenced(table, '"fence"<?', 5, 19, 10))) == [None]
    assert get(dynamodb, table, "a") == {"count": {"N": "6"}, "fence": {"N": "19"}}


@pytest.mark.parametrize("fence", [10, 19, 100])
def test_a_fence_that_is_not_below_refuses_and_returns_the_item(
    dynamodb: "DynamoDBClient", table: str, fence: int
) -> None:
    put(dynamodb, table, "a", count=1, fence=fence)
    (answer,) = send(dynamodb, fenced(table, '"fence"<?', 5, 19, 10))
    assert answer["Error"]["Code"] == CONDITION
    assert answer["Error"]["Item"] == {
        "pk": {"S": "a"},
        "count": {"N": "1"},
        "fence": {"N": str(fence)},
    }
    assert get(dynamodb, table, "a") == {"count": {"N": "1"}, "fence": {"N": str(fence)}}


def test_the_old_item_comes_only_if_asked_for(dynamodb: "DynamoDBClient", table: str) -> None:
    put(dynamodb, table, "a", count=1, fence=19)
    silent = fenced(table, '"fence"<?', 5, 19, 10)
    del silent["ReturnValuesOnConditionCheckFailure"]
    (answer,) = send(dynamodb, silent)
    assert answer["Error"]["Code"] == CONDITION
    assert "Item" not in answer["Error"]


def test_a_missing_fence_is_not_below_and_is_missing_once(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    put(dynamodb, table, "a", count=1)
    (below,) = send(dynamodb, fenced(table, '"fence"<?', 5, 19, 10))
    assert below["Error"]["Code"] == CONDITION
    assert below["Error"]["Item"] == {"pk": {"S": "a"}, "count": {"N": "1"}}

    missing = fenced(table, '"fence" IS MISSING', 5, 19)
    assert codes(send(dynamodb, missing)) == [None]
    (again,) = send(dynamodb, missing)
    assert again["Error"]["Code"] == CONDITION
    assert again["Error"]["Item"]["fence"] == {"N": "19"}
    assert get(dynamodb, table, "a") == {"count": {"N": "6"}, "fence": {"N": "19"}}


def test_a_missing_item_is_not_made_by_is_missing(dynamodb: "DynamoDBClient", table: str) -> None:
    (answer,) = send(dynamodb, fenced(table, '"fence" IS MISSING', 5, 19))
    assert answer["Error"]["Code"] == CONDITION
    assert "Item" not in answer["Error"]
    assert get(dynamodb, table, "a") is None


def test_update_item_adds_and_sets_the_fence_under_its_condition(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    request: Any = update_item(TEXT, change(table, "a", count=5))
    request["UpdateExpression"] += " SET #f = :last"
    request["ConditionExpression"] = "attribute_not_exists(#f) OR #f < :first"
    request["ExpressionAttributeNames"]["#f"] = "fence"
    request["ExpressionAttributeValues"] |= {":last": {"N": "19"}, ":first": {"N": "10"}}
    request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    dynamodb.update_item(**request)
    with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException) as error:
        dynamodb.update_item(**request)
    expected = {"count": {"N": "5"}, "fence": {"N": "19"}}
    response: Any = error.value.response
    assert response["Item"] == {"pk": {"S": "a"}, **expected}
    assert get(dynamodb, table, "a") == expected


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


def test_describe_table_tells_names_and_types_of_the_keys(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    table = make_table(dynamodb, "S", "N")
    found = dynamodb.describe_table(TableName=table)["Table"]
    assert found["TableName"] == table
    assert found["TableStatus"] == "ACTIVE"
    assert found["KeySchema"] == [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "rk", "KeyType": "RANGE"},
    ]
    types = {a["AttributeName"]: a["AttributeType"] for a in found["AttributeDefinitions"]}
    assert types == {"pk": "S", "rk": "N"}


def test_a_missing_table_has_one_code_for_all_requests(dynamodb: "DynamoDBClient") -> None:
    missing = "no-such-table"
    with pytest.raises(dynamodb.exceptions.ResourceNotFoundException):
        dynamodb.describe_table(TableName=missing)
    with pytest.raises(dynamodb.exceptions.ResourceNotFoundException):
        add(dynamodb, TEXT, change(missing, "a", count=1))


def test_a_table_is_made_once(dynamodb: "DynamoDBClient", table: str) -> None:
    with pytest.raises(dynamodb.exceptions.ResourceInUseException):
        dynamodb.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        )


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


def test_add_makes_the_item_then_the_attribute_then_adds(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    first = add(dynamodb, TEXT, change(table, "a", count=5, hits=-1))
    assert first == {"count": {"N": "5"}, "hits": {"N": "-1"}}
    assert add(dynamodb, TEXT, change(table, "a", size=7)) == {"size": {"N": "7"}}
    assert add(dynamodb, TEXT, change(table, "a", count=5)) == {"count": {"N": "10"}}
    assert get(dynamodb, table, "a") == {
        "count": {"N": "10"},
        "hits": {"N": "-1"},
        "size": {"N": "7"},
    }


@pytest.mark.parametrize("counters", [{"count": 5}, {"count": 5, "hits": 1}])
def test_add_to_text_is_invalid_and_changes_nothing(
    dynamodb: "DynamoDBClient", table: str, counters: dict[str, int]
) -> None:
    put(dynamodb, table, "a", count="many")
    with pytest.raises(ClientError) as error:
        add(dynamodb, TEXT, change(table, "a", **counters))
    assert refused(error) == "ValidationException"
    # The product tells by these words that the attribute is no number.
    assert "incorrect data type" in error.value.response["Error"]["Message"]
    assert get(dynamodb, table, "a") == {"count": {"S": "many"}}


def test_add_of_zero_makes_the_counter(dynamodb: "DynamoDBClient", table: str) -> None:
    assert add(dynamodb, TEXT, change(table, "a", count=0)) == {"count": {"N": "0"}}


def test_update_item_on_condition_that_the_item_exists_makes_nothing(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    request: Any = update_item(TEXT, change(table, "a", count=0))
    request["ExpressionAttributeNames"]["#key"] = "pk"
    with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException) as error:
        dynamodb.update_item(**request, ConditionExpression="attribute_exists(#key)")
    assert "Item" not in error.value.response
    assert get(dynamodb, table, "a") is None
