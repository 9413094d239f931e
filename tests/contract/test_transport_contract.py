"""The transport and boto3 give the same answers and errors, on the embedded table."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ReadTimeoutError,
)

from dynatomic.dynamodb.client import UnreadableAnswerError
from dynatomic.dynamodb.direct.transport import Transport
from dynatomic.testing.embedded import free_port
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
from tests.support.transport import PAYLOAD, new_client


def test_the_answer_is_the_one_that_boto3_reads(transport_url: str) -> None:
    client = new_client(transport_url)
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
    transport_url: str, fault: Callable[[], Fault], kind: type[Exception]
) -> None:
    errors = []
    for direct in (True, False):
        with FaultyProxy(transport_url, lambda r: fault() if r.statements else None) as proxy:
            client = new_client(proxy.endpoint_url, read_timeout=0.5)
            with pytest.raises(kind) as caught:
                Transport(client, direct=direct).send(PAYLOAD)
        error = caught.value
        errors.append(error.response["Error"] if isinstance(error, ClientError) else None)
    assert errors[0] == errors[1]


def test_a_refused_condition_has_the_item_as_with_boto3(transport_url: str) -> None:
    client = new_client(transport_url)
    client.put_item(TableName="transport", Item={"pk": {"S": "held"}, "count": {"N": "7"}})
    body = json.dumps(
        {
            "TableName": "transport",
            "Key": {"pk": {"S": "held"}},
            "UpdateExpression": "ADD #0 :0",
            "ConditionExpression": "#0 < :0",
            "ExpressionAttributeNames": {"#0": "count"},
            "ExpressionAttributeValues": {":0": {"N": "1"}},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    ).encode()
    found = []
    for direct in (True, False):
        with pytest.raises(client.exceptions.ConditionalCheckFailedException) as caught:
            Transport(client, "UpdateItem", direct=direct).send(body)
        response: dict[str, Any] = dict(caught.value.response)
        found.append((response["Error"], response["Item"]))
    assert found[0] == found[1]
    assert found[0][1] == {"pk": {"S": "held"}, "count": {"N": "7"}}


@pytest.mark.parametrize(
    "fault", [html, WrongChecksum, lambda: Raw(200, b""), lambda: Raw(200, b"[]")]
)
def test_what_dynamodb_did_not_write_is_no_answer(
    transport_url: str, fault: Callable[[], Fault]
) -> None:
    with (
        FaultyProxy(transport_url, lambda r: fault() if r.statements else None) as proxy,
        pytest.raises(UnreadableAnswerError),
    ):
        Transport(new_client(proxy.endpoint_url)).send(PAYLOAD)


def test_an_answer_may_take_longer_than_a_connection(transport_url: str) -> None:
    with FaultyProxy(transport_url, lambda r: Delay(0.6) if r.statements else None) as proxy:
        client = new_client(proxy.endpoint_url, connect_timeout=0.3, read_timeout=10)
        assert len(Transport(client).send(PAYLOAD)["Responses"]) == 2


def test_a_proxy_of_the_environment_is_used(
    transport_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(BotoCoreError, match="proxy"):
        Transport(new_client("http://dynamodb.invalid:1")).send(PAYLOAD)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert len(Transport(new_client(transport_url)).send(PAYLOAD)["Responses"]) == 2
