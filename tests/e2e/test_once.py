"""When ``run --once`` ends: with an empty topic, with producers, and with stopped partitions."""

import json
import threading
import time

import pytest

from tests.support.events import Event
from tests.support.stack import REAL, Stack
from tests.support.tables import Table


def test_an_empty_topic_ends_at_once_without_a_line_of_the_client(
    stack: Stack, table: Table
) -> None:
    topic, name = stack.topic(3), table()
    child = stack.run(topic, [name], "--once")
    assert child.wait(60) == 0
    lines = [json.loads(line) for line in child.stderr.splitlines()]
    events = [line["event"] for line in lines]
    assert "topic is empty" in events
    assert "assigned" not in events
    assert {line["level"] for line in lines} <= {"info", "debug"}, child.stderr


@pytest.mark.parametrize("how", [(), ("--dry-run",)], ids=["run", "dry"])
def test_it_closes_the_windows_at_the_end_and_does_not_wait_for_producers(
    stack: Stack, table: Table, how: tuple[str, ...]
) -> None:
    topic, name = stack.topic(2), table()
    for partition in range(2):
        stack.produce(topic, [Event(name, f"k{partition}")] * 10, partition)
    ended = threading.Event()

    def keep_producing() -> None:
        while not ended.wait(0.05):
            for partition in range(2):
                stack.produce(topic, [Event(name, "later")], partition)

    producing = threading.Thread(target=keep_producing)
    producing.start()
    try:
        started = time.monotonic()
        child = stack.run(topic, [name], "--once", "--window-ms", "30000", *how)
        assert child.wait(60) == 0, child.logs()
        assert time.monotonic() - started < 25
    finally:
        ended.set()
        producing.join()
    if not how:
        assert all(offset >= 10 for offset in stack.committed(topic).values())
        counted = {key: n for (_, key, _, _), n in stack.counters(name).items()}
        assert (counted["k0"], counted["k1"]) == (10, 10)


@REAL
def test_a_stopped_partition_does_not_keep_the_others_from_being_counted(
    stack: Stack, table: Table
) -> None:
    topic, name = stack.topic(2), table()
    for partition in range(2):
        stack.produce(topic, [Event(name, f"k{partition}")] * 10, partition)
    stack.commit(topic, (5, "8" * 32))
    child = stack.run(topic, [name], "--once")
    assert child.wait(60) == 1
    assert "of a topic with the id" in child.stderr
    assert stack.committed(topic) == {0: 5, 1: 10}
    assert {key: n for (_, key, _, _), n in stack.counters(name).items()} == {"k1": 10}
