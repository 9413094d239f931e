"""The benchmark's null sink: what it counts and what it refuses."""

import asyncio
import http.client
import json
from typing import Any, cast

import pytest

from bench.judge import MalformedError, judge
from bench.sink import Connection, Counter, Counts, Sink
from tests.support.tables import make_client

UPDATE = 'UPDATE "T" SET "count"="count"+? WHERE "pk"=?'


SIGNED = (
    "POST / HTTP/1.1\r\nHost: sink\r\nX-Amz-Target: DynamoDB_20120810.{operation}\r\n"
    "Authorization: AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=0\r\n"
    "Content-Length: {length}\r\n\r\n"
)


def statement(add: int = 1, key: str = "a") -> dict[str, Any]:
    return {"Statement": UPDATE, "Parameters": [{"N": str(add)}, {"S": key}]}


def batch(*statements: Any) -> bytes:
    return json.dumps({"Statements": list(statements)}).encode()


def request(operation: str, body: bytes) -> bytes:
    return SIGNED.format(operation=operation, length=len(body)).encode() + body


@pytest.mark.parametrize(
    ("operation", "body", "why"),
    [
        ("BatchExecuteStatement", b'{"Statements": [', "no JSON"),
        ("BatchExecuteStatement", b"[]", "no object"),
        ("BatchExecuteStatement", b"{}", "1 to 25"),
        ("BatchExecuteStatement", batch(), "1 to 25"),
        ("BatchExecuteStatement", batch(*[statement()] * 26), "1 to 25"),
        ("BatchExecuteStatement", batch("UPDATE"), "no object"),
        ("BatchExecuteStatement", batch(statement(), {"Statement": UPDATE}), "question marks"),
        ("BatchExecuteStatement", batch({"Parameters": [{"N": "1"}]}), "neither UPDATE"),
        ("BatchExecuteStatement", batch(statement() | {"Statement": "DROP ? ?"}), "neither UPDATE"),
        ("BatchExecuteStatement", batch(statement() | {"Parameters": []}), "question marks"),
        ("BatchExecuteStatement", batch(statement() | {"Parameters": [1]}), "question marks"),
        ("BatchExecuteStatement", batch(statement() | {"Parameters": [1, 2]}), "no attribute"),
        (
            "BatchExecuteStatement",
            batch(statement() | {"Parameters": [{"N": 1}, {"S": "a"}]}),
            "neither a string",
        ),
        (
            "BatchExecuteStatement",
            batch(statement() | {"Parameters": [{"N": "1.5"}, {"S": "a"}]}),
            "no integer",
        ),
        ("UpdateItem", b'{"TableName": "T"}', "without table"),
        (
            "UpdateItem",
            b'{"TableName": "T", "Key": {}, "ExpressionAttributeValues": {}}',
            "without table",
        ),
        ("BatchWriteItem", b'{"RequestItems": ["T"]}', "no lists of requests"),
        ("BatchWriteItem", b'{"RequestItems": {"T": []}}', "not 1 to 25"),
        ("BatchWriteItem", b'{"RequestItems": {"T": [{"DeleteRequest": {}}]}}', "puts no item"),
        ("DescribeTable", b"{}", "without a table"),
        ("PutItem", b"{}", "not served"),
    ],
)
def test_the_sink_refuses_what_is_malformed(operation: str, body: bytes, why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        judge(operation, body)


def test_the_sink_counts_what_boto3_sends(sink: Sink) -> None:
    client = make_client(sink.endpoint_url)
    described = client.describe_table(TableName="T")
    statements = cast("Any", [statement(n, f"key-{n}") for n in range(25)])
    answered = client.batch_execute_statement(Statements=statements)
    client.update_item(
        TableName="T",
        Key={"pk": {"S": "a"}},
        UpdateExpression="ADD #c :n",
        ExpressionAttributeNames={"#c": "count"},
        ExpressionAttributeValues={":n": {"N": "-7"}},
    )
    assert described["Table"]["KeySchema"] == [{"AttributeName": "pk", "KeyType": "HASH"}]
    assert answered["Responses"] == [{}] * 25
    assert "x-amzn-requestid" in answered["ResponseMetadata"]["HTTPHeaders"]
    assert sink.take() == Counts(requests=2, statements=26, added=sum(range(25)) - 7)
    assert sink.take() == Counts()
    client.close()


def test_a_total_that_is_overwritten_adds_its_difference(sink: Sink) -> None:
    client = make_client(sink.endpoint_url)

    def put(**totals: int) -> None:
        items = [{"pk": {"S": key}, "count": {"N": str(n)}} for key, n in totals.items()]
        puts = cast("Any", [{"PutRequest": {"Item": item}} for item in items])
        answered = client.batch_write_item(RequestItems={"T": puts})
        assert answered["UnprocessedItems"] == {}

    put(a=5, b=7)
    put(a=6)
    assert sink.take() == Counts(requests=2, statements=3, added=6 + 7)
    put(a=1)
    assert sink.take() == Counts(requests=1, statements=1, added=1)
    client.close()


def test_a_sink_without_items_takes_inserts_first(sink: Sink) -> None:
    client = make_client(sink.endpoint_url)
    insert = {
        "Statement": "INSERT INTO \"T\" VALUE {'pk': ?, 'count': ?}",
        "Parameters": [{"S": "b"}, {"N": "3"}],
    }

    def codes(*statements: Any) -> list[str | None]:
        found = client.batch_execute_statement(Statements=[*statements])["Responses"]
        return [each.get("Error", {}).get("Code") for each in found]

    sink.empty()
    assert codes(statement(7, "a"), insert) == ["ConditionalCheckFailed", None]
    assert codes(statement(7, "b"), insert) == [None, "DuplicateItem"]
    assert sink.take() == Counts(requests=2, statements=4, added=10)
    assert codes(statement(7, "a"), insert) == [None, None]
    client.close()


def test_the_sink_notes_what_arrives_while_it_is_watched(sink: Sink) -> None:
    client = make_client(sink.endpoint_url)
    insert = {
        "Statement": "INSERT INTO \"T\" VALUE {'pk': ?, 'count': ?, 'fence_0a_1': ?}",
        "Parameters": [{"S": "b"}, {"N": "3"}, {"N": "99"}],
    }
    client.batch_execute_statement(Statements=cast("Any", [statement(7, "not noted")]))
    sink.watch()
    client.batch_execute_statement(Statements=cast("Any", [statement(2, "a"), insert]))
    client.batch_execute_statement(Statements=cast("Any", [statement(5, "a")]))
    assert sink.count() == sink.count() == Counts(requests=3, statements=4, added=17)
    arrivals = sink.arrivals()
    assert [(key, added) for _, key, added in arrivals] == [("a", 2), ("b", 3), ("a", 5)]
    assert sorted(when for when, _, _ in arrivals) == [when for when, _, _ in arrivals]
    assert arrivals[0][0] == arrivals[1][0] < arrivals[2][0]
    client.close()


def test_a_refused_request_is_counted_apart_and_the_connection_stays(sink: Sink) -> None:
    host = sink.endpoint_url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.request("POST", "/", batch(statement()))
    first = connection.getresponse()
    assert (first.status, b"not signed" in first.read()) == (400, True)
    kept = connection.sock
    connection.request("GET", "/take")
    counts = Counts(**json.loads(connection.getresponse().read()))
    assert connection.sock is kept
    assert counts == Counts(refused=1, reason="the request is not signed")
    connection.close()


@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_requests_are_cut_however_they_arrive(size: int) -> None:
    written = bytearray()

    class Transport(asyncio.WriteTransport):
        def write(self, data: bytes | bytearray | memoryview) -> None:
            written.extend(data)

    counter = Counter()
    connection = Connection(counter)
    connection.connection_made(Transport())
    sent = request("BatchExecuteStatement", batch(statement(2), statement(3))) * 3
    for start in range(0, len(sent), size):
        connection.data_received(sent[start : start + size])
    assert written.count(b"HTTP/1.1 200 OK\r\n") == 3
    taken = counter.answer(b"GET /take HTTP/1.1\r\n\r\n", b"").partition(b"\r\n\r\n")[2]
    assert Counts(**json.loads(taken)) == Counts(requests=3, statements=6, added=15)
