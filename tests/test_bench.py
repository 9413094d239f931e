"""The benchmark's own parts, and one small run of all of it. Nothing here is timed."""

import asyncio
import http.client
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka.admin import AdminClient

from bench import measure, report
from bench.child import Plan
from bench.measure import Run
from bench.sink import Connection, Counter, Counts, MalformedError, Sink, judge
from consumer.embedded import Embedded
from consumer.errors import DynatomicError
from tests.conftest import HasBootstrapServers, Spawn, make_client, unique

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


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as started:
        yield started


# --- the sink ----------------------------------------------------------------------------------


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


# --- the report --------------------------------------------------------------------------------


def run(kind: str, window_ms: int, number: int, seconds: float) -> Run:
    ours = kind == "run"
    return Run(
        workload="constant",
        kind=kind,
        window_ms=window_ms,
        guarantee="exactly-once" if ours else "",
        round=number,
        events=1_000_000,
        start_s=0.5,
        seconds=seconds,
        cpu_s=2.0 if ours else 1.0,
        process_cpu_s=2.5,
        peak_bytes=number * 50_000_000,
        requests=800 if ours else 0,
        statements=20_000 if ours else 0,
    )


def test_a_ratio_is_to_the_raw_run_of_the_same_round() -> None:
    runs = [
        *(run("raw", 0, n, s) for n, s in enumerate((1.0, 2.0, 4.0), start=1)),
        *(run("run", 1000, n, s) for n, s in enumerate((4.0, 4.0, 5.0), start=1)),
    ]
    raw, ours = report.summary(runs)
    assert (raw["min"], raw["median"], raw["max"], raw["of_raw"]) == (250_000, 500_000, 1e6, 1)
    assert (ours["min"], ours["median"], ours["max"]) == (200_000, 250_000, 250_000)
    assert ours["of_raw"] == 0.5  # of 0.25, 0.5 and 0.8
    assert (raw["events_per_write"], ours["events_per_write"]) == (None, 50)
    assert (raw["cpu_us"], ours["cpu_us"], ours["process_cpu_us"]) == (1, 2, 2.5)
    assert (ours["peak_mb"], ours["consumer"]) == (150, "1 s, exactly-once")


def test_the_tables_render() -> None:
    rows = report.summary([run("raw", 0, 1, 1.0), run("run", 5000, 1, 2.5)])
    writes = report.write_summary(
        [
            replace(run("write", 0, 1, 10.0), cpu_s=20.0),
            replace(run("update-item", 0, 1, 1.0), events=1000, cpu_s=0.8),
        ]
    )
    assert report.tables(rows, writes).splitlines() == [
        (
            "workload  consumer           events/s min     median        max  of raw  CPU us/event"
            "  with start  requests  events/write  peak MB  start s"
        ),
        (
            "constant  raw consume()         1,000,000  1,000,000  1,000,000    1.00          1.00"
            "        2.50         -             -       50      0.5"
        ),
        (
            "constant  5 s, exactly-once       400,000    400,000    400,000    0.40          2.00"
            "        2.50       800          50.0       50      0.5"
        ),
        "",
        "written by        counters/s  CPU us/counter  of UpdateItem",
        "batches              100,000            20.0           1/40",
        "boto3 UpdateItem       1,000           800.0              1",
    ]


# --- all of it ---------------------------------------------------------------------------------


def filled(embedded: Embedded, workload: measure.Workload, events: int) -> measure.Topic:
    name = unique("bench")
    embedded.broker.create_topic(name, measure.PARTITIONS)
    embedded.broker.create_topic(f"{name}.dlq", 1)
    return measure.fill(embedded.bootstrap_servers, name, workload, events)


def test_a_quick_run_counts_every_event(embedded: Embedded, sink: Sink) -> None:
    topic = filled(embedded, measure.WORKLOADS[1], 3000)
    said: list[str] = []
    runs = list(measure.rounds(embedded.bootstrap_servers, sink, [topic], 1, said.append))
    assert [(r.kind, r.window_ms, r.guarantee) for r in runs] == [
        ("raw", 0, ""),
        *(("run", ms, guarantee) for ms in (1000, 5000) for guarantee in measure.GUARANTEES),
    ]
    assert len(said) == 5
    assert [r.requests > 0 for r in runs] == [False, True, True, True, True]
    for each in runs:
        assert each.seconds > 0
        assert each.process_cpu_s > each.cpu_s > 0
        assert each.peak_bytes > 10_000_000
        assert each.statements < 3000  # or nothing was summed
    assert len(report.summary(runs)) == 5


def test_a_run_that_adds_something_else_is_an_error(embedded: Embedded, sink: Sink) -> None:
    topic = filled(embedded, measure.WORKLOADS[0], 500)
    wrong = replace(topic, total=topic.total + 1)
    with pytest.raises(DynatomicError, match="added 500 to the counters, not 501"):
        measure.consume(embedded.bootstrap_servers, sink, wrong, "run", Plan(500), 1)


def test_a_child_that_fails_is_an_error_with_its_reason(sink: Sink) -> None:
    with pytest.raises(DynatomicError, match="KeyError: 'nothing'"):
        measure.write(sink, "nothing", 100, 1)


def test_both_ways_of_writing_send_each_counter(sink: Sink) -> None:
    batches, single = (
        measure.write(sink, "write", 1000, 1),
        measure.write(sink, "update-item", 9, 1),
    )
    assert (batches.statements, batches.requests) == (1100, 44)  # with a round to warm up
    assert single.statements == single.requests == 59


def test_the_command_prints_and_stores_its_results(
    kafka_real: HasBootstrapServers, spawn: Spawn, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    options = ["--events", "2000", "--runs", "1", "--results", str(folder)]
    servers = ["--bootstrap-servers", kafka_real.bootstrap_servers]
    child = spawn.command([sys.executable, "-m", "bench", *options, *servers], env=os.environ)
    assert child.wait(100) == 0, child.logs()
    (stored,) = folder.glob("*.json")
    results = json.loads(stored.read_text())
    assert child.stdout == report.tables(results["rows"], results["writes"])
    assert [run["kind"] for run in results["runs"]].count("run") == 8
    assert results["machine"]["cores"] == os.cpu_count()
    admin = AdminClient({"bootstrap.servers": kafka_real.bootstrap_servers})
    assert not [name for name in admin.list_topics(timeout=10).topics if name.startswith("bench-")]


def test_the_command_refuses_nonsense(spawn: Spawn) -> None:
    child = spawn.command([sys.executable, "-m", "bench", "--runs", "0"], env=os.environ)
    assert child.wait() == 2
    assert "must be at least 1" in child.stderr
