"""The short way of a batch beside boto3's own: the same request, the same answers and errors."""

import datetime as dt
import hashlib
import json
import re
import socketserver
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from socket import SHUT_RDWR
from threading import Event, Semaphore, Thread, current_thread
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock, patch

import boto3
import botocore.auth
import botocore.awsrequest
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import DeferredRefreshableCredentials, RefreshableCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.session import get_session

from dynatomic.dynamodb.client import UnreadableAnswerError
from dynatomic.dynamodb.direct.transport import Transport
from dynatomic.dynamodb.fence import Fence
from dynatomic.dynamodb.statements import Change, Step, request_body, statement
from dynatomic.events.row import KeySchema
from dynatomic.testing.dynamodb.client import FakeDynamoDB
from dynatomic.testing.embedded import REGION, Embedded, free_port
from tests.support.faults import (
    Delay,
    DropResponse,
    Fault,
    Raw,
    WrongChecksum,
    html,
    server_error,
    throttle,
)
from tests.support.proxy import FaultyProxy

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


@pytest.mark.parametrize("step", [Step.UPDATE, Step.ADD_FENCE, Step.INSERT])
@pytest.mark.parametrize("count", [0, 1, 2, 25])
def test_a_body_is_what_json_makes_of_the_statements(step: Step, count: int) -> None:
    batch = (CHANGES * 5)[:count]
    statements = [statement(step, KEYS[c.table], c) for c in batch]
    whole = {"Statements": statements, "ReturnConsumedCapacity": "TOTAL"}
    assert request_body(step, KEYS, batch) == json.dumps(whole).encode()


PAYLOAD = request_body(
    Step.UPDATE, {"transport": TEXT}, [Change("transport", k, None, {"n": 1}) for k in "ab"]
)
TOKEN = "token"  # noqa: S105 - nobody's
NOON = dt.datetime(2026, 1, 2, 12, 0, 0, tzinfo=dt.UTC)


def new_client(
    url: str | None, *, region: str = REGION, token: str | None = TOKEN, **options: Any
) -> "DynamoDBClient":
    config = Config(retries={"total_max_attempts": 1}, **{"connect_timeout": 2, **options})
    secret = "wJalrXUtnFEMI"  # noqa: S105 - nobody's
    return boto3.client(
        "dynamodb",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=config,
    )


class Sent(BaseException):
    """Ends a request that was about to be sent."""


@contextmanager
def catching(at: dt.datetime) -> Iterator[list[bytes]]:
    """Catch all that goes to the wire, at a time that stands still, and let nothing go."""
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
    assert transport._now() is not None, "no short way with this botocore"
    with catching(at) as pieces:
        transport.send(payload)
    return b"".join(pieces)


def sent_by_boto3(client: "DynamoDBClient", payload: bytes, at: dt.datetime = NOON) -> bytes:
    """Return what boto3 puts on the wire, but for what it tells about attempts: there is one."""
    with catching(at) as pieces:
        Transport(client, direct=False).send(payload)
    return re.sub(rb"amz-sdk-(invocation-id|request): [^\r]*\r\n", b"", b"".join(pieces))


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
    assert transport._now() is not None
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
    assert transport._now() is not None
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


HEAD = b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: 7\r\nContent-Length: 16\r\n"
BODY = b'{"Responses":[]}'


@contextmanager
def answering(*answers: Sequence[bytes]) -> Iterator[tuple[str, list[int], Semaphore]]:
    """Serve these answers in turn, in these pieces; count requests a connection.

    An empty piece ends the connection, which the semaphore tells when it has ended.
    """
    ended = Semaphore(0)
    asked: list[int] = []
    turns = cycle(answers)

    class Server(socketserver.ThreadingTCPServer):
        block_on_close = False  # clients keep their connections
        daemon_threads = True

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(0)
            mine = len(asked) - 1
            while self.asks():
                asked[mine] += 1
                for piece in next(turns):
                    if not piece:
                        self.request.shutdown(SHUT_RDWR)
                        ended.release()
                        return
                    self.request.sendall(piece)
                    seen.wait(0.01)

        def asks(self) -> bool:
            got = b""
            while not got.endswith(PAYLOAD):
                more = self.request.recv(65536)
                if not more:
                    return False
                got += more
            return True

    seen = Event()
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked, ended
        finally:
            server.shutdown()
            thread.join()


