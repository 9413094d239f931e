"""The fixtures on every broker and table, and what the run says that it did not test."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from dynatomic.testing.embedded import Embedded
from tests.support.brokers import Broker, MakeTopic
from tests.support.children import PYTHONPATH
from tests.support.kafka_server import BOOTSTRAP_VARIABLE
from tests.support.tables import MakeTable
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


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
    given = {k: v for k, v in os.environ.items() if k not in ("CI", BOOTSTRAP_VARIABLE)}
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
    assert BOOTSTRAP_VARIABLE in lines[0]


def test_in_ci_a_missing_server_is_a_failure(tmp_path: Path) -> None:
    output = run_inner(tmp_path, CI="true")
    assert "1 failed, 1 passed, 1 deselected, 2 errors" in output
    assert "CI=true, but no real Kafka: no java command" in output


def test_a_server_of_the_users_own_is_taken(tmp_path: Path, embedded: Embedded) -> None:
    own = {BOOTSTRAP_VARIABLE: embedded.bootstrap_servers}
    output = run_inner(tmp_path, **own, DYNATOMIC_TEST_ENDPOINT_URL=embedded.endpoint_url)
    assert "1 failed, 3 passed" in output
    assert "NOT TESTED" not in output


def test_a_failed_test_shows_what_its_children_said(tmp_path: Path) -> None:
    output = run_inner(tmp_path)
    assert "child-0: exit 0" in output
    assert output.count("said by the child") > 1, "once is the test's source"
