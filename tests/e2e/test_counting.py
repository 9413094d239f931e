"""What is produced is counted: every kind of key, both write modes, both group protocols."""

import json
import os
import shutil
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Literal

import pytest

from tests.support.events import Event, Log, avro
from tests.support.names import unique
from tests.support.stack import Stack, same
from tests.support.tables import Table

KEY_TYPES: tuple[tuple[Literal["S", "N"], Literal["S", "N"] | None], ...] = (
    ("S", None),
    ("S", "S"),
    ("S", "N"),
    ("N", None),
    ("N", "S"),
    ("N", "N"),
)
KEYS = {"S": ["a", "é/漢", "1.0", "x" * 2048], "N": ["7", "-0.5", "123456789012345678901234567890"]}
RANGES: dict[str | None, list[str | None]] = {
    "S": ["r", "y" * 1024],
    "N": ["0", "42"],
    None: [None],
}


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("mode", ["batch", "single"])
def test_every_kind_of_key_and_counter_is_counted(
    stack: Stack, table: Table, mode: str, protocol: str
) -> None:
    topic, tables, events = stack.topic(3), [], []
    for hash_type, range_type in KEY_TYPES:
        name = table(hash_type, range_type)
        tables.append(name)
        for key, range_ in product(KEYS[hash_type], RANGES[range_type]):
            for number in range(4):
                events.append(Event(name, key, range_))
                events.append(Event(name, key, range_, "bytes-in.total", 1000 + number))
                events.append(Event(name, key, range_, "credit", -number))
    log = stack.produce(topic, events)
    errors = stack.drain(topic, tables, "--write-mode", mode, "--group-protocol", protocol)
    assert stack.counters(*tables) == log
    assert stack.committed(topic) == stack.ends(topic)
    assert not stack.letters(topic)
    assert '"error"' not in errors


def test_spellings_of_a_number_are_one_item(stack: Stack, table: Table) -> None:
    topic, name = stack.topic(2), table("N", "N")
    for number, key in enumerate(["1", "1.0", "01", "+1", "10e-1", ".1e1"]):
        stack.produce(topic, [Event(name, key, "2.50"), Event(name, key, "25e-1")], number % 2)
    stack.drain(topic, [name])
    assert stack.counters(name) == {(name, "1", "2.5", "count"): 12}


def test_sums_may_be_larger_than_an_increment(stack: Stack, table: Table) -> None:
    topic, name, big = stack.topic(1), table(), 2**63
    events = [Event(name, "up", incr=big - 1)] * 3 + [Event(name, "down", incr=-big)] * 3
    log = stack.produce(topic, [*events, *[Event(name, "zero", incr=n) for n in (5, -5)]])
    stack.drain(topic, [name])
    assert stack.counters(name) == log
    assert log[name, "up", None, "count"] == 3 * (big - 1)


def test_the_default_counter_can_be_named(stack: Stack, table: Table) -> None:
    topic, name = stack.topic(1), table()
    stack.produce(topic, [Event(name, "k"), Event(name, "k", None, "hits"), Event(name, "k")])
    stack.drain(topic, [name], "--counter", "views")
    assert stack.counters(name) == {(name, "k", None, "views"): 2, (name, "k", None, "hits"): 1}


def test_once_adds_to_what_is_there_and_ends_at_once_when_there_is_nothing_more(
    stack: Stack, table: Table
) -> None:
    topic, name = stack.topic(2), table()
    stack.drain(topic, [name])  # nothing in the topic yet
    assert not stack.counters(name)
    log: Log = Counter()
    for _ in range(2):
        log.update(stack.produce(topic, [Event(name, f"k{n % 30}") for n in range(500)]))
        stack.drain(topic, [name])
        assert stack.counters(name) == log
    stack.drain(topic, [name])
    assert stack.counters(name) == log
    assert stack.committed(topic) == stack.ends(topic)


