"""Windows are written through a proxy with faults, before the embedded table and DynamoDB Local."""

import pytest

from dynatomic.dynamodb.answers import (
    Applied,
    Retry,
)
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.statements import Change, Step
from dynatomic.events.row import KeySchema
from tests.support.counters import (
    APPLIED,
    FAULTS,
    NOT_APPLIED,
    add,
    numbers,
    refs,
    window_through_faults,
)
from tests.support.faults import (
    DropRequest,
    DropResponse,
    FailStatements,
    Hold,
)
from tests.support.proxy import FaultyProxy
from tests.support.tables import MakeTable
from tests.support.tables import make_client as plain_client


@pytest.mark.parametrize("operation", ["UpdateItem", "BatchExecuteStatement"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_request_and_one_answer_to_try_again(
    endpoint_url: str, make_table: MakeTable, fault: str, operation: str
) -> None:
    """Neither botocore nor `execute` retries, and nothing that comes back makes it raise."""
    table = make_table(plain_client(endpoint_url))
    step = Step.UPDATE_ITEM if operation == "UpdateItem" else Step.UPDATE
    with FaultyProxy(endpoint_url, [FAULTS[fault]]) as proxy:
        counters = Counters(make_client(proxy.endpoint_url), {table: KeySchema("pk")})
        (answer,) = counters.execute(step, [Change(table, "k", None, {"count": 1})])
        assert isinstance(answer, Retry)
        assert proxy.counts == {operation: 1}


@pytest.mark.parametrize("fault", NOT_APPLIED)
def test_what_was_not_applied_is_counted_once(
    endpoint_url: str, make_table: MakeTable, fault: str
) -> None:
    table = make_table(plain_client(endpoint_url))
    values, proxy = window_through_faults(endpoint_url, table, [NOT_APPLIED[fault]] * 3)
    assert values == {f"k{i}": i + 1 for i in range(25)}
    assert proxy.counts["BatchExecuteStatement"] == 4


@pytest.mark.parametrize("fault", APPLIED)
def test_what_may_have_been_applied_is_never_missing(
    endpoint_url: str, make_table: MakeTable, fault: str
) -> None:
    table = make_table(plain_client(endpoint_url))
    values, proxy = window_through_faults(endpoint_url, table, [APPLIED[fault]])
    assert values == {f"k{i}": 2 * (i + 1) for i in range(25)}
    assert proxy.counts["BatchExecuteStatement"] == 2


@pytest.mark.parametrize("code", ["ThrottlingError", "ProvisionedThroughputExceeded"])
def test_one_throttled_statement_is_sent_again_alone(
    endpoint_url: str, make_table: MakeTable, code: str
) -> None:
    table = make_table(plain_client(endpoint_url))
    values, proxy = window_through_faults(endpoint_url, table, [FailStatements({7: code})])
    assert values == {f"k{i}": i + 1 for i in range(25)}
    assert [len(request.statements) for request in proxy.requests] == [0, 25, 1]


def test_one_statement_of_unknown_outcome_doubles_only_itself(
    endpoint_url: str, make_table: MakeTable
) -> None:
    table = make_table(plain_client(endpoint_url))
    fault = FailStatements({7: "InternalServerError"}, applied=True)
    values, _ = window_through_faults(endpoint_url, table, [fault])
    assert values == {f"k{i}": (i + 1) * (2 if i == 7 else 1) for i in range(25)}


def test_a_lost_answer_to_an_insert_goes_on_as_an_update(
    endpoint_url: str, make_table: MakeTable
) -> None:
    direct = plain_client(endpoint_url)
    (ref,) = refs(make_table(direct), ["k"])
    with FaultyProxy(endpoint_url, [None, None, DropResponse()]) as proxy:
        add(make_client(proxy.endpoint_url), {ref: 5})
        texts = [r.statements[0]["Statement"].split()[0] for r in proxy.requests[1:]]
    assert texts == ["UPDATE", "INSERT", "INSERT", "UPDATE"]
    assert numbers(direct, [ref]) == {ref: 10}


def test_a_lost_request_to_insert_is_counted_once(endpoint_url: str, make_table: MakeTable) -> None:
    direct = plain_client(endpoint_url)
    (ref,) = refs(make_table(direct), ["k"])
    with FaultyProxy(endpoint_url, [None, None, DropRequest()]) as proxy:
        add(make_client(proxy.endpoint_url), {ref: 5})
    assert numbers(direct, [ref]) == {ref: 5}


def test_an_answer_that_takes_too_long_is_tried_again_once(
    endpoint_url: str, make_table: MakeTable
) -> None:
    table = make_table(plain_client(endpoint_url))
    held = Hold(after=True)
    with FaultyProxy(endpoint_url, [held]) as proxy:
        client = make_client(proxy.endpoint_url, read_timeout_s=0.2)
        counters = Counters(client, {table: KeySchema("pk")})
        (answer,) = counters.execute(Step.UPDATE_ITEM, [Change(table, "k", None, {"count": 1})])
        assert answer == Retry("ReadTimeoutError")
        held.release()
        assert proxy.counts == {"UpdateItem": 1}


def test_an_endpoint_that_is_away_is_tried_again(endpoint_url: str, make_table: MakeTable) -> None:
    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(endpoint_url) as proxy:
        counters = Counters(make_client(proxy.endpoint_url), {table: KeySchema("pk")})
        proxy.refuse()
        batch = [Change(table, "k", None, {"count": 1})]
        assert counters.execute(Step.UPDATE, batch) == [Retry("EndpointConnectionError")]
        proxy.accept()
        assert counters.execute(Step.UPDATE_ITEM, batch) == [Applied()]
