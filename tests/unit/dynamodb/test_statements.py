"""The text of each statement, and what each answer means."""

from typing import Any

import pytest

from dynatomic.dynamodb.answers import (
    Answer,
    Applied,
    Fenced,
    PartiallyRejected,
    Refused,
    Rejected,
    Retry,
    TryStep,
    classify_answer,
)
from dynatomic.dynamodb.fence import Fence
from dynatomic.dynamodb.statements import (
    BATCH,
    Change,
    Step,
    group_changes,
    key_attributes,
    next_batches,
    statement,
    update_item,
)
from dynatomic.events.row import CounterRef, KeySchema, Reason

TEXT = KeySchema("pk")
NUMBER = KeySchema("id", "N")
RANGED = KeySchema("pk", "S", "rk", "N")
ONE = Change("tab", "k", None, {"count": 5})
TWO = Change("tab", "k", None, {"hits": -1, "bytes": 10**30})
FENCE = Fence("fence_0123abcd_7", 10, 19)
ONE_FENCED, TWO_FENCED = ONE._replace(fence=FENCE), TWO._replace(fence=FENCE)


# --- statements ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "keys", "change", "text", "parameters"),
    [
        (
            Step.UPDATE,
            TEXT,
            ONE,
            'UPDATE "tab" SET "count"="count"+? WHERE "pk"=?',
            [{"N": "5"}, {"S": "k"}],
        ),
        (
            Step.UPDATE,
            NUMBER,
            Change("a.b-c_d", "7", None, {"count": -5}),
            'UPDATE "a.b-c_d" SET "count"="count"+? WHERE "id"=?',
            [{"N": "-5"}, {"N": "7"}],
        ),
        (
            Step.UPDATE,
            RANGED,
            Change("tab", "k", "-1.5", {"count": 0}),
            'UPDATE "tab" SET "count"="count"+? WHERE "pk"=? AND "rk"=?',
            [{"N": "0"}, {"S": "k"}, {"N": "-1.5"}],
        ),
        (
            Step.UPDATE,
            TEXT,
            TWO,
            'UPDATE "tab" SET "bytes"="bytes"+? SET "hits"="hits"+? WHERE "pk"=?',
            [{"N": str(10**30)}, {"N": "-1"}, {"S": "k"}],
        ),
        (
            Step.INSERT,
            TEXT,
            ONE,
            "INSERT INTO \"tab\" VALUE {'pk': ?, 'count': ?}",
            [{"S": "k"}, {"N": "5"}],
        ),
        (
            Step.INSERT,
            RANGED,
            Change("tab", "k", "2", {"hits": 1, "a.b": 2}),
            "INSERT INTO \"tab\" VALUE {'pk': ?, 'rk': ?, 'a.b': ?, 'hits': ?}",
            [{"S": "k"}, {"N": "2"}, {"N": "2"}, {"N": "1"}],
        ),
        (
            Step.UPDATE,
            RANGED,
            Change("tab", "k", "2", {"hits": 1, "count": 5}, FENCE),
            (
                'UPDATE "tab" SET "count"="count"+? SET "hits"="hits"+? SET "fence_0123abcd_7"=? '
                'WHERE "pk"=? AND "rk"=? AND "fence_0123abcd_7"<?'
            ),
            [{"N": "5"}, {"N": "1"}, {"N": "19"}, {"S": "k"}, {"N": "2"}, {"N": "10"}],
        ),
        (
            Step.ADD_FENCE,
            TEXT,
            ONE_FENCED,
            (
                'UPDATE "tab" SET "count"="count"+? SET "fence_0123abcd_7"=? '
                'WHERE "pk"=? AND "fence_0123abcd_7" IS MISSING'
            ),
            [{"N": "5"}, {"N": "19"}, {"S": "k"}],
        ),
        (
            Step.INSERT,
            TEXT,
            ONE_FENCED,
            "INSERT INTO \"tab\" VALUE {'pk': ?, 'count': ?, 'fence_0123abcd_7': ?}",
            [{"S": "k"}, {"N": "5"}, {"N": "19"}],
        ),
    ],
)
def test_the_statement_of_a_step(
    step: Step, keys: KeySchema, change: Change, text: str, parameters: list[dict[str, Any]]
) -> None:
    assert statement(step, keys, change) == {
        "Statement": text,
        "Parameters": parameters,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def test_keys_go_as_parameters_whatever_they_hold() -> None:
    key = "x\"' OR 1=1 ?"
    found = statement(Step.UPDATE, RANGED, Change("tab", key, "1", {"count": 1}))
    assert key not in found["Statement"]
    assert found["Statement"].count("?") == len(found["Parameters"]) == 3
    assert {"S": key} in found["Parameters"]


def test_equal_changes_make_equal_statements() -> None:
    turned = Change("tab", "k", None, {"bytes": 10**30, "hits": -1})
    assert statement(Step.UPDATE, TEXT, TWO) == statement(Step.UPDATE, TEXT, turned)


@pytest.mark.parametrize(
    ("keys", "change", "expected"),
    [
        (
            TEXT,
            ONE,
            {
                "Key": {"pk": {"S": "k"}},
                "UpdateExpression": "ADD #0 :0",
                "ExpressionAttributeNames": {"#0": "count"},
                "ExpressionAttributeValues": {":0": {"N": "5"}},
            },
        ),
        (
            RANGED,
            Change("tab", "k", "2", {"hits": -1, "a.b": 7}),
            {
                "Key": {"pk": {"S": "k"}, "rk": {"N": "2"}},
                "UpdateExpression": "ADD #0 :0, #1 :1",
                "ExpressionAttributeNames": {"#0": "a.b", "#1": "hits"},
                "ExpressionAttributeValues": {":0": {"N": "7"}, ":1": {"N": "-1"}},
            },
        ),
    ],
)
def test_the_update_of_a_single_item(
    keys: KeySchema, change: Change, expected: dict[str, Any]
) -> None:
    asked = {"TableName": "tab", "ReturnConsumedCapacity": "TOTAL"}
    assert update_item(keys, change) == {**asked, **expected}


def test_the_fenced_update_of_a_single_item() -> None:
    found = update_item(TEXT, TWO_FENCED)
    assert found["UpdateExpression"] == "ADD #0 :0, #1 :1 SET #f = :last"
    assert found["ConditionExpression"] == "attribute_not_exists(#f) OR #f < :first"
    assert found["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
    assert found["ExpressionAttributeNames"]["#f"] == FENCE.name
    values = found["ExpressionAttributeValues"]
    assert (values[":last"], values[":first"]) == ({"N": "19"}, {"N": "10"})


@pytest.mark.parametrize("change", [ONE, ONE_FENCED])
def test_to_look_is_to_update_only_an_item_that_is_not_there(change: Change) -> None:
    found = update_item(TEXT, change, Step.INSPECT)
    assert found["ConditionExpression"] == "attribute_not_exists(#key)"
    assert found["ExpressionAttributeNames"]["#key"] == "pk"
    assert found["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
    assert (":last" in found["ExpressionAttributeValues"]) == (change.fence is not None)
    assert ":first" not in found["ExpressionAttributeValues"]  # DynamoDB refuses what is not used


def test_key_attributes_have_the_types_of_the_table() -> None:
    assert key_attributes(TEXT, "1", None) == {"pk": {"S": "1"}}
    assert key_attributes(NUMBER, "1", None) == {"id": {"N": "1"}}
    assert key_attributes(RANGED, "1", "1") == {"pk": {"S": "1"}, "rk": {"N": "1"}}


# --- changes ---------------------------------------------------------------------------------


def test_sums_are_grouped_by_table_and_item() -> None:
    sums = {
        CounterRef("tab", "a", None, "count"): 1,
        CounterRef("other", "a", None, "count"): 2,
        CounterRef("tab", "b", None, "count"): 3,
        CounterRef("tab", "a", None, "hits"): 0,
        CounterRef("tab", "a", "r", "count"): 5,
    }
    assert group_changes(sums) == {
        "tab": [
            Change("tab", "a", None, {"count": 1, "hits": 0}),
            Change("tab", "b", None, {"count": 3}),
            Change("tab", "a", "r", {"count": 5}),
        ],
        "other": [Change("other", "a", None, {"count": 2})],
    }
    assert group_changes({}) == {}


def test_a_change_knows_its_counters_and_makes_smaller_ones() -> None:
    assert TWO.refs() == [CounterRef("tab", "k", None, n) for n in ("bytes", "hits")]
    assert TWO.only({"hits": 7}, 3) == Change("tab", "k", None, {"hits": 7})
    fenced = TWO._replace(fence=FENCE)
    assert fenced.only({"hits": 7}) == Change("tab", "k", None, {"hits": 7}, FENCE)
    rest = Change("tab", "k", None, {"hits": 7}, Fence("fence_0123abcd_7", 15, 19))
    assert fenced.only({"hits": 7}, 15) == rest


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (25, [25]), (26, [25, 1]), (75, [25] * 3)]
)
def test_batches_hold_at_most_what_a_request_takes(count: int, sizes: list[int]) -> None:
    items = [Change("tab", str(i), None, {"count": i}) for i in range(count)]
    batches = next_batches(iter(items))
    assert BATCH == 25
    assert [len(batch) for batch in batches] == sizes
    assert [change for batch in batches for change in batch] == items


# --- answers ---------------------------------------------------------------------------------

NO_SUCH = "The provided expression refers to an attribute that does not exist in the item"
BAD_TYPE = "An operand in the update expression has an incorrect data type"
OVERFLOW = (
    "Number overflow. Attempting to store a number with magnitude larger than supported range"
)


@pytest.mark.parametrize("step", Step)
def test_no_error_means_applied(step: Step) -> None:
    assert classify_answer(step, ONE, None, "") == Applied()


def test_an_item_that_does_not_exist_is_inserted() -> None:
    assert classify_answer(Step.UPDATE, ONE, "ConditionalCheckFailed", "") == TryStep(Step.INSERT)


def test_an_item_that_somebody_made_meanwhile_is_updated() -> None:
    assert classify_answer(Step.INSERT, ONE, "DuplicateItem", "") == TryStep(Step.UPDATE)
    assert classify_answer(Step.INSERT, ONE, "DuplicateItemException", "") == TryStep(Step.UPDATE)


def item(**attributes: str) -> dict[str, dict[str, str]]:
    return {"pk": {"S": "k"}} | {
        name: {"N" if value[0] in "-0123456789" else "S": value}
        for name, value in attributes.items()
    }


@pytest.mark.parametrize("step", [Step.UPDATE, Step.ADD_FENCE])
def test_a_fenced_item_that_does_not_exist_is_inserted(step: Step) -> None:
    assert classify_answer(step, ONE_FENCED, "ConditionalCheckFailed", "", None) == TryStep(
        Step.INSERT
    )


def test_an_item_without_a_fence_gets_its_first() -> None:
    other = item(count="1", fence_0123abcd_8="99", fence_99999999_7="99")
    found = classify_answer(Step.UPDATE, ONE_FENCED, "ConditionalCheckFailed", "", other)
    assert found == TryStep(Step.ADD_FENCE)


def test_an_item_that_got_a_lower_fence_meanwhile_is_updated() -> None:
    lower = item(count="1", fence_0123abcd_7="9")
    found = classify_answer(Step.ADD_FENCE, ONE_FENCED, "ConditionalCheckFailed", "", lower)
    assert found == TryStep(Step.UPDATE)


@pytest.mark.parametrize("stands", [10, 14, 19, 20, 2**60])
@pytest.mark.parametrize("step", [Step.UPDATE, Step.ADD_FENCE, Step.UPDATE_ITEM, Step.INSPECT])
def test_a_fence_in_the_window_or_above_says_what_is_in(step: Step, stands: int) -> None:
    code = "ConditionalCheckFailedException" if step.alone else "ConditionalCheckFailed"
    found = classify_answer(
        step, ONE_FENCED, code, "", item(count="1", fence_0123abcd_7=str(stands))
    )
    assert found == Fenced(stands)


@pytest.mark.parametrize("step", [Step.UPDATE, Step.ADD_FENCE, Step.UPDATE_ITEM])
def test_a_fence_that_is_no_number_is_rejected(step: Step) -> None:
    odd = item(count="1", fence_0123abcd_7="x")
    found = classify_answer(step, ONE_FENCED, "ConditionalCheckFailed", "", odd)
    assert isinstance(found, Rejected)


@pytest.mark.parametrize("change", [TWO, TWO_FENCED])
def test_an_item_that_was_looked_at_tells_what_it_cannot_take(change: Change) -> None:
    code = "ConditionalCheckFailedException"
    found = classify_answer(Step.INSPECT, change, code, "", item(hits="x", bytes="1"))
    assert isinstance(found, PartiallyRejected)
    assert {name: why.reason for name, why in found.rejected.items()} == {
        "hits": Reason.COUNTER_NOT_A_NUMBER
    }
    full = item(bytes="9" * 38)
    found = classify_answer(
        Step.INSPECT, change._replace(sums={"hits": 1, "bytes": 2}), code, "", full
    )
    assert isinstance(found, PartiallyRejected)
    assert {name: why.reason for name, why in found.rejected.items()} == {"bytes": Reason.REFUSED}


def test_an_item_that_shows_no_cause_takes_none_of_its_counters() -> None:
    found = classify_answer(
        Step.INSPECT, TWO, "ConditionalCheckFailedException", "", item(hits="1")
    )
    assert isinstance(found, PartiallyRejected)
    assert {name: why.reason for name, why in found.rejected.items()} == dict.fromkeys(
        ("hits", "bytes"), Reason.REFUSED
    )


# A statement's code is ValidationError, an exception's ValidationException.
@pytest.mark.parametrize("code", ["ValidationError", "ValidationException"])
class TestValidation:
    """What DynamoDB finds invalid."""

    @pytest.mark.parametrize("message", [NO_SUCH, BAD_TYPE, "anything"])
    @pytest.mark.parametrize("step", [Step.UPDATE, Step.INSERT])
    @pytest.mark.parametrize("change", [ONE, TWO])
    def test_a_statement_goes_on_as_a_single_update(
        self, step: Step, change: Change, message: str, code: str
    ) -> None:
        assert classify_answer(step, change, code, message) == TryStep(Step.UPDATE_ITEM)

    @pytest.mark.parametrize("change", [TWO, TWO_FENCED])
    def test_of_several_counters_the_item_tells_which(self, change: Change, code: str) -> None:
        assert classify_answer(Step.UPDATE_ITEM, change, code, BAD_TYPE) == TryStep(Step.INSPECT)

    def test_a_counter_that_is_no_number_is_rejected(self, code: str) -> None:
        found = classify_answer(Step.UPDATE_ITEM, ONE, code, BAD_TYPE)
        assert isinstance(found, Rejected)
        assert found.reason == Reason.COUNTER_NOT_A_NUMBER

    def test_what_dynamodb_can_never_take_is_rejected(self, code: str) -> None:
        found = classify_answer(Step.UPDATE_ITEM, ONE, code, OVERFLOW)
        assert isinstance(found, Rejected)
        assert found.reason == Reason.REFUSED


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize(
    "code",
    [
        # not applied: too much at once
        *["ThrottlingError", "ThrottlingException", "ProvisionedThroughputExceeded"],
        *["ProvisionedThroughputExceededException", "RequestLimitExceeded"],
        *["TransactionConflict", "TransactionConflictException", "LimitExceededException"],
        # unknown: it may have been applied
        *["InternalServerError", "ServiceUnavailable", "ServiceUnavailableException"],
        "SomethingNobodyHasHeardOf",
    ],
)
def test_what_passes_is_tried_again(step: Step, code: str) -> None:
    found = classify_answer(step, ONE, code, "whatever")
    assert isinstance(found, Retry)
    assert found.cause == code.removesuffix("Exception")


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize(
    "code",
    [
        *["AccessDenied", "AccessDeniedException", "ResourceNotFound", "ResourceNotFoundException"],
        *["UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException"],
        "MissingAuthenticationTokenException",
    ],
)
def test_what_only_a_person_can_mend_is_refused(step: Step, code: str) -> None:
    found = classify_answer(step, ONE, code, "a message\nof two lines")
    name = code.removesuffix("Exception")
    # Other messages may show the request, and with it the session's token.
    told = ": a message of two lines" if name in {"AccessDenied", "ResourceNotFound"} else ""
    assert found == Refused(name + told)


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("code", ["", "Exception"])
def test_an_error_without_a_code_is_no_success(step: Step, code: str) -> None:
    assert classify_answer(step, ONE, code, "") == Retry("Unknown")


def test_an_item_collection_that_is_full_is_rejected() -> None:
    for code in ("ItemCollectionSizeLimitExceeded", "ItemCollectionSizeLimitExceededException"):
        found = classify_answer(Step.UPDATE, ONE, code, "")
        assert isinstance(found, Rejected)
        assert found.reason == Reason.REFUSED


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("change", [ONE, TWO, ONE_FENCED, TWO_FENCED])
def test_every_code_of_a_statement_has_an_answer_that_leads_on(step: Step, change: Change) -> None:
    """No step answers with itself for ever: Next goes another way."""
    # AWS, BatchStatementError: the whole list.
    codes = [
        *["ConditionalCheckFailed", "ItemCollectionSizeLimitExceeded", "RequestLimitExceeded"],
        *["ValidationError", "ProvisionedThroughputExceeded", "TransactionConflict"],
        *["ThrottlingError", "InternalServerError", "ResourceNotFound", "AccessDenied"],
        "DuplicateItem",
    ]
    for code in codes:
        found: Answer = classify_answer(step, change, code, BAD_TYPE)
        assert found != Applied()
        if step is not Step.UPDATE or code != "DuplicateItem":  # UPDATE is never answered so
            assert found != TryStep(step)
