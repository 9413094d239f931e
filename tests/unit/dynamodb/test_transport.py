"""The transport sends byte for byte the requests that boto3 sends."""

import datetime as dt
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock, patch

import botocore.auth
import botocore.awsrequest
import pytest
from botocore.credentials import DeferredRefreshableCredentials, RefreshableCredentials
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
)
from botocore.session import get_session

from dynatomic.dynamodb.direct.transport import Operation, Transport
from dynatomic.dynamodb.fence import Fence
from dynatomic.dynamodb.statements import Change, Step, request_body, statement
from dynatomic.testing.dynamodb.client import FakeDynamoDB
from dynatomic.testing.embedded import REGION, free_port

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
from tests.support.transport import PAYLOAD, RANGED, TEXT, new_client

KEYS = {"tab": TEXT, "a.b-c_d": RANGED}


FENCE = Fence("fence_0123abcd_7", 10, 19)


ODD = 'x"\\ %s %(a)s \u0000key \x00first é \U0001f600 {}?'


CHANGES = [
    Change("tab", "k", None, {"count": 5}),
    Change("tab", ODD, None, {"hits": -1, "a.b": 10**30, "0": 0}),
    Change("a.b-c_d", "-1.5", ODD, {"count": 5}),
    Change("tab", "", None, {"count": 5}, FENCE),
    Change("a.b-c_d", "7", "range", {"first": 1, "last": 2, "key": 3, "range": 4}, FENCE),
]


@pytest.mark.parametrize("step", [Step.UPDATE, Step.ADD_FENCE, Step.INSERT])
@pytest.mark.parametrize("count", [0, 1, 2, 25])
def test_a_body_is_what_json_makes_of_the_statements(step: Step, count: int) -> None:
    batch = (CHANGES * 5)[:count]
    statements = [statement(step, KEYS[c.table], c) for c in batch]
    whole = {"Statements": statements, "ReturnConsumedCapacity": "TOTAL"}
    assert request_body(step, KEYS, batch) == json.dumps(whole).encode()


NOON = dt.datetime(2026, 1, 2, 12, 0, 0, tzinfo=dt.UTC)


class Sent(BaseException):
    """Ends a request that was about to be sent."""


@contextmanager
def catching(at: dt.datetime) -> Iterator[list[bytes]]:
    """Catch all requests, with a clock that does not move, and send none."""
    pieces: list[bytes] = []

    def catch(_: object, piece: bytes) -> None:
        pieces.append(piece)
        if piece.endswith(b"}"):
            raise Sent

    def connect(connection: Any) -> None:
        connection.sock, connection.is_verified = Mock(), True

    with (
        patch.object(botocore.auth, "get_current_datetime", lambda: at.replace(tzinfo=None)),
        patch.object(botocore.awsrequest.AWSConnection, "send", catch),
        patch.object(botocore.awsrequest.AWSHTTPConnection, "connect", connect),
        patch.object(botocore.awsrequest.AWSHTTPSConnection, "connect", connect),
        pytest.raises(Sent),
    ):
        yield pieces


def sent(client: "DynamoDBClient", payload: bytes, at: dt.datetime = NOON) -> bytes:
    """Return what the short way puts on the wire."""
    transport = Transport(client, clock=at.timestamp)
    assert transport._current_path() is not None, "no short way with this botocore"
    with catching(at) as pieces:
        transport.send(payload)
    return b"".join(pieces)


def sent_by_boto3(client: "DynamoDBClient", payload: bytes, at: dt.datetime = NOON) -> bytes:
    """Return what boto3 sends, without its headers about attempts: there is one attempt."""
    with catching(at) as pieces:
        Transport(client, direct=False).send(payload)
    return without_attempts(b"".join(pieces))


def without_attempts(request: bytes) -> bytes:
    return re.sub(rb"amz-sdk-(invocation-id|request): [^\r]*\r\n", b"", request)


@pytest.mark.parametrize("token", ["token", None])
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1",
        "http://127.0.0.1:1/some/path",
        "http://[::1]:8000/a/",
        "http://localhost:80/",
        "https://dynamodb.us-east-1.amazonaws.com",
        "https://vpce-1.dynamodb.us-east-1.vpce.amazonaws.com:8443",
    ],
)
def test_the_request_is_the_one_that_boto3_sends(url: str, token: str | None) -> None:
    client = new_client(url, token=token)
    payload = request_body(Step.UPDATE, KEYS, CHANGES)
    request = sent(client, payload)
    assert request == sent_by_boto3(client, payload)
    assert request.endswith(payload)
    assert (b"X-Amz-Security-Token: token\r\n" in request) == (token is not None)


