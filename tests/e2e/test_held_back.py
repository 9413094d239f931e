"""Events that no consumer can read: an open transaction, and a topic that is deleted."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Producer

from dynatomic.verify.command import VerifyOptions, verify
from tests.support.events import Event, avro
from tests.support.operator_calls import settings_of
from tests.support.stack import Stack
from tests.support.tables import Table
from tests.support.waiting import wait_until
from tests.support.watching import get, health, metrics, status_of, url_of

# The mock cluster knows no open transaction, and deletes no topics.
pytestmark = pytest.mark.parametrize("stack", ["real"], indirect=True)

SERVE = ("--http", "127.0.0.1:0", "--progress-timeout-ms", "15000")


@contextmanager
def transaction(stack: Stack, topic: str) -> Iterator[Producer]:
    """Give a producer inside a transaction, which is committed at the end."""
    producer = Producer(
        {"bootstrap.servers": stack.bootstrap_servers, "transactional.id": f"{topic}-tx"}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    yield producer
    producer.commit_transaction(30)


def lag_of(stack: Stack, topic: str) -> Any:
    child = stack.spawn("lag", "-t", topic, "-g", topic, "--output", "json", env=stack.env())
    assert child.wait() == 0, child.logs()
    return json.loads(child.stdout)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_an_open_transaction_is_told_with_its_age_and_turns_livez_red(
    stack: Stack,
    table: Table,
    protocol: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable, value in stack.env().items():
        monkeypatch.setenv(variable, value)
    topic, name = stack.topic(), table()
    once = settings_of(stack, topic, tables=(name,), processing_guarantee="exactly-once")
    child = stack.run(topic, [name], *SERVE, "--group-protocol", protocol)
    url = url_of(child)
    log = stack.produce(topic, [Event(name, "before")])
    stack.wait_counted(log, name)
    with transaction(stack, topic) as producer:
        producer.produce(topic, avro(Event(name, "inside")))
        producer.flush(30)
        log += stack.produce(topic, [Event(name, "behind")] * 3)
        wait_until(
            lambda: status_of(url)["activity"] == "waiting for an open transaction", "reported", 30
        )
        (partition,) = status_of(url)["partitions"]
        assert (partition["lag"], partition["end"]) == (0, 1)
        assert partition["high_watermark"] == 5
        assert metrics(url)["dynatomic_transaction_offsets", "0"] == 4
        wait_until(lambda: health(url) == (503, ["transaction-open"]), "red", 30)
        assert status_of(url)["stuck"][0]["seconds"] >= 15
        assert stack.counters(name).total() == 1
        (row,) = lag_of(stack, topic)
        assert (row["log_end_offset"], row["high_watermark"], row["lag"]) == (1, 5, 0)
        held = "an open transaction holds back 4 offsets"
        assert row["note"] == held
        verify(once, stack.endpoint_url, VerifyOptions())
        assert f"partition 0: {held}" in capsys.readouterr().out.splitlines()
    log[name, "inside", None, "count"] += 1  # committed now
    wait_until(lambda: health(url) == (200, []), "green again", 30)
    stack.wait_counted(log, name)
    wait_until(lambda: status_of(url)["activity"] == "counting", "it counts again", 30)
    assert '"recovered"' in child.stderr
    assert '"transaction-open"' in child.stderr


@pytest.mark.timeout(180)
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_a_topic_that_is_deleted_is_an_error_and_turns_livez_red(
    stack: Stack, table: Table, protocol: str, guarantee: str
) -> None:
    topic, name = stack.topic(2), table()
    arguments = (*SERVE, "--group-protocol", protocol, "--processing-guarantee", guarantee)
    child = stack.run(topic, [name], *arguments)
    url = url_of(child)
    log = stack.produce(topic, [Event(name, f"k{n}") for n in range(10)])
    stack.wait_counted(log, name)
    wait_until(lambda: stack.committed(topic) == stack.ends(topic), "all is committed")
    stack.delete(topic)
    stack.topics.remove(topic)
    start = time.monotonic()
    wait_until(lambda: health(url) == (503, ["topic-missing"]), "red", 40)
    assert time.monotonic() - start < 30
    assert status_of(url)["activity"] == "the topic does not exist"
    assert metrics(url)["dynatomic_stuck", "topic-missing"] == 1
    child.wait_for('"level": "error", "event": "topic does not exist"')
    assert get(f"{url}livez/restart")[0] == 200
    assert child.returncode is None
