"""The short way of a batch beside boto3's own: the same request, the same answers and errors."""

import datetime as dt
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import boto3
import botocore.auth
import pytest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)
from botocore.session import get_session

from consumer.embedded import REGION, Embedded, free_port
from consumer.fakes import FakeDynamoDB
from consumer.fence import Fence
from consumer.row import KeySchema
from consumer.statements import Change, Step, body, statement
from consumer.tables import UnreadableAnswerError
from consumer.transport import Transport
from tests.proxy import (
    Delay,
    DropResponse,
    Fault,
    FaultyProxy,
    Raw,
    WrongChecksum,
    html,
    server_error,
    throttle,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TEXT, RANGED = KeySchema("pk"), KeySchema("id", "N", "rk", "S")
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


@pytest.mark.parametrize("step", [Step.UPDATE, Step.FIRST, Step.INSERT])
@pytest.mark.parametrize("count", [0, 1, 2, 25])
def test_a_body_is_what_json_makes_of_the_statements(step: Step, count: int) -> None:
    batch = (CHANGES * 5)[:count]
    statements = [statement(step, KEYS[c.table], c) for c in batch]
    whole = {"Statements": statements, "ReturnConsumedCapacity": "TOTAL"}
    assert body(step, KEYS, batch) == json.dumps(whole).encode()


def new_client(url: str, **options: Any) -> "DynamoDBClient":
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=2, **options)
    secret = "wJalrXUtnFEMI"  # noqa: S105 - nobody's
    return boto3.client(
        "dynamodb",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=secret,
        aws_session_token="token",  # noqa: S106 - nobody's
        config=config,
    )


class Sent(Exception):  # noqa: N818 - no error
    """Holds the request that was about to be sent."""


def sent(client: "DynamoDBClient", payload: bytes, *, direct: bool) -> Any:
    """Return the request that a batch would send."""
    transport = Transport(client, direct=direct)

    def stop(request: Any, **_: object) -> None:
        raise Sent(request)

    if direct:
        parts = transport._now()
        assert parts is not None, "no short way with this botocore"
        transport._parts = parts._replace(send=stop)
    else:
        client.meta.events.register("before-send.dynamodb", stop)
    with pytest.raises(Sent) as caught:
        transport.send(payload)
    return caught.value.args[0]


@pytest.fixture
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    noon = dt.datetime(2026, 1, 2, 12, 0, 0, tzinfo=dt.UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: noon)


@pytest.mark.usefixtures("_noon")
def test_the_request_is_the_one_that_boto3_sends() -> None:
    client = new_client("http://127.0.0.1:1/some/path")
    payload = body(Step.UPDATE, KEYS, CHANGES)
    direct = sent(client, payload, direct=True)
    plain = sent(client, payload, direct=False)
    assert (direct.method, direct.url, direct.body) == (plain.method, plain.url, plain.body)
    ours = {k.lower(): text(v) for k, v in direct.headers.items()}
    theirs = {k.lower(): text(v) for k, v in plain.headers.items()}
    # These tell AWS about attempts, of which there is one; the signature covers them.
    for name in ("amz-sdk-invocation-id", "amz-sdk-request"):
        theirs.pop(name, None)
    signature, reference = ours.pop("authorization"), theirs.pop("authorization")
    # boto3 counts the features of each call that were used; here they are those of the first.
    assert ours.pop("user-agent").split()[0] == theirs.pop("user-agent").split()[0]
    assert ours == theirs
    assert signature.split()[:2] == reference.split()[:2]  # the algorithm, key, day and region


def text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


@pytest.mark.usefixtures("_noon")
def test_the_signature_is_right() -> None:
    client = new_client("http://127.0.0.1:1/")
    request = sent(client, b'{"Statements": []}', direct=True)
    headers = {k: text(v) for k, v in request.headers.items()}
    signed = headers["Authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    assert {"content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target"} <= {
        *signed
    }
    again = botocore.awsrequest.AWSRequest(
        "POST",
        request.url,
        {k: v for k, v in headers.items() if k.lower() in signed and k.lower() != "x-amz-date"},
        request.body,
    )
    keys = client._request_signer._credentials  # type: ignore[attr-defined]
    botocore.auth.SigV4Auth(keys, "dynamodb", REGION).add_auth(again)
    assert again.headers["Authorization"] == headers["Authorization"]