def test_two_once_together_count_each_event_once(stack: Stack, table: Table) -> None:
    topic, name = stack.topic(4), table()
    log = stack.produce(topic, [Event(name, f"k{n % 100}", incr=n) for n in range(5000)])
    children = [stack.run(topic, [name], "--once") for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    same(stack, log, stack.counters(name), "classic")
    assert stack.committed(topic) == stack.ends(topic)


def test_two_groups_each_read_all(stack: Stack, table: Table) -> None:
    topic, names = stack.topic(2), [table(), table()]
    logs = [stack.produce(topic, [Event(n, f"k{i % 9}") for i in range(200)]) for n in names]
    children = [stack.run(topic, [name], "--once", group=f"{topic}-{name}") for name in names]
    assert [child.wait(60) for child in children] == [0, 0]
    assert stack.counters(*names) == logs[0] + logs[1]
    assert len(stack.letters(topic)) == 400  # each group's of the other's table


def test_dry_run_prints_what_run_would_add_and_changes_nothing(stack: Stack, table: Table) -> None:
    topic, name = stack.topic(2), table("S", "N")
    log = stack.produce(topic, [Event(name, f"k{n % 7}", "1", incr=n) for n in range(300)])
    stack.produce_raw(topic, [{"value": b"not a row"}])

    dry = stack.run(topic, [name], "--once", "--dry-run")
    assert dry.wait(30) == 0, dry.logs()
    assert printed(dry.stdout) == log
    assert "301 events of " in dry.stderr
    assert "a million such events: " in dry.stderr
    assert not stack.counters(name)
    assert not stack.committed(topic)
    assert not stack.letters(topic)

    running = stack.run(topic, [name])
    stack.wait_counted(log, name)
    before = running.stderr.count('"assigned"') + running.stderr.count('"revoked"')
    dry = stack.run(topic, [name], "--dry-run")
    dry.wait_for("started")
    log.update(stack.produce(topic, [Event(name, "later", "1")] * 50))
    stack.wait_counted(log, name)
    dry.wait_for('"later"')
    dry.signal(15)
    assert dry.wait() == 0
    assert running.stderr.count('"assigned"') + running.stderr.count('"revoked"') == before
    running.signal(15)
    assert running.wait() == 0, running.logs()
    assert stack.counters(name) == log


def printed(text: str) -> Log:
    log: Log = Counter()
    for line in text.splitlines():
        row = json.loads(line)
        log[row["table"], row["key"], row["range"], row["counter"]] += row["incr"]
    return log


def test_init_can_be_repeated_and_what_it_made_can_be_used(stack: Stack, table: Table) -> None:
    topic, name, listed = unique("events"), unique("table"), table("N")
    tables = ["--table", name, "--table", listed]
    if stack.name == "embedded":  # the mock cluster makes no topics by request
        topic = stack.topic(2)
    else:
        stack.topics += [topic, f"{topic}.dlq"]
    commands = [
        ["init", "-t", topic, "--wait", "30", "--create-tables", *tables],
        ["init", "-t", topic, *tables],
    ]
    printed = []
    for command in commands:
        child = stack.spawn(*command, env=stack.env())
        assert child.wait(40) == 0, child.logs()
        printed.append(child.stdout)
    try:
        assert f"table {name}: created, keys pk (S)" in printed[0]
        assert f"table {name}: exists, keys pk (S)" in printed[1]
        assert printed[1].count("exists") == 4
        assert f"table {listed}: exists, keys pk (N)" in printed[0]
        log = stack.produce(topic, [Event(name, "k"), Event(listed, "5")])
        stack.drain(topic, [name, listed])
        assert stack.counters(name, listed) == log
    finally:
        stack.client.delete_table(TableName=name)


def test_rows_of_kcat_are_counted(stack: Stack, table: Table, tmp_path: Path) -> None:
    kcat = shutil.which("kcat")
    if kcat is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI=true, but no kcat command: install the package kcat", pytrace=False)
        pytest.skip("no kcat command: install the package kcat")
    topic, name, payload = stack.topic(2), table(), tmp_path / "row.avro"
    payload.write_bytes(avro(Event(name, "from kcat", incr=300)))
    for _ in range(2):
        command = [kcat, "-P", "-b", stack.bootstrap_servers, "-t", topic, "-k", "k", str(payload)]
        assert stack.spawn.command(command, env=stack.env()).wait() == 0
    stack.drain(topic, [name])
    assert stack.counters(name) == {(name, "from kcat", None, "count"): 600}
