"""The tools of the tests: real servers, children, the proxy. What they promise, they do."""

import http.client
import json
import os
import stat
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from dynatomic.errors import UnavailableError
from dynatomic.testing.embedded import Embedded, call_dynamodb
from tests.conftest import (
    PYTHONPATH,
    Broker,
    MakeTable,
    MakeTopic,
    Spawn,
    create_kafka_topic,
    make_client,
)
from tests.contract.test_embedded import is_gone, wait_until
from tests.support import servers
from tests.support.proxy import (
    DropRequest,
    DropResponse,
    Error,
    FailStatements,
    Fault,
    FaultyProxy,
    Hold,
    Request,
    WrongChecksum,
    access_denied,
    html,
    server_error,
    throttle,
)
from tests.support.servers import KafkaServer, MissingError, Process

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# --- the same on fake, embedded and real -----------------------------------------------------


def test_a_broker_gives_back_what_was_produced(broker: Broker, topic: MakeTopic) -> None:
    name = topic(3)
    producer = broker.producer()
    for partition in range(3):
        producer.produce(name, b"%d" % partition, partition=partition)
    assert producer.flush(20) == 0
    consumer = broker.consumer({"group.id": name, "auto.offset.reset": "earliest"})
    consumer.subscribe([name])
    values: list[bytes | None] = []

    def all_read() -> bool:
        values.extend(message.value() for message in consumer.consume(3, 0.2))
        return len(values) == 3

    wait_until(all_read, "all read")
    assert sorted(v for v in values if v) == [b"0", b"1", b"2"]
    consumer.close()


@pytest.mark.parametrize("range_type", [None, "S", "N"])
@pytest.mark.parametrize("hash_type", ["S", "N"])
def test_a_table_has_its_keys_and_adds(
    dynamodb: "DynamoDBClient",
    make_table: MakeTable,
    hash_type: Literal["S", "N"],
    range_type: Literal["S", "N"] | None,
) -> None:
    table = make_table(dynamodb, hash_type, range_type)
    key: dict[str, Any] = {"pk": {hash_type: "1"}}
    if range_type is not None:
        key["rk"] = {range_type: "2"}
    for _ in range(2):
        dynamodb.update_item(
            TableName=table,
            Key=key,
            UpdateExpression="ADD #c :n",
            ExpressionAttributeNames={"#c": "count"},
            ExpressionAttributeValues={":n": {"N": "20"}},
        )
    assert dynamodb.get_item(TableName=table, Key=key)["Item"] == {**key, "count": {"N": "40"}}
    schema = dynamodb.describe_table(TableName=table)["Table"]["KeySchema"]
    assert {attribute["AttributeName"] for attribute in schema} == key.keys()


# --- real servers ----------------------------------------------------------------------------


def send(server: KafkaServer, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": server.bootstrap_servers, "log_level": 0})
    producer.produce("rows", value)
    assert producer.flush(20) == 0


def read_all(server: KafkaServer, count: int) -> list[bytes | None]:
    conf = {"bootstrap.servers": server.bootstrap_servers, "group.id": "g", "log_level": 0}
    consumer = Consumer({**conf, "auto.offset.reset": "earliest"})
    consumer.subscribe(["rows"])
    values = [message.value() for message in consumer.consume(count, 30)]
    consumer.close()
    return values


def test_a_kafka_keeps_data_and_port_when_stopped_killed_and_paused(
    kafka_private: KafkaServer,
) -> None:
    server, address = kafka_private, kafka_private.bootstrap_servers
    create_kafka_topic(address, "rows", 1)
    send(server, b"first")
    server.stop()
    assert server.pid is None
    server.start()
    send(server, b"second")
    server.stop(kill=True)
    server.start()
    assert server.bootstrap_servers == address
    assert read_all(server, 2) == [b"first", b"second"]

    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    server.pause()
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=0.5)
    server.resume()
    assert "rows" in admin.list_topics(timeout=20).topics


def test_a_server_that_ends_at_start_shows_its_log() -> None:
    process = Process("broken")
    with pytest.raises(UnavailableError, match=r"broken ended at start with 3[\s\S]*boom"):
        process.launch(["sh", "-c", "echo boom; exit 3"], lambda: False)
    process.delete()
    assert not process.folder.exists()


def test_a_server_that_is_never_ready_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_START_SECONDS", 0.2)
    process = Process("slow")
    pids: set[int] = set()

    def is_ready() -> bool:
        assert process.pid is not None
        pids.add(process.pid)
        return False

    with pytest.raises(UnavailableError, match="slow is not ready in time"):
        process.launch(["sleep", "60"], is_ready)
    assert len(pids) == 1
    assert is_gone(pids.pop())
    process.delete()


def test_a_server_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_STOP_SECONDS", 0.2)
    process = Process("deaf")
    process.launch(
        ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"],
        lambda: "up" in process.tail(),
    )
    pid = process.pid
    assert pid is not None
    process.end()
    assert is_gone(pid)
    process.delete()


ORPHAN = """
import os, subprocess, sys, tempfile, time
from pathlib import Path
from tests.support.servers import Process
process = Process("orphan")
process.launch(["sleep", "60"], lambda: True)
print(process.pid, process.folder, "ready", flush=True)
time.sleep(60)
"""


def test_a_killed_test_run_leaves_no_server(spawn: Spawn) -> None:
    env = {**os.environ, "PYTHONPATH": PYTHONPATH}
    run = spawn.command([sys.executable, "-c", ORPHAN], env=env)
    run.wait_for("ready")
    pid, folder = run.stdout.split()[:2]
    assert not is_gone(int(pid))
    run.kill()
    wait_until(lambda: is_gone(int(pid)) and not Path(folder).exists(), "cleaned up")


