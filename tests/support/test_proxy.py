"""The proxy: every fault does what it promises."""

import http.client
import json
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from dynatomic.testing.embedded import Embedded, call_dynamodb
from tests.support.faults import (
    DropRequest,
    DropResponse,
    Error,
    FailStatements,
    Fault,
    Hold,
    Request,
    WrongChecksum,
    access_denied,
    html,
    server_error,
    throttle,
)
from tests.support.proxy import FaultyProxy
from tests.support.tables import MakeTable, make_client
from tests.support.waiting import wait_until


class Counted:
    """A table with the items 0 to 3, whose counters are 0, behind a proxy."""

    def __init__(self, endpoint_url: str, table: str) -> None:
        self.proxy = FaultyProxy(endpoint_url)
        self.client = make_client(self.proxy.endpoint_url)
        self.table = table
        self._direct = make_client(endpoint_url)
        for i in range(4):
            item: dict[str, Any] = {"pk": {"S": str(i)}, "n": {"N": "0"}}
            self._direct.put_item(TableName=table, Item=item)

    def add(self) -> list[str | None]:
        """Add 1 to each counter in one batch and return the error codes."""
        text = f'UPDATE "{self.table}" SET "n"="n"+? WHERE "pk"=?'  # noqa: S608 - own table
        answer = self.client.batch_execute_statement(
            Statements=[
                {"Statement": text, "Parameters": [{"N": "1"}, {"S": str(i)}]} for i in range(4)
            ]
        )
        return [response.get("Error", {}).get("Code") for response in answer["Responses"]]

    @property
    def counters(self) -> list[int]:
        """The counters as they are, read around the proxy."""
        items = [
            self._direct.get_item(TableName=self.table, Key={"pk": {"S": str(i)}})["Item"]
            for i in range(4)
        ]
        return [int(item["n"]["N"]) for item in items]

    def has(self, number: int) -> bool:
        """Whether this item is there."""
        key: dict[str, Any] = {"pk": {"S": str(number)}}
        return "Item" in self._direct.get_item(TableName=self.table, Key=key)

    def close(self) -> None:
        """Close all."""
        self.client.close()
        self._direct.close()
        self.proxy.close()


@pytest.fixture
def counted(embedded: Embedded, make_table: MakeTable) -> Iterator[Counted]:
    direct = make_client(embedded.endpoint_url)
    made = Counted(embedded.endpoint_url, make_table(direct))
    yield made
    made.close()


def test_the_proxy_passes_and_counts(counted: Counted) -> None:
    assert counted.add() == [None] * 4
    assert counted.counters == [1, 1, 1, 1]
    assert counted.proxy.counts == {"BatchExecuteStatement": 1}
    request = counted.proxy.requests[0]
    assert len(request.statements) == 4
    assert request.forwarded
    assert request.answered


@pytest.mark.parametrize(
    ("fault", "applied"),
    [(DropRequest(), 0), (DropResponse(), 1)],
    ids=lambda value: type(value).__name__,
)
def test_what_is_lost_was_applied_or_not(counted: Counted, fault: Fault, applied: int) -> None:
    counted.proxy.script([fault])
    with pytest.raises(ConnectionClosedError):
        counted.add()
    assert counted.counters == [applied] * 4
    assert counted.add() == [None] * 4, "the script is over"


@pytest.mark.parametrize(
    ("fault", "code", "status", "applied"),
    [
        (throttle(), "ProvisionedThroughputExceededException", 400, 0),
        (server_error(), "InternalServerError", 500, 0),
        (server_error(applied=True), "InternalServerError", 500, 1),
        (access_denied(), "AccessDeniedException", 400, 0),
    ],
)
def test_errors_are_dynamodbs(
    counted: Counted, fault: Error, code: str, status: int, applied: int
) -> None:
    counted.proxy.script([fault])
    with pytest.raises(ClientError) as caught:
        counted.add()
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert caught.value.response["ResponseMetadata"]["RequestId"]
    assert counted.counters == [applied] * 4


