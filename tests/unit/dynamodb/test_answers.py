"""What the answers of DynamoDB mean."""

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
from dynatomic.dynamodb.statements import (
    Change,
    Step,
)
from dynatomic.events.row import Reason
from tests.support.changes import ONE, ONE_FENCED, TWO, TWO_FENCED

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


def test_an_item_that_another_writer_created_is_updated() -> None:
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


def test_an_item_that_shows_no_other_cause_does_not_take_new_counters() -> None:
    found = classify_answer(
        Step.INSPECT, TWO, "ConditionalCheckFailedException", "", item(hits="1")
    )
    assert isinstance(found, PartiallyRejected)
    assert {name: why.reason for name, why in found.rejected.items()} == {"bytes": Reason.REFUSED}
    assert "400 kB" in found.rejected["bytes"].detail


def test_an_item_that_shows_no_cause_takes_none_of_its_counters() -> None:
    found = classify_answer(
        Step.INSPECT, TWO, "ConditionalCheckFailedException", "", item(hits="1", bytes="2")
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
    """No step returns itself without end: TryStep takes another way."""
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
