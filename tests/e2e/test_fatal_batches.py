"""A batch that kills the process that reads it: it stops its partition, and can be skipped."""

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer

from dynatomic.service.fatal_batches import SUSPECT_AFTER_S
from tests.support.events import Event, Log, avro
from tests.support.stack import REAL, Stack
from tests.support.tables import Table

LIMIT_MB = 768
LARGE_BYTES = 400 * 1024 * 1024


@contextmanager
def memory_limit(megabytes: int) -> Iterator[None]:
    """Let children that are started in the block have this much memory at most."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes * 1024 * 1024, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def produce(stack: Stack, topic: str, *values: bytes, codec: str = "none") -> None:
    """Store values as batches of their own, an hour ago."""
    producer = Producer(
        {
            "bootstrap.servers": stack.bootstrap_servers,
            "compression.type": codec,
            "message.max.bytes": "500000000",
            "queue.buffering.max.kbytes": "1000000",
            "linger.ms": "0",
        }
    )
    for value in values:
        created_ms = int((time.time() - 30 * SUSPECT_AFTER_S) * 1000)
        producer.produce(topic, value, key=b"k", partition=0, timestamp=created_ms)
        assert producer.flush(60) == 0


@REAL
@pytest.mark.timeout(240)
def test_a_batch_of_400_mb_stops_its_partition_and_can_be_skipped(
    stack: Stack, table: Table
) -> None:
    topic, name = stack.topic(2), table()
    events = [Event(name, f"k{n}") for n in range(3)]
    produce(stack, topic, *map(avro, events))
    produce(stack, topic, bytes(LARGE_BYTES), codec="gzip")
    produce(stack, topic, avro(Event(name, "after")))
    log = stack.produce(topic, [Event(name, "other")], partition=1)
    log += Log({(name, f"k{n}", None, "count"): 1 for n in range(3)})
    stack.commit(topic, (1, ""))  # the first one was counted before
    log[name, "k0", None, "count"] = 0

    with memory_limit(LIMIT_MB):
        guaranteed = ("--processing-guarantee", "exactly-once")
        child = stack.run(topic, [name], *guaranteed)
        child.wait_for("partition stopped", 90)
        stack.wait_counted(+log, name)
        child.signal(signal.SIGTERM)
        assert child.wait() == 0, child.logs()
        assert stack.committed(topic) == {0: 3, 1: 1}

        command = ["dlq", "skip-batch", "-g", topic, "-t", topic, "--partition", "0"]
        command += ["--offset", "3", "--execute"]
        assert " ".join(["dynatomic", *command]) in child.stderr
        done = stack.spawn(*command, env=stack.env())
        assert done.wait(90) == 0, done.logs()
        assert stack.committed(topic) == {0: 4, 1: 1}
        (letter,) = stack.letters(topic)
        headers = {key: value or b"" for key, value in stack.headers(letter)}
        assert headers["dynatomic.reason"] == b"batch-unreadable"
        assert headers["dynatomic.offset"] == b"3"

        stack.drain(topic, [name], *guaranteed)
    log[name, "after", None, "count"] = 1
    assert stack.counters(name) == +log
