"""AWS refuses requests, through a proxy before the embedded table and DynamoDB Local."""

import pytest

from dynatomic.dynamodb.answers import (
    Refused,
)
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.statements import Change, Step
from dynatomic.dynamodb.tables import create_table, describe
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.events.row import KeySchema
from tests.support.counters import LATIN, STRANGE_BODIES, window_through_faults
from tests.support.faults import (
    DropRequest,
    DropResponse,
    Error,
    FailStatements,
    Fault,
    Raw,
    Request,
    WrongChecksum,
    access_denied,
    html,
    server_error,
    throttle,
)
from tests.support.names import unique
from tests.support.proxy import FaultyProxy
from tests.support.tables import MakeTable
from tests.support.tables import make_client as plain_client


@pytest.mark.parametrize("step", [Step.UPDATE, Step.UPDATE_ITEM])
def test_denied_access_is_refused_with_action_and_arn(
    endpoint_url: str, make_table: MakeTable, step: Step
) -> None:
    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(endpoint_url, [access_denied()]) as proxy:
        counters = Counters(make_client(proxy.endpoint_url), {table: KeySchema("pk")})
        (answer,) = counters.execute(step, [Change(table, "k", None, {"count": 1})])
    assert isinstance(answer, Refused)
    assert answer.cause.startswith("AccessDenied")
    assert "dynamodb:PartiQLUpdate" in answer.cause
    assert "arn:aws:dynamodb:us-east-1:000000000000:table/t" in answer.cause


def test_a_single_statement_that_is_denied_refuses_only_its_item(
    endpoint_url: str, make_table: MakeTable
) -> None:
    table = make_table(plain_client(endpoint_url))
    values, proxy = window_through_faults(
        endpoint_url, table, [FailStatements({3: "AccessDenied"})]
    )
    assert values == {f"k{i}": i + 1 for i in range(25)}
    assert [len(request.statements) for request in proxy.requests] == [0, 25, 1]


def test_an_endpoint_without_partiql_is_told_the_write_mode(
    endpoint_url: str, make_table: MakeTable
) -> None:
    table = make_table(plain_client(endpoint_url))

    def fault(request: Request) -> Fault | None:
        return Error("UnknownOperationException") if request.statements else None

    with FaultyProxy(endpoint_url, fault) as proxy:
        counters = Counters(make_client(proxy.endpoint_url), {table: KeySchema("pk")})
        with pytest.raises(ConfigError, match="--write-mode single"):
            counters.check_access(table, "batch")
        counters.check_access(table, "single")


@pytest.mark.parametrize("write_mode", ["batch", "single"])
@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (
            access_denied(),
            ConfigError,
            "allow dynamodb:PartiQLUpdate on arn:aws:dynamodb:us-east-1",
        ),
        (Error("UnrecognizedClientException"), ConfigError, "UnrecognizedClient"),
        (throttle(), UnavailableError, "cannot be written yet"),
        (server_error(), UnavailableError, "cannot be written yet"),
        (DropRequest(), UnavailableError, "cannot be written yet"),
        (html(), UnavailableError, "cannot be written yet"),
    ],
)
def test_the_check_of_access_tells_what_to_mend_from_what_to_wait_for(
    endpoint_url: str,
    make_table: MakeTable,
    fault: Fault,
    error: type[Exception],
    says: str,
    write_mode: str,
) -> None:
    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(endpoint_url, [fault]) as proxy:
        counters = Counters(make_client(proxy.endpoint_url), {table: KeySchema("pk")})
        with pytest.raises(error, match=says) as caught:
            counters.check_access(table, write_mode)
        assert "\n" not in str(caught.value)
        assert len(proxy.requests) == 1


@pytest.mark.parametrize("write_mode", ["batch", "single"])
def test_the_check_of_access_asks_for_update_item_too(
    endpoint_url: str, make_table: MakeTable, write_mode: str
) -> None:
    def deny(request: Request) -> Fault | None:
        return Error("AccessDeniedException") if request.operation == "UpdateItem" else None

    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(endpoint_url, deny) as proxy:
        counters = Counters(make_client(proxy.endpoint_url), {table: KeySchema("pk")})
        with pytest.raises(ConfigError, match="allow dynamodb:UpdateItem on arn:aws:dynamodb:"):
            counters.check_access(table, write_mode)


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (
            Error(
                "AccessDeniedException",
                message="User: arn:aws:iam::1:user/secret is not authorized to perform: "
                "dynamodb:DescribeTable on resource: arn:aws:dynamodb:us-east-1:1:table/tab as",
            ),
            ConfigError,
            "allow dynamodb:DescribeTable on arn:aws:dynamodb:us-east-1:1:table/tab;",
        ),
        (Error("AccessDeniedException"), ConfigError, "allow dynamodb:DescribeTable on arn:aws:.*"),
        (Error("ExpiredTokenException"), ConfigError, "ExpiredToken"),
        (Error("ThrottlingException"), UnavailableError, "ThrottlingException"),
        *[
            (fault, UnavailableError, "does not answer")
            for fault in (
                *[server_error(), DropRequest(), DropResponse(), html(), LATIN, Raw()],
                *[Raw(body=body) for body in STRANGE_BODIES],
                *[Raw(503, b"<html></html>"), WrongChecksum()],
            )
        ],
    ],
)
def test_describe_tells_what_to_mend_from_what_to_wait_for(
    endpoint_url: str, make_table: MakeTable, fault: Fault, error: type[Exception], says: str
) -> None:
    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(endpoint_url, [fault]) as proxy:
        with pytest.raises(error, match=says) as caught:
            describe(make_client(proxy.endpoint_url), table)
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert proxy.counts == {"DescribeTable": 1}


def test_create_table_tells_what_to_mend_from_what_to_wait_for(endpoint_url: str) -> None:
    table = unique("made")
    with FaultyProxy(endpoint_url, [Error("AccessDeniedException"), server_error()]) as proxy:
        client = make_client(proxy.endpoint_url)
        with pytest.raises(ConfigError, match="allow dynamodb:CreateTable on arn:aws:dynamodb"):
            create_table(client, table)
        with pytest.raises(UnavailableError):
            create_table(client, table)
        assert proxy.counts == {"CreateTable": 2}