ADDITION: dict[str, Any] = {
    "TableName": "tab",
    "Key": {"pk": {"S": ODD}},
    "UpdateExpression": "ADD #0 :0",
    "ExpressionAttributeNames": {"#0": "count"},
    "ExpressionAttributeValues": {":0": {"N": "1"}},
}


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("UpdateItem", ADDITION | {"ReturnValues": "UPDATED_NEW"}),
        (
            "TransactWriteItems",
            {"ClientRequestToken": "t", "TransactItems": [{"Update": ADDITION}]},
        ),
    ],
)
def test_the_requests_of_other_operations_are_those_of_boto3(
    operation: Operation, request_: dict[str, Any]
) -> None:
    client = new_client("http://127.0.0.1:1")
    body = json.dumps(request_).encode()
    # Two transports of one client must not take each other's examples.
    assert Transport(client)._current_path() is not None
    transport = Transport(client, operation, clock=NOON.timestamp)
    assert transport._current_path() is not None
    pieces = []
    for way in (transport, Transport(client, operation, direct=False)):
        with catching(NOON) as caught:
            way.send(body)
        pieces.append(b"".join(caught))
    assert pieces[0] == without_attempts(pieces[1])
    assert f"X-Amz-Target: DynamoDB_20120810.{operation}\r\n".encode() in pieces[0]


def test_a_percent_sign_in_a_header_is_only_that() -> None:
    client = new_client("http://127.0.0.1:1", user_agent_extra="50%s %(a)s %%")
    assert sent(client, PAYLOAD) == sent_by_boto3(client, PAYLOAD)


@pytest.mark.parametrize("region", ["eu-central-1", "cn-north-1", "us-gov-west-1"])
def test_the_endpoint_is_the_one_of_the_region(region: str) -> None:
    client = new_client(None, region=region)
    request = sent(client, PAYLOAD)
    assert request == sent_by_boto3(client, PAYLOAD)
    assert f"Host: dynamodb.{region}.amazonaws.com".encode() in request
    assert f"/20260102/{region}/dynamodb/aws4_request".encode() in request


def test_one_transport_signs_for_each_second_and_day() -> None:
    client = new_client("http://127.0.0.1:1")
    clock = Mock(return_value=NOON.timestamp())
    transport = Transport(client, clock=clock)
    assert transport._current_path() is not None
    for seconds in (0, 0.4, 1, 12 * 3600 - 1, 12 * 3600, 400 * 24 * 3600, -3600):
        now = NOON + dt.timedelta(seconds=seconds)
        clock.return_value = now.timestamp()
        with catching(now) as pieces:
            transport.send(PAYLOAD)
        assert b"".join(pieces) == sent_by_boto3(client, PAYLOAD, now)


def refreshed(client_url: str, credentials: Any) -> "DynamoDBClient":
    session: Any = get_session()
    session._credentials = credentials
    client = session.create_client("dynamodb", region_name=REGION, endpoint_url=client_url)
    return cast("DynamoDBClient", client)


def issued(name: str, seconds: float) -> dict[str, str]:
    """Return credentials as a service issues them."""
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    return {
        "access_key": name,
        "secret_key": f"secret of {name}",
        "token": f"token of {name}",
        "expiry_time": expires.isoformat(),
    }


def test_credentials_that_are_refreshed_sign_the_next_request() -> None:
    names = iter(["SECOND", "THIRD"])
    keys: Any = RefreshableCredentials.create_from_metadata(
        issued("FIRST", 3600), lambda: issued(next(names), 3600), "test"
    )
    client = refreshed("http://127.0.0.1:1", keys)
    transport = Transport(client, clock=NOON.timestamp)
    for name in ("FIRST", "SECOND", "THIRD"):
        with catching(NOON) as pieces:
            transport.send(PAYLOAD)
        request = b"".join(pieces)
        assert f"Credential={name}/".encode() in request
        assert request == sent_by_boto3(client, PAYLOAD)
        keys._expiry_time = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)


def test_a_role_is_assumed_when_the_first_request_is_signed() -> None:
    keys = DeferredRefreshableCredentials(lambda: issued("ROLE", 3600), "assume-role")
    client = refreshed("http://127.0.0.1:1", keys)
    request = sent(client, PAYLOAD)
    assert b"Credential=ROLE/" in request
    assert request == sent_by_boto3(client, PAYLOAD)


def test_a_role_that_cannot_be_assumed_any_more_is_told_as_by_boto3() -> None:
    def denied() -> dict[str, str]:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "AssumeRole")

    keys: Any = RefreshableCredentials.create_from_metadata(issued("FIRST", 3600), denied, "sts")
    client = refreshed("http://127.0.0.1:1", keys)
    transport = Transport(client)
    assert transport._current_path() is not None
    keys._expiry_time = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    for each in (transport, Transport(client), Transport(client, direct=False)):
        with pytest.raises(ClientError) as caught:
            each.send(PAYLOAD)
        assert caught.value.operation_name == "AssumeRole"


def test_without_credentials_it_is_told_as_by_boto3() -> None:
    client = new_client("http://127.0.0.1:1")
    cast("Any", client)._request_signer._credentials = None
    with pytest.raises(NoCredentialsError):
        Transport(client).send(PAYLOAD)


def test_a_closed_port_is_told_as_by_boto3() -> None:
    client = new_client(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(EndpointConnectionError):
        Transport(client).send(PAYLOAD)


def test_a_client_without_the_parts_sends_its_requests_itself() -> None:
    fake = FakeDynamoDB()
    fake.create_table(
        TableName="transport",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )
    answered = Transport(cast("Any", fake)).send(PAYLOAD)
    codes = [response["Error"]["Code"] for response in answered["Responses"]]
    assert codes == ["ConditionalCheckFailed"] * 2