CHUNKED = HEAD.replace(b"Content-Length: 16", b"Transfer-Encoding: chunked")
LARGE = b'{"Responses":[], "more": "' + b"x" * 100_000 + b'"}'


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        ([HEAD + b"\r\n" + BODY], 1),
        ([HEAD + b"Connection: keep-alive\r\n\r\n" + BODY], 1),
        ([HEAD + b"\r\n", BODY], 1),
        ([HEAD + b"\r\n" + BODY[:3], BODY[3:]], 1),
        ([HEAD[:30], HEAD[30:] + b"\r\n" + BODY], 1),
        ([HEAD.replace(b"16", b"%d" % len(LARGE)) + b"\r\n" + LARGE], 1),
        ([CHUNKED + b"\r\n10\r\n" + BODY + b"\r\n0\r\n\r\n"], 1),
        ([CHUNKED + b"Content-Length: 3\r\n\r\n10\r\n" + BODY + b"\r\n0\r\n\r\n"], 1),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"\r\n" + BODY], 1),
        ([HEAD + b"Folded: a\r\n b\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n" + BODY], 1),
        ([HEAD + b"\r\n" + BODY, b""], 3),
        ([HEAD + b"Connection: close\r\n\r\n" + BODY], 3),
        ([HEAD.replace(b"1.1", b"1.0") + b"\r\n" + BODY, b""], 3),
        ([b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: 7\r\n\r\n" + BODY, b""], 3),
    ],
)
@pytest.mark.parametrize("direct", [True, False])
def test_answers_of_any_form_are_read(
    answer: Sequence[bytes], connections: int, *, direct: bool
) -> None:
    with answering(answer) as (url, asked, ended):
        transport = Transport(new_client(url), direct=direct)
        for _ in range(3):
            found = transport.send(PAYLOAD)
            assert b"" not in answer or ended.acquire(timeout=10)
            assert found["Responses"] == []
            assert found["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] == "7"
        assert sum(asked) == 3
        assert len(asked) == connections


@pytest.mark.parametrize(
    "answer",
    [
        [b""],
        [HEAD, b""],
        [HEAD + b"\r\n" + BODY[:5], b""],
        [CHUNKED + b"\r\n10\r\n" + BODY[:5], b""],
        [b"SSH-2.0-OpenSSH_9.2\r\n", b""],
    ],
)
def test_half_an_answer_is_a_closed_connection(answer: Sequence[bytes]) -> None:
    with answering(answer, [HEAD + b"\r\n" + BODY]) as (url, asked, _):
        transport = Transport(new_client(url))
        with pytest.raises(ConnectionClosedError):
            transport.send(PAYLOAD)
        assert transport.send(PAYLOAD)["Responses"] == []
        assert asked == [1, 1]


def test_what_a_server_sends_beyond_its_answer_is_no_answer_to_the_next_request() -> None:
    forged = HEAD.replace(b"7", b"666") + b"\r\n" + BODY
    usual = HEAD + b"\r\n" + BODY
    with answering([usual + forged], [usual]) as (url, asked, _):
        transport = Transport(new_client(url))
        for _ in range(2):
            found = transport.send(PAYLOAD)
            assert found["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] == "7"
        assert asked == [1, 1]


def test_what_a_server_sends_beyond_a_large_answer_is_dropped_with_the_connection() -> None:
    large = HEAD.replace(b"16", b"%d" % len(LARGE)) + b"\r\n" + LARGE
    for cut in (20, 60):
        forged = HEAD.replace(b"7", b"666") + b"\r\n" + BODY
        pieces = [large + forged[:cut], forged[cut:]]
        with answering(pieces, [HEAD + b"\r\n" + BODY]) as (url, asked, _):
            transport = Transport(new_client(url))
            for _ in range(2):
                found = transport.send(PAYLOAD)
                assert found["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] == "7"
            assert asked == [1, 1]


@pytest.mark.parametrize("status", [b"102 Processing", b"103 Early Hints"])
def test_the_answer_after_an_interim_one_is_none_to_the_next_request(status: bytes) -> None:
    late = HEAD.replace(b"7", b"666") + b"\r\n" + BODY
    interim = [b"HTTP/1.1 " + status + b"\r\n\r\n", late]
    with answering(interim, [HEAD + b"\r\n" + BODY]) as (url, asked, _):
        transport = Transport(new_client(url))
        with pytest.raises((BotoCoreError, ClientError, UnreadableAnswerError)):
            transport.send(PAYLOAD)
        found = transport.send(PAYLOAD)
        assert found["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] == "7"
        assert asked == [1, 1]


class Encrypted:
    """A connection's socket, of which TLS has decrypted more than was read."""

    def __init__(self, connection: Any) -> None:
        self._sock, self.pending = connection.sock, lambda: 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def test_what_tls_has_decrypted_beyond_an_answer_is_dropped_with_the_connection() -> None:
    plain = botocore.awsrequest.AWSHTTPConnection.connect

    def connect(connection: Any) -> None:
        plain(connection)
        connection.sock = Encrypted(connection)

    with (
        answering([HEAD + b"\r\n" + BODY]) as (url, asked, _),
        patch.object(botocore.awsrequest.AWSHTTPConnection, "connect", connect),
    ):
        transport = Transport(new_client(url))
        for _ in range(2):
            transport.send(PAYLOAD)
        assert asked == [1, 1]


def test_an_answer_may_take_longer_than_a_connection(table: str) -> None:
    with FaultyProxy(table, lambda r: Delay(0.6) if r.statements else None) as proxy:
        client = new_client(proxy.endpoint_url, connect_timeout=0.3, read_timeout=10)
        assert len(Transport(client).send(PAYLOAD)["Responses"]) == 2


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


class Bare:
    """An object without one of its attributes."""

    def __init__(self, whole: Any, hidden: str) -> None:
        self.__dict__.update(_whole=whole, _hidden=hidden)

    def __getattr__(self, name: str) -> Any:
        if name == self._hidden:
            raise AttributeError(name)
        return getattr(self._whole, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._whole, name, value)


def left_to_boto3(client: Any) -> None:
    transport = Transport(client)
    assert transport._now() is None
    assert len(transport.send(PAYLOAD)["Responses"]) == 2


def test_only_the_example_of_its_thread_is_caught(table: str) -> None:
    client = new_client(table)
    search = cast("Any", client).meta.events._emitter._handlers.prefix_search
    found, go = Event(), Event()
    examples: list[Any] = []
    learner = Transport(client)

    def held(name: str) -> Any:  # a request between the look-up of its handlers and their calls
        handlers = search(name)
        if current_thread() is other and name.startswith("before-call") and not found.is_set():
            found.set()
            assert go.wait(10)
        return handlers

    def hook(**_: object) -> None:  # an example that has begun
        if current_thread() is not other:
            other.start()
            assert found.wait(10)

    answers: list[Any] = []
    other = Thread(target=lambda: answers.append(Transport(client, direct=False).send(PAYLOAD)))
    event = "before-parameter-build.dynamodb.BatchExecuteStatement"
    client.meta.events.register(event, hook)
    with patch.object(cast("Any", client).meta.events._emitter._handlers, "prefix_search", held):
        examples.append(learner._caught())
        go.set()
        other.join()
    client.meta.events.unregister(event, hook)
    assert "params" in examples[0]
    assert len(answers[0]["Responses"]) == 2
    assert len(Transport(client, direct=False).send(PAYLOAD)["Responses"]) == 2


def test_why_there_is_no_short_way_is_logged_once(
    table: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = new_client(table)
    monkeypatch.setitem(cast("Any", client).meta.service_model.metadata, "jsonVersion", "1.1")
    transport = Transport(client)
    for _ in range(2):
        transport._until = 0.0
        assert transport._now() is None
    (record,) = caplog.records
    assert record.message == "requests are sent by boto3"
    assert record.__dict__["fields"] == {"cause": "another content type"}


def test_a_client_that_tells_nothing_before_a_call_is_left_to_boto3(
    table: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = new_client(table)
    transport = Transport(client)
    client.meta.events.unregister(
        "before-call.dynamodb.BatchExecuteStatement",
        unique_id="dynatomic.dynamodb.direct.transport",
    )
    assert transport._now() is None
    assert len(transport.send(PAYLOAD)["Responses"]) == 2
    assert [r.__dict__["fields"]["cause"] for r in caplog.records] == ["no event before a call"]


def test_a_client_without_an_endpoint_is_left_to_boto3(table: str) -> None:
    left_to_boto3(Bare(new_client(table), "_endpoint"))


@pytest.mark.parametrize(
    "hook", ["_proxy_config", "_get_connection_manager", "_setup_ssl_cert", "_verify"]
)
def test_an_http_session_without_its_parts_is_left_to_boto3(table: str, hook: str) -> None:
    client: Any = new_client(table)
    client._endpoint.http_session = Bare(client._endpoint.http_session, hook)
    left_to_boto3(client)


def test_a_signer_without_credentials_to_ask_is_left_to_boto3(table: str) -> None:
    client: Any = new_client(table)
    client._request_signer = Bare(client._request_signer, "_credentials")
    left_to_boto3(client)


@pytest.mark.parametrize("hook", ["_get_conn", "_put_conn", "_new_conn", "timeout"])
def test_a_pool_without_its_parts_is_left_to_boto3(table: str, hook: str) -> None:
    client: Any = new_client(table)
    manager = client._endpoint.http_session._get_connection_manager(table)
    pool = manager.connection_from_url(table)
    with patch.object(type(manager), "connection_from_url", lambda *_: Bare(pool, hook)):
        left_to_boto3(client)


@pytest.mark.parametrize("hook", ["is_closed", "sock", "request"])
def test_a_connection_without_its_parts_is_left_to_boto3(table: str, hook: str) -> None:
    client: Any = new_client(table)
    pool = client._endpoint.http_session._get_connection_manager(table).connection_from_url(table)
    with patch.object(pool, "_new_conn", lambda: Bare(pool.ConnectionCls(pool.host), hook)):
        transport = Transport(client)
        assert transport._now() is None
    assert len(transport.send(PAYLOAD)["Responses"]) == 2


@pytest.mark.parametrize("name", ["X-Amz-Content-SHA256", "X-Of-The-Body"])
def test_a_header_that_follows_the_body_is_left_to_boto3(table: str, name: str) -> None:
    def add(request: Any, **_: object) -> None:
        request.headers[name] = hashlib.sha256(request.data).hexdigest()

    client = new_client(table)
    client.meta.events.register("before-sign.dynamodb", add)
    left_to_boto3(client)


def test_an_unsigned_client_is_left_to_boto3(table: str) -> None:
    left_to_boto3(new_client(table, signature_version=UNSIGNED))


def test_endpoint_and_headers_are_looked_up_again(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = Transport(new_client(table))
    looked = 0
    learned = transport._probe

    def counted() -> Any:
        nonlocal looked
        looked += 1
        return learned()

    monkeypatch.setattr(transport, "_probe", counted)
    for _ in range(3):
        transport.send(PAYLOAD)
    assert looked == 1
    transport._until = 0.0
    transport.send(PAYLOAD)
    assert looked == 2
