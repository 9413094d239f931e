"""``lag``, ``top`` and ``offsets`` against real groups: behind, running, stuck, and put right."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.operations.lag import lag
from dynatomic.operations.offset_plan import Target
from dynatomic.operations.reset_offsets import ResetOptions, reset_offsets
from dynatomic.operations.top import top
from tests.e2e.conftest import Table
from tests.e2e.test_topic_made_again import made_again
from tests.e2e.test_verify import delete_before
from tests.support.children import REPOSITORY
from tests.support.events import Event, avro
from tests.support.live_load import Load
from tests.support.names import unique
from tests.support.stack import Stack
from tests.support.waiting import wait_until

ONCE = ("--processing-guarantee", "exactly-once")
REAL = pytest.mark.parametrize("stack", ["real"], indirect=True)
EXECUTE = ResetOptions(execute=True)
EARLIEST = ResetOptions(Target(earliest=True), execute=True)

Out = pytest.CaptureFixture[str]

TOP = """
import sys
from dynatomic.config.settings import Settings
from dynatomic.operations.top import top
top(Settings(bootstrap_servers=sys.argv[1], topic=sys.argv[2], group_id=sys.argv[2]))
"""


def settings_of(stack: Stack, topic: str, **more: Any) -> Settings:
    return Settings(
        bootstrap_servers=stack.bootstrap_servers, topic=topic, **({"group_id": topic} | more)
    )


def rows_of(stack: Stack, topic: str, capsys: Out, **more: Any) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert lag(settings_of(stack, topic, **more), "json") == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


def produce(stack: Stack, topic: str, table: str, count: int, partition: int = 0) -> Any:
    return stack.produce(topic, [Event(table, f"k{n % 4}") for n in range(count)], partition)


@pytest.mark.parametrize(
    ("stack", "protocol"),
    [("real", "classic"), ("real", "consumer"), ("embedded", "classic")],
    indirect=["stack"],
)
def test_behind_and_caught_up(stack: Stack, table: Table, protocol: str, capsys: Out) -> None:
    topic, name = stack.topic(2), table()
    how = ("--group-protocol", protocol)
    log = produce(stack, topic, name, 10)
    stack.drain(topic, [name], *how)
    log += produce(stack, topic, name, 7)
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
        assert first["client_id"] == "dynatomic"
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
    produce(stack, topic, name, 7, 0)
    stack.drain(topic, [name])
    produce(stack, topic, name, 5, 0)
    produce(stack, topic, name, 2, 1)
    config = {"bootstrap.servers": stack.bootstrap_servers, "enable.auto.commit": False}
    member = Consumer({**config, "group.id": topic})
    try:
        member.subscribe([topic])
        wait_until(lambda: member.poll(0.1) is not None, "it is a member, and reads")
        asked = ["--bootstrap-server", stack.bootstrap_servers, "--describe", "--group", topic]
        printed = subprocess.run([tool, *asked], capture_output=True, text=True, check=True).stdout
        assert lag(settings_of(stack, topic)) == 0
    finally:
        member.close()
    theirs, mine = (
        {tuple(line.split()[:9]) for line in text.splitlines() if line.startswith(topic)}
        for text in (printed, capsys.readouterr().out)
    )
    assert len(mine) == 3
    assert mine == theirs


def test_a_group_that_does_not_exist(stack: Stack, table: Table, capsys: Out) -> None:
    topic = stack.topic()
    produce(stack, topic, table(), 3)
    assert lag(settings_of(stack, topic, group_id=unique("nobody"))) == 0
    found = capsys.readouterr()
    _, row = found.out.splitlines()
    assert row.split()[2:6] == ["0", "-", "3", "-"]
    if stack.name == "real":
        assert "does not exist" in found.err


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
    _, _, _, consumed, produced, _ = total.split()
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


@REAL
def test_after_retention_the_plan_lets_the_group_go_on(
    stack: Stack, table: Table, capsys: Out
) -> None:
    topic, name = stack.topic(), table()
    log = produce(stack, topic, name, 4)
    stack.drain(topic, [name])
    produce(stack, topic, name, 6)
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
    assert "skips nothing that is left" in fixed.stdout
    assert stack.committed(topic) == {0: 8}
    stack.drain(topic, [name])
    for key in ("k0", "k1"):
        log[name, key, None, "count"] += 1
    assert stack.counters(name) == log
    assert rows_of(stack, topic, capsys)[0]["lag"] == 0


@REAL
def test_a_topic_made_again(stack: Stack, table: Table, capsys: Out) -> None:
    topic, name, count = stack.topic(), table(), 30
    log = produce(stack, topic, name, 10)
    stack.drain(topic, [name], *ONCE)
    stale = stack.committed_with_metadata(topic)
    made_again(stack, topic)
    log += produce(stack, topic, name, count)
    stack.commit(topic, stale)  # the brokers forget it with the topic; a mirror may not
    assert stack.run(topic, [name], "--once", *ONCE).wait() == 1
    (row,) = rows_of(stack, topic, capsys)
    assert (row["lag"], row["note"]) == (
        None,
        f"committed in another topic of this name, id {stale[1]}",
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
    log = produce(stack, topic, name, 20, 0) + produce(stack, topic, name, 8, 1)
    stack.drain(topic, [name], *how)
    before = stack.committed_with_metadata(topic)
    settings = settings_of(stack, topic, processing_guarantee=guarantee, group_protocol=protocol)
    assert reset_offsets(settings, EARLIEST) == 0
    said = capsys.readouterr().out
    assert "reads up to 20 events again" in said
    twice = guarantee == "at-least-once"
    assert ("count twice" in said.splitlines()[3]) == twice or not twice
    assert stack.committed_with_metadata(topic) == (0, before[1])
    assert stack.committed(topic, zeros=True) == {0: 0, 1: 0}
    stack.drain(topic, [name], *how)
    assert stack.counters(name) == (log + log if twice else log)


@REAL
def test_going_on_at_the_end_skips_what_the_plan_says(
    stack: Stack, table: Table, capsys: Out
) -> None:
    topic, name = stack.topic(), table()
    log = produce(stack, topic, name, 5)
    stack.drain(topic, [name])
    produce(stack, topic, name, 100)
    settings = settings_of(stack, topic)
    latest = ResetOptions(Target(latest=True), (0,), execute=True)
    assert reset_offsets(settings, latest) == 0
    assert "skips up to 100 events" in capsys.readouterr().out
    log += produce(stack, topic, name, 3)
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
    log = produce(stack, topic, name, 10)
    stack.wait_counted(log, name)
    wait_until(lambda: stack.committed(topic).get(0) == 10, "it is committed")
    settings = settings_of(stack, topic, group_protocol=protocol)
    assert reset_offsets(settings, ResetOptions(Target(earliest=True))) == 0
    if stack.name == "real":
        assert "the group is active (stable, 1 members)" in capsys.readouterr().out
    with pytest.raises(UnavailableError, match="is active"):
        reset_offsets(settings, EARLIEST)
    assert stack.committed(topic)[0] == 10
    log += produce(stack, topic, name, 10)
    stack.wait_counted(log, name)
    child.signal(15)
    assert child.wait() == 0, child.logs()
    assert stack.counters(name) == log
    assert reset_offsets(settings, EARLIEST) == 0


def test_nothing_committed_where_that_is_an_error(stack: Stack, table: Table) -> None:
    topic, name = stack.topic(), table()
    log = produce(stack, topic, name, 10)
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
    assert "nothing is as new" in capsys.readouterr().out


@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_brokers_without_offsets_by_time_say_so(stack: Stack, table: Table) -> None:
    topic = stack.topic()
    produce(stack, topic, table(), 3)
    target = Target(at=datetime.fromtimestamp(time.time() - 3600, UTC))
    with pytest.raises(ConfigError, match="use --to-offset"):
        reset_offsets(settings_of(stack, topic), ResetOptions(target))


def test_an_offset_beyond_the_end_needs_a_choice(stack: Stack, table: Table) -> None:
    topic = stack.topic()
    produce(stack, topic, table(), 3)
    settings = settings_of(stack, topic)
    stack.commit(topic, (50, ""))
    with pytest.raises(DynatomicError, match="50 is 47 beyond the end"):
        reset_offsets(settings, EXECUTE)
    assert stack.committed(topic) == {0: 50}
    assert reset_offsets(settings, ResetOptions(Target(offset=2), execute=True)) == 0
    assert stack.committed(topic) == {0: 2}
