"""The transport sends through boto3 when a private part of botocore or urllib3 is missing."""

import hashlib
from threading import Event, Thread, current_thread
from typing import Any, cast
from unittest.mock import patch

import pytest
from botocore import UNSIGNED

from dynatomic.dynamodb.direct.transport import Transport
from tests.support.transport import PAYLOAD, new_client


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
    assert transport._current_path() is None
    assert len(transport.send(PAYLOAD)["Responses"]) == 2


def test_only_the_example_of_its_thread_is_caught(transport_url: str) -> None:
    client = new_client(transport_url)
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
        examples.append(learner._caught_example())
        go.set()
        other.join()
    client.meta.events.unregister(event, hook)
    assert "params" in examples[0]
    assert len(answers[0]["Responses"]) == 2
    assert len(Transport(client, direct=False).send(PAYLOAD)["Responses"]) == 2


def test_why_there_is_no_short_way_is_logged_once(
    transport_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = new_client(transport_url)
    monkeypatch.setitem(cast("Any", client).meta.service_model.metadata, "jsonVersion", "1.1")
    transport = Transport(client)
    for _ in range(2):
        transport._until = 0.0
        assert transport._current_path() is None
    (record,) = caplog.records
    assert record.message == "requests are sent by boto3"
    assert record.__dict__["fields"] == {"cause": "another content type"}


def test_a_client_that_tells_nothing_before_a_call_is_left_to_boto3(
    transport_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = new_client(transport_url)
    transport = Transport(client)
    client.meta.events.unregister(
        "before-call.dynamodb.BatchExecuteStatement",
        unique_id="dynatomic.dynamodb.direct.transport.BatchExecuteStatement",
    )
    assert transport._current_path() is None
    assert len(transport.send(PAYLOAD)["Responses"]) == 2
    assert [r.__dict__["fields"]["cause"] for r in caplog.records] == ["no event before a call"]


def test_a_client_without_an_endpoint_is_left_to_boto3(transport_url: str) -> None:
    left_to_boto3(Bare(new_client(transport_url), "_endpoint"))


@pytest.mark.parametrize(
    "hook", ["_proxy_config", "_get_connection_manager", "_setup_ssl_cert", "_verify"]
)
def test_an_http_session_without_its_parts_is_left_to_boto3(transport_url: str, hook: str) -> None:
    client: Any = new_client(transport_url)
    client._endpoint.http_session = Bare(client._endpoint.http_session, hook)
    left_to_boto3(client)


def test_a_signer_without_credentials_to_ask_is_left_to_boto3(transport_url: str) -> None:
    client: Any = new_client(transport_url)
    client._request_signer = Bare(client._request_signer, "_credentials")
    left_to_boto3(client)


@pytest.mark.parametrize("hook", ["_get_conn", "_put_conn", "_new_conn", "timeout"])
def test_a_pool_without_its_parts_is_left_to_boto3(transport_url: str, hook: str) -> None:
    client: Any = new_client(transport_url)
    manager = client._endpoint.http_session._get_connection_manager(transport_url)
    pool = manager.connection_from_url(transport_url)
    with patch.object(type(manager), "connection_from_url", lambda *_: Bare(pool, hook)):
        left_to_boto3(client)


@pytest.mark.parametrize("hook", ["is_closed", "sock", "request"])
def test_a_connection_without_its_parts_is_left_to_boto3(transport_url: str, hook: str) -> None:
    client: Any = new_client(transport_url)
    pool = client._endpoint.http_session._get_connection_manager(transport_url).connection_from_url(
        transport_url
    )
    with patch.object(pool, "_new_conn", lambda: Bare(pool.ConnectionCls(pool.host), hook)):
        transport = Transport(client)
        assert transport._current_path() is None
    assert len(transport.send(PAYLOAD)["Responses"]) == 2


@pytest.mark.parametrize("name", ["X-Amz-Content-SHA256", "X-Of-The-Body"])
def test_a_header_that_follows_the_body_is_left_to_boto3(transport_url: str, name: str) -> None:
    def add(request: Any, **_: object) -> None:
        request.headers[name] = hashlib.sha256(request.data).hexdigest()

    client = new_client(transport_url)
    client.meta.events.register("before-sign.dynamodb", add)
    left_to_boto3(client)


def test_an_unsigned_client_is_left_to_boto3(transport_url: str) -> None:
    left_to_boto3(new_client(transport_url, signature_version=UNSIGNED))


def test_endpoint_and_headers_are_looked_up_again(
    transport_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = Transport(new_client(transport_url))
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
