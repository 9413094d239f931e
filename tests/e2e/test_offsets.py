"""``offsets`` against real groups: the plan, and what the group does after it."""

import re
import shlex
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import Producer

from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.kafka.commit_metadata import parse
from dynatomic.operations.offset_plan import Target
from dynatomic.operations.reset_offsets import ResetOptions, reset_offsets
from tests.support.events import Event, avro
from tests.support.operator_calls import (
    EARLIEST,
    EXECUTE,
    ONCE,
    Out,
    produce_events,
    rows_of,
    settings_of,
)
from tests.support.stack import REAL, Stack, made_again
from tests.support.tables import Table
from tests.support.verifying import delete_before
from tests.support.waiting import wait_until


@REAL
def test_after_retention_the_plan_lets_the_group_go_on(
    stack: Stack, table: Table, capsys: Out
) -> None:
    topic, name = stack.topic(), table()
    log = produce_events(stack, topic, name, 4)
    stack.drain(topic, [name])
    produce_events(stack, topic, name, 6)
    delete_before(stack, topic, {0: 8})
    child = stack.run(topic, [name], "--once")
    assert child.wait() == 1
    assert "no longer has the committed offset 4" in child.stderr
    (row,) = rows_of(stack, topic, capsys)
    assert (row["lag"], row["note"]) == (6, "retention removed offsets 4 to 7")

    # The message ends with the command that resolves it.
    (fix,) = set(re.findall(r"then `dynatomic ([^`]*)`", child.stderr))
    fixed = stack.spawn(*shlex.split(fix), env=stack.env())
    assert fixed.wait() == 0, fixed.logs()
    assert "loses up to 4 events" in fixed.stdout
    assert stack.committed(topic) == {0: 8}
    stack.drain(topic, [name])
    for key in ("k0", "k1"):
        log[name, key, None, "count"] += 1
    assert stack.counters(name) == log
    assert rows_of(stack, topic, capsys)[0]["lag"] == 0


@REAL
def test_a_topic_made_again(stack: Stack, table: Table, capsys: Out) -> None:
    topic, name, count = stack.topic(), table(), 30
    log = produce_events(stack, topic, name, 10)
    stack.drain(topic, [name], *ONCE)
    stale = stack.committed_with_metadata(topic)
    made_again(stack, topic)
    log += produce_events(stack, topic, name, count)
    stack.commit(topic, stale)  # the brokers forget it with the topic; a mirror may not
    assert stack.run(topic, [name], "--once", *ONCE).wait() == 1
    (row,) = rows_of(stack, topic, capsys)
    assert (row["lag"], row["note"]) == (
        None,
        f"committed in another topic of this name, id {parse(stale[1]).topic_id}",
    )
    settings = settings_of(stack, topic, processing_guarantee="exactly-once")
    assert reset_offsets(settings, ResetOptions()) == 0
    assert f"reads up to {count} events" in capsys.readouterr().out
    assert stack.committed_with_metadata(topic) == stale
    assert reset_offsets(settings, EXECUTE) == 0
    offset, about = stack.committed_with_metadata(topic)
    assert offset == 0
    assert about not in ("", stale[1])
    stack.drain(topic, [name], *ONCE)
    assert stack.counters(name) == log


@pytest.mark.parametrize(
    ("stack", "protocol", "guarantee"),
    [
        ("real", "classic", "at-least-once"),
        ("real", "consumer", "exactly-once"),
        ("embedded", "classic", "exactly-once"),
    ],
    indirect=["stack"],
)
def test_going_back_does_what_the_plan_says(
    stack: Stack, table: Table, protocol: str, guarantee: Any, capsys: Out
) -> None:
    topic, name = stack.topic(2), table()
    how = ("--processing-guarantee", guarantee, "--group-protocol", protocol)
    log = produce_events(stack, topic, name, 20, 0) + produce_events(stack, topic, name, 8, 1)
    stack.drain(topic, [name], *how)
    before = stack.committed_with_metadata(topic)
    settings = settings_of(stack, topic, processing_guarantee=guarantee, group_protocol=protocol)
    assert reset_offsets(settings, EARLIEST) == 0
    said = capsys.readouterr().out
    assert "reads up to 20 events again" in said
    twice = guarantee == "at-least-once"
    assert ("count twice" in said.splitlines()[3]) == twice or not twice
    offset, about = stack.committed_with_metadata(topic)
    assert (offset, parse(about).topic_id) == (0, parse(before[1]).topic_id)
    assert stack.committed(topic, zeros=True) == {0: 0, 1: 0}
    stack.drain(topic, [name], *how)
    assert stack.counters(name) == (log + log if twice else log)