def test_html_looks_like_success_to_boto3(counted: Counted) -> None:
    counted.proxy.script([html()])
    text = 'DELETE FROM "t" WHERE "pk"=?'
    answer = counted.client.batch_execute_statement(Statements=[{"Statement": text}])
    assert list(answer) == ["ResponseMetadata"]
    assert "x-amzn-requestid" not in answer["ResponseMetadata"]["HTTPHeaders"]


def test_a_wrong_checksum_is_wrong(counted: Counted) -> None:
    for fault, right in ((WrongChecksum(), False), (throttle(), True)):
        counted.proxy.script([fault])
        connection = http.client.HTTPConnection(counted.proxy.endpoint_url[7:], timeout=10)
        scope = "AWS4-HMAC-SHA256 Credential=a/20200101/us-east-1/dynamodb/aws4_request"
        headers = {"X-Amz-Target": "DynamoDB_20120810.ListTables", "Authorization": scope}
        connection.request("POST", "/", b"{}", headers)
        response = connection.getresponse()
        body = response.read()
        assert (int(response.headers["x-amz-crc32"]) == zlib.crc32(body)) is right
        connection.close()


@pytest.mark.parametrize("applied", [False, True])
def test_some_statements_of_a_batch_fail(counted: Counted, *, applied: bool) -> None:
    faults = {0: "ThrottlingError", 2: "InternalServerError"}
    counted.proxy.script([FailStatements(faults, applied=applied)])
    assert counted.add() == ["ThrottlingError", None, "InternalServerError", None]
    assert counted.counters == ([1, 1, 1, 1] if applied else [0, 1, 0, 1])


def test_all_statements_of_a_batch_fail(counted: Counted) -> None:
    counted.proxy.script([FailStatements(dict.fromkeys(range(4), "ThrottlingError"))])
    assert counted.add() == ["ThrottlingError"] * 4
    assert not counted.proxy.requests[0].forwarded


@pytest.mark.parametrize("after", [False, True])
def test_a_held_request_goes_on_when_released(counted: Counted, *, after: bool) -> None:
    hold = Hold(after=after)
    counted.proxy.script([hold])
    results: list[list[str | None]] = []
    thread = threading.Thread(target=lambda: results.append(counted.add()))
    thread.start()
    assert hold.arrived.wait(10)
    assert counted.counters == ([1] * 4 if after else [0] * 4)
    hold.release()
    thread.join(10)
    assert results == [[None] * 4]
    assert counted.counters == [1] * 4


def test_a_held_request_is_applied_though_its_client_gave_up(counted: Counted) -> None:
    hold = Hold()
    counted.proxy.script([hold])
    impatient = make_client(counted.proxy.endpoint_url, read_timeout=0.2)
    with pytest.raises(ReadTimeoutError):
        impatient.delete_item(TableName=counted.table, Key={"pk": {"S": "0"}})
    impatient.close()
    assert counted.counters == [0] * 4
    hold.release()
    wait_until(lambda: not counted.has(0), "deleted")


def test_connections_are_refused_for_a_while(counted: Counted) -> None:
    assert counted.add() == [None] * 4
    counted.proxy.refuse()
    with pytest.raises((EndpointConnectionError, ConnectionClosedError)):
        counted.add()
    with pytest.raises(EndpointConnectionError):
        counted.add()
    counted.proxy.accept()
    assert counted.add() == [None] * 4
    assert counted.counters == [2] * 4


def test_a_function_chooses_the_faults(counted: Counted) -> None:
    def every_other(request: Request) -> Fault | None:
        return throttle() if request.number % 2 else None

    counted.proxy.script(every_other)
    assert counted.add() == [None] * 4
    with pytest.raises(ClientError):
        counted.add()
    assert counted.add() == [None] * 4
    assert [type(r.fault).__name__ for r in counted.proxy.requests] == [
        "NoneType",
        "Error",
        "NoneType",
    ]


def test_a_mistake_in_a_fault_is_not_hidden(embedded: Embedded) -> None:
    def broken(_request: Request) -> Fault | None:
        raise ZeroDivisionError

    proxy = FaultyProxy(embedded.endpoint_url, broken)
    with pytest.raises((OSError, http.client.HTTPException)):
        call_dynamodb(proxy.endpoint_url, "ListTables", json.loads("{}"))
    with pytest.raises(ZeroDivisionError):
        proxy.close()