def test_credentials_that_are_refreshed_sign_the_next_request() -> None:
    names = iter(["FIRST", "SECOND"])

    def fresh() -> dict[str, str]:
        expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
        return {
            "access_key": next(names),
            "secret_key": "x",
            "token": "t",
            "expiry_time": expires.isoformat(),
        }

    session: Any = get_session()
    session._credentials = RefreshableCredentials.create_from_metadata(
        fresh(), lambda: {**fresh(), "expiry_time": "2999-01-01T00:00:00Z"}, "test"
    )
    client = session.create_client(
        "dynamodb", region_name=REGION, endpoint_url="http://127.0.0.1:1"
    )
    request = sent(cast("Any", client), b"{}", direct=True)
    assert "Credential=SECOND/" in text(request.headers["Authorization"])


# --- answers and errors ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(embedded: Embedded) -> Iterator[str]:
    client = new_client(embedded.endpoint_url)
    client.create_table(
        TableName="transport",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )
    yield embedded.endpoint_url
    client.delete_table(TableName="transport")


PAYLOAD = body(
    Step.UPDATE, {"transport": TEXT}, [Change("transport", k, None, {"n": 1}) for k in "ab"]
)


def test_the_answer_is_the_one_that_boto3_reads(table: str) -> None:
    client = new_client(table)
    ours, theirs = (Transport(client, direct=direct).send(PAYLOAD) for direct in (True, False))
    assert ours["Responses"] == theirs["Responses"]
    assert len(ours["Responses"]) == 2
    for found in (ours, theirs):
        assert found["ResponseMetadata"]["HTTPStatusCode"] == 200
        assert "x-amzn-requestid" in found["ResponseMetadata"]["HTTPHeaders"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (throttle, ClientError),
        (server_error, ClientError),
        (DropResponse, ConnectionClosedError),
        (lambda: Delay(3), ReadTimeoutError),
    ],
)
def test_errors_are_those_of_boto3(
    table: str, fault: Callable[[], Fault], kind: type[Exception]
) -> None:
    told = []
    for direct in (True, False):
        with FaultyProxy(table, lambda r: fault() if r.statements else None) as proxy:
            client = new_client(proxy.endpoint_url, read_timeout=0.5)
            with pytest.raises(kind) as caught:
                Transport(client, direct=direct).send(PAYLOAD)
        error = caught.value
        told.append(error.response["Error"] if isinstance(error, ClientError) else None)
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "fault", [html, WrongChecksum, lambda: Raw(200, b""), lambda: Raw(200, b"[]")]
)
def test_what_dynamodb_did_not_write_is_no_answer(table: str, fault: Callable[[], Fault]) -> None:
    with (
        FaultyProxy(table, lambda r: fault() if r.statements else None) as proxy,
        pytest.raises(UnreadableAnswerError),
    ):
        Transport(new_client(proxy.endpoint_url)).send(PAYLOAD)


def test_a_closed_port_is_told_as_by_boto3() -> None:
    client = new_client(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(EndpointConnectionError):
        Transport(client).send(PAYLOAD)


# --- when there is no short way ----------------------------------------------------------------


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


def test_a_proxy_of_the_environment_is_used(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(BotoCoreError, match="proxy"):
        Transport(new_client("http://dynamodb.invalid:1")).send(PAYLOAD)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert len(Transport(new_client(table)).send(PAYLOAD)["Responses"]) == 2


def test_endpoint_and_headers_are_looked_up_again(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = Transport(new_client(table))
    looked = 0
    taken = transport._taken

    def counted() -> Any:
        nonlocal looked
        looked += 1
        return taken()

    monkeypatch.setattr(transport, "_taken", counted)
    for _ in range(3):
        transport.send(PAYLOAD)
    assert looked == 1
    transport._until = 0.0
    transport.send(PAYLOAD)
    assert looked == 2