# --- fetching --------------------------------------------------------------------------------


def write_script(folder: Path, name: str, text: str) -> None:
    script = folder / name
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 1", "does not run"),  # as the stub of a Mac does
        ("""echo 'openjdk version "11.0.2" 2019-01-15' >&2""", "is Java 11"),
        (None, "no java command"),
    ],
)
def test_java_is_tried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, why: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if script is not None:
        write_script(tmp_path, "java", script)
    with pytest.raises(MissingError, match=why):
        servers.java()


def test_java_that_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    write_script(tmp_path, "java", """echo 'openjdk version "21.0.1"' >&2""")
    assert servers.java() == str(tmp_path / "java")


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for Maven in the PATH that writes one jar and then runs ``after``."""
    monkeypatch.setattr(servers, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


WRITE_JAR = """for argument; do
  case $argument in -DoutputDirectory=*) folder=${argument#*=};; esac
done
mkdir "$folder"; touch "$folder/a.jar"
"""


def test_half_a_download_is_no_download(maven: Path) -> None:
    write_script(maven, "mvn", f"{WRITE_JAR} echo '[ERROR] the network went away'; exit 1")
    with pytest.raises(MissingError, match=r"could not fetch kafka: .*network went away"):
        servers.jars("kafka")
    assert list((maven / "cache").iterdir()) == []
    write_script(maven, "mvn", WRITE_JAR)
    folder = servers.jars("kafka")
    assert [file.name for file in folder.iterdir()] == ["a.jar"]
    (maven / "mvn").unlink()
    assert servers.jars("kafka") == folder, "fetched once"


def test_a_download_that_gave_nothing_is_no_download(maven: Path) -> None:
    write_script(maven, "mvn", "exit 0")
    with pytest.raises(MissingError, match="could not fetch kafka"):
        servers.jars("kafka")


def test_two_runs_fetch_at_once(maven: Path) -> None:
    write_script(
        maven,
        "mvn",
        f'{WRITE_JAR} test -z "$FOLDER" || {{ mkdir "$FOLDER"; touch "$FOLDER/b.jar"; }}',
    )
    version = servers.jars("kafka").name
    other = maven / "cache" / version.replace("kafka", "dynamodb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOLDER", str(other))
        assert servers.jars("dynamodb") == other
    assert [file.name for file in other.iterdir()] == ["b.jar"]


def test_no_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="install Maven"):
        servers.jars("kafka")


# --- pytest's side ---------------------------------------------------------------------------

INNER = """
import sys
def test_on(broker):
    assert broker.name
def test_table(dynamodb_real):
    pass
def test_child(spawn):
    child = spawn.command([sys.executable, "-c", "print('said by the child')"], env={})
    child.wait()
    assert False
"""


def run_inner(folder: Path, **env: str) -> str:
    (folder / "test_inner.py").write_text(INNER)
    (folder / "inner.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    given = {k: v for k, v in os.environ.items() if k not in ("CI", servers.BOOTSTRAP_VARIABLE)}
    run = subprocess.run(
        [*command, "-c", "inner.ini", "-k", "not fake", str(folder)],
        cwd=folder,
        env={
            **given,
            "PYTHONPATH": PYTHONPATH,
            "PATH": "/usr/bin-without-java",
            **env,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout + run.stderr


def test_without_java_one_line_says_what_was_not_tested(tmp_path: Path) -> None:
    output = run_inner(tmp_path)
    assert "1 failed, 1 passed, 2 skipped, 1 deselected" in output
    lines = [line for line in output.splitlines() if "NOT TESTED" in line]
    assert len(lines) == 1
    assert "real Kafka and DynamoDB Local: no java command: install Java 17" in lines[0]
    assert servers.BOOTSTRAP_VARIABLE in lines[0]


def test_in_ci_a_missing_server_is_a_failure(tmp_path: Path) -> None:
    output = run_inner(tmp_path, CI="true")
    assert "1 failed, 1 passed, 1 deselected, 2 errors" in output
    assert "CI=true, but no real Kafka: no java command" in output


def test_a_server_of_the_users_own_is_taken(tmp_path: Path, embedded: Embedded) -> None:
    own = {servers.BOOTSTRAP_VARIABLE: embedded.bootstrap_servers}
    output = run_inner(tmp_path, **own, DYNATOMIC_TEST_ENDPOINT_URL=embedded.endpoint_url)
    assert "1 failed, 3 passed" in output
    assert "NOT TESTED" not in output


def test_a_failed_test_shows_what_its_children_said(tmp_path: Path) -> None:
    output = run_inner(tmp_path)
    assert "child-0: exit 0" in output
    assert output.count("said by the child") > 1, "once is the test's source"


def test_children_run_the_command_and_are_killed(tmp_path: Path) -> None:
    spawned = Spawn(tmp_path)
    child = spawned("--no-such-option", env=dict(os.environ))
    assert child.wait() != 0
    sleeper = spawned.command(["sleep", "60"], env=dict(os.environ))
    with pytest.raises(pytest.fail.Exception, match=r"still runs after 0.1 s"):
        sleeper.wait(0.1)
    with pytest.raises(pytest.fail.Exception, match="did not print 'hello'"):
        sleeper.wait_for("hello", 0.1)
    sleeper.kill()
    assert is_gone(sleeper.pid)
    assert sleeper.returncode == -9


# --- the proxy -------------------------------------------------------------------------------


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
