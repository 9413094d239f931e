"""``lag``, ``top`` and ``offsets`` against real groups: behind, running, stuck, and put right."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from confluent_kafka import Consumer, Producer

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.operations.lag import lag
from dynatomic.operations.top import top
from tests.support.children import REPOSITORY
from tests.support.events import Event, avro
from tests.support.live_load import Load
from tests.support.names import unique
from tests.support.operator_calls import Out, produce_events, rows_of, settings_of
from tests.support.stack import REAL, Stack
from tests.support.tables import Table
from tests.support.waiting import wait_until

TOP = """
import sys
from dynatomic.config.settings import Settings
from dynatomic.operations.top import top
top(Settings(bootstrap_servers=sys.argv[1], topic=sys.argv[2], group_id=sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("stack", "protocol"),
    [("real", "classic"), ("real", "consumer"), ("embedded", "classic")],
    indirect=["stack"],
)
def test_behind_and_caught_up(stack: Stack, table: Table, protocol: str, capsys: Out) -> None:
    topic, name = stack.topic(2), table()
    how = ("--group-protocol", protocol)
    log = produce_events(stack, topic, name, 10)
    stack.drain(topic, [name], *how)
    log += produce_events(stack, topic, name, 7)
    behind, idle = rows_of(stack, topic, capsys, group_protocol=protocol)
    assert (behind["current_offset"], behind["log_end_offset"], behind["lag"]) == (10, 17, 7)
    assert 0 <= behind["age_seconds"] < 30
    assert (idle["log_end_offset"], idle["age_seconds"]) == (0, None)
    later = rows_of(stack, topic, capsys)[0]["age_seconds"]
    assert behind["age_seconds"] < later < 60

    child = stack.run(topic, [name], *how)
    stack.wait_counted(log, name)
    wait_until(lambda: rows_of(stack, topic, capsys)[0]["lag"] == 0, "it has caught up")
    first, second = rows_of(stack, topic, capsys)
    assert (first["age_seconds"], first["note"]) == (None, None)
    if stack.name == "real":
        assert first["consumer_id"] == second["consumer_id"] is not None
        assert first["client_id"] == f"dynatomic@{socket.gethostname()}:{child.pid}"
        assert first["host"].startswith("/")
    else:
        assert first["consumer_id"] is None
    child.signal(15)
    assert child.wait() == 0


@REAL
def test_the_numbers_are_those_of_kafkas_own_tool(stack: Stack, table: Table, capsys: Out) -> None:
    tool = shutil.which("kafka-consumer-groups.sh") or shutil.which("kafka-consumer-groups")
    if tool is None:
        pytest.skip("Kafka's own tools are not installed")
    topic, name = stack.topic(3), table()
    produce_events(stack, topic, name, 7, 0)
    stack.drain(topic, [name])
    produce_events(stack, topic, name, 5, 0)
    produce_events(stack, topic, name, 2, 1)
    config = {"bootstrap.servers": stack.bootstrap_servers, "enable.auto.commit": False}
    member = Consumer({**config, "group.id": topic})
    try:
        member.subscribe([topic])
        wait_until(lambda: member.poll(0.1) is not None, "it is a member, and reads")
        asked = ["--bootstrap-server", stack.bootstrap_servers, "--describe", "--group", topic]
        printed = subprocess.run([tool, *asked], capture_output=True, text=True, check=True).stdout
        assert lag(settings_of(stack, topic), "json") == 0
    finally:
        member.close()
    theirs = {tuple(line.split()[:9]) for line in printed.splitlines() if line.startswith(topic)}
    names = [*("group", "topic", "partition", "current_offset", "log_end_offset", "lag")]
    names += ["consumer_id", "host", "client_id"]
    rows = json.loads(capsys.readouterr().out)
    mine = {tuple("-" if row[n] is None else str(row[n]) for n in names) for row in rows}
    assert len(mine) == 3
    assert mine == theirs


def test_a_group_that_does_not_exist(stack: Stack, table: Table, capsys: Out) -> None:
    topic = stack.topic()
    produce_events(stack, topic, table(), 3)
    settings = settings_of(stack, topic, group_id=unique("nobody"))
    if stack.name == "real":
        with pytest.raises(DynatomicError, match="does not exist at"):
            lag(settings)
        return
    assert lag(settings) == 0  # the mock cluster does not describe groups
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.split()[:4] == ["0", "-", "3", "-"]


@REAL
def test_what_a_transaction_left_is_no_event(stack: Stack, table: Table, capsys: Out) -> None:
    topic, name = stack.topic(), table()
    producer = Producer(
        {"bootstrap.servers": stack.bootstrap_servers, "transactional.id": unique("t")}
    )
    producer.init_transactions(20)
    for is_kept in (False, True):
        producer.begin_transaction()
        age_ms = 100_000 if is_kept else 900_000
        made = int(time.time() * 1000) - age_ms
        producer.produce(topic, avro(Event(name, "a")), partition=0, timestamp=made)
        assert producer.flush(20) == 0  # else an abort would take it back unsent
        (producer.commit_transaction if is_kept else producer.abort_transaction)(20)
    # Two events, and two markers, which the brokers write after they confirmed.
    wait_until(lambda: stack.ends(topic) == {0: 4}, "the transactions have ended")
    stack.commit(topic, (0, ""))  # so that the group exists
    (row,) = rows_of(stack, topic, capsys)
    assert 99 < row["age_seconds"] < 200
    stack.drain(topic, [name])
    (row,) = rows_of(stack, topic, capsys)
    assert (row["lag"], row["age_seconds"]) == (0, None)


def test_a_topic_that_is_not_there(stack: Stack) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        lag(settings_of(stack, unique("missing")))


def test_brokers_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynatomic.operations.lag.START_S", 0.5)
    with pytest.raises(UnavailableError, match="check that it is running"):
        lag(Settings(bootstrap_servers="127.0.0.1:1"))


@REAL
def test_rates_of_a_running_group(stack: Stack, table: Table, capsys: Out) -> None:
    topic, name = stack.topic(2), table()
    child = stack.run(topic, [name])
    with Load(stack, topic, name, 2):
        wait_until(lambda: len(stack.committed(topic, zeros=True)) == 2, "it commits")
        settings = settings_of(stack, topic)
        assert top(settings, interval_s=0.5, iterations=4) == 0
    tables = capsys.readouterr().out.strip().split("\n\n")
    assert len(tables) == 4
    head, _, total, *rows = tables[-1].splitlines()
    assert "1 members" in head
    _, _, _, consumed, produced, *_ = total.split()
    assert float(consumed.replace(",", "")) > 0
    assert float(produced.replace(",", "")) > 0
    assert len(rows) == 2
    child.signal(15)
    assert child.wait() == 0


def test_top_ends_at_once_when_it_is_interrupted(stack: Stack) -> None:
    topic = stack.topic()
    child = subprocess.Popen(
        [sys.executable, "-c", TOP, stack.bootstrap_servers, topic],
        cwd=REPOSITORY,
        env=stack.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline().startswith(f"group {topic}")
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=5)
    finally:
        child.kill()
    assert err.rstrip().endswith("KeyboardInterrupt")