@REAL
def test_going_on_at_the_end_skips_what_the_plan_says(
    stack: Stack, table: Table, capsys: Out
) -> None:
    topic, name = stack.topic(), table()
    log = produce_events(stack, topic, name, 5)
    stack.drain(topic, [name])
    produce_events(stack, topic, name, 100)
    settings = settings_of(stack, topic)
    latest = ResetOptions(Target(latest=True), (0,), execute=True)
    assert reset_offsets(settings, latest) == 0
    assert "skips up to 100 events" in capsys.readouterr().out
    log += produce_events(stack, topic, name, 3)
    stack.drain(topic, [name])
    assert stack.counters(name) == log


@pytest.mark.parametrize(
    ("stack", "protocol"),
    [("real", "classic"), ("real", "consumer"), ("embedded", "classic")],
    indirect=["stack"],
)
def test_a_running_group_is_left_alone(
    stack: Stack, table: Table, protocol: str, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setattr("dynatomic.operations.reset_offsets.JOIN_S", 3.0)
    topic, name = stack.topic(2), table()
    child = stack.run(topic, [name], *ONCE, "--group-protocol", protocol)
    log = produce_events(stack, topic, name, 10)
    stack.wait_counted(log, name)
    wait_until(lambda: stack.committed(topic).get(0) == 10, "it is committed")
    settings = settings_of(stack, topic, group_protocol=protocol)
    assert reset_offsets(settings, ResetOptions(Target(earliest=True))) == 0
    if stack.name == "real":
        assert "the group is active (stable, 1 members)" in capsys.readouterr().out
    with pytest.raises(UnavailableError, match="is active"):
        reset_offsets(settings, EARLIEST)
    assert stack.committed(topic)[0] == 10
    log += produce_events(stack, topic, name, 10)
    stack.wait_counted(log, name)
    child.signal(15)
    assert child.wait() == 0, child.logs()
    assert stack.counters(name) == log
    assert reset_offsets(settings, EARLIEST) == 0


def test_nothing_committed_where_that_is_an_error(stack: Stack, table: Table) -> None:
    topic, name = stack.topic(), table()
    log = produce_events(stack, topic, name, 10)
    how = ("-X", "auto.offset.reset=error")
    child = stack.run(topic, [name], "--once", *how)
    assert child.wait() == 1
    assert "auto.offset.reset is error" in child.stderr
    settings = settings_of(stack, topic, librdkafka={"auto.offset.reset": "error"})
    assert reset_offsets(settings, EXECUTE) == 0
    stack.drain(topic, [name], *how)
    assert stack.counters(name) == log


@REAL
def test_by_time(stack: Stack, table: Table, capsys: Out) -> None:
    topic, name = stack.topic(2), table()
    # Recent: a broker deletes what its retention, by default a week, has passed.
    begin = int(time.time()) - 3600
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    for second in range(10):
        made = (begin + second) * 1000
        producer.produce(topic, avro(Event(name, "a")), partition=0, timestamp=made)
    producer.flush()
    stack.drain(topic, [name])
    settings = settings_of(stack, topic)
    at = datetime.fromtimestamp(begin + 3.5, UTC)
    assert reset_offsets(settings, ResetOptions(Target(at=at), execute=True)) == 0
    assert stack.committed(topic)[0] == 4
    at = datetime.fromtimestamp(begin + 60, UTC)
    assert reset_offsets(settings, ResetOptions(Target(at=at), execute=True)) == 0
    assert stack.committed(topic)[0] == 10
    assert "no event has this time or a later one" in capsys.readouterr().out


@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_brokers_without_offsets_by_time_say_so(stack: Stack, table: Table) -> None:
    topic = stack.topic()
    produce_events(stack, topic, table(), 3)
    target = Target(at=datetime.fromtimestamp(time.time() - 3600, UTC))
    with pytest.raises(ConfigError, match="use --to-offset"):
        reset_offsets(settings_of(stack, topic), ResetOptions(target))


def test_an_offset_beyond_the_end_needs_a_choice(stack: Stack, table: Table) -> None:
    topic = stack.topic()
    produce_events(stack, topic, table(), 3)
    settings = settings_of(stack, topic)
    stack.commit(topic, (50, ""))
    with pytest.raises(DynatomicError, match="50: 47 beyond the end"):
        reset_offsets(settings, EXECUTE)
    assert stack.committed(topic) == {0: 50}
    assert reset_offsets(settings, ResetOptions(Target(offset=2), execute=True)) == 0
    assert stack.committed(topic) == {0: 2}
