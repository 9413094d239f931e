"""Servers and children of the tests end when they have to, and show their logs."""

import os
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from dynatomic.errors import UnavailableError
from tests.support import process as process_module
from tests.support.brokers import create_kafka_topic
from tests.support.children import PYTHONPATH, Spawn
from tests.support.kafka_server import KafkaServer
from tests.support.process import Process
from tests.support.waiting import is_gone, wait_until


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
    monkeypatch.setattr(process_module, "_START_SECONDS", 0.2)
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
    monkeypatch.setattr(process_module, "_STOP_SECONDS", 0.2)
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
from tests.support.process import Process
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
