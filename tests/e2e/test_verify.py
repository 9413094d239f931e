"""``dynatomic verify`` beside real consumers: right, wrong, moving, too late, and not idle."""

import json
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.verify.command import VerifyOptions
from dynatomic.verify.command import verify as compare
from dynatomic.verify.comparison import Comparison
from dynatomic.verify.report import VerifyReport
from tests.support.events import Event, Log
from tests.support.live_load import Load
from tests.support.stack import REAL, Stack
from tests.support.tables import Table
from tests.support.verifying import EXACTLY_ONCE, WORDS, add, delete_before, ok, verify


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_after_a_run_it_says_ok_and_afterwards_finds_what_was_changed(
    stack: Stack, table: Table, guarantee: str
) -> None:
    topic, names = stack.topic(3), [table(), table("N", "S")]
    how = ("--processing-guarantee", guarantee)
    events = [Event(names[0], f"k{n % 97}", incr=n) for n in range(2_000)]
    events += [Event(names[0], f"k{n % 7}", None, "views") for n in range(100)]
    events += [Event(names[1], f"{n % 5}.0", "r", incr=-n) for n in range(300)]
    log: Log = Counter()
    for number in range(3):  # most counters are in all partitions
        log.update(stack.produce(topic, events[number::3], number))
    stack.produce_raw(topic, [{"value": b"not a row"}] * 2)
    stack.drain(topic, names, *how)
    log = Counter({(t, k.removesuffix(".0"), r, c): n for (t, k, r, c), n in log.items()})

    found = verify(stack, topic, names, *how).stdout.splitlines()
    assert found[:3] == [
        ok(log),
        "dead letters, not counted: 2",
        "2 events wait as dead letters, sum 0; 2 of them contain no row",
    ]
    verify(stack, topic, names, *how, "--strict", code=1)

    add(stack, names[0], "k1", 1)
    add(stack, names[0], "k2", -1, "views")
    stack.client.delete_item(TableName=names[1], Key={"pk": {"N": "3"}, "rk": {"S": "r"}})
    wrong = verify(stack, topic, names, *how, "--limit", "2", code=1).stdout.splitlines()
    total = log.total()
    gone = log[names[1], "3", "r", "count"]
    assert wrong[0] == (
        f"DIFFERENT  3 of {len(log)} counters, sum in topic {total:,}, in table {total - gone:,}"
    )
    assert wrong[1].split() == WORDS
    assert wrong[2].split()[:3] == [names[1], "3/r", "count"]
    assert "missing item" in wrong[2]
    assert wrong[4] == "and 1 more: increase --limit, or use -o json"

    told = json.loads(verify(stack, topic, names, *how, "-o", "json", code=1).stdout)
    differences = {(d["key"], d["counter"]): d["difference"] for d in told["differences"]}
    assert differences == {("k1", "count"): 1, ("k2", "views"): -1, ("3", "count"): -gone}
    assert told["rejected"] == 2
    assert all(d["partitions"] for d in told["differences"])


@REAL
def test_a_sample_is_told_with_its_seed_and_can_be_repeated(stack: Stack, table: Table) -> None:
    topic, name = stack.topic(2), table()
    stack.produce(topic, [Event(name, f"k{n}", incr=n) for n in range(500)])
    stack.drain(topic, [name])
    first = verify(stack, topic, [name], "--sample", "20").stdout.splitlines()
    assert first[0].startswith("OK  20 counters, sum ")
    (told,) = [line for line in first if line.startswith("a sample")]
    seed = told.rpartition(" ")[2]
    again = verify(stack, topic, [name], "--sample", "20", "--seed", seed).stdout.splitlines()
    assert again == first


@REAL
def test_exactly_once_is_ok_at_any_moment_while_consumers_run_and_die(
    stack: Stack, table: Table
) -> None:
    topic, name = stack.topic(4), table()
    consumers = [stack.run(topic, [name], *EXACTLY_ONCE) for _ in range(2)]
    with Load(stack, topic, name, 4) as load:
        stack.wait_more(name)
        for turn in range(8):
            found = verify(stack, topic, [name], *EXACTLY_ONCE).stdout
            assert found.startswith("OK  "), found
            if turn == 3:
                consumers.pop().kill()
                consumers.append(stack.run(topic, [name], *EXACTLY_ONCE))
    stack.wait_counted(load.log, name, seconds=60)
    for consumer in consumers:
        consumer.signal(15)
        assert consumer.wait() == 0, consumer.logs()
    assert verify(stack, topic, [name], *EXACTLY_ONCE).stdout.splitlines() == [ok(load.log)]
    assert stack.counters(name) == load.log
    add(stack, name, "1-3", 1)
    found = verify(stack, topic, [name], *EXACTLY_ONCE, code=1).stdout
    assert "DIFFERENT  1 of 40 counters" in found


@REAL
def test_a_baseline_carries_over_a_switch_to_exactly_once(
    stack: Stack, table: Table, tmp_path: Path
) -> None:
    topic, name, file = stack.topic(2), table(), str(tmp_path / "base.jsonl")
    add(stack, name, "k1", 1_000)  # before the topic began
    log = stack.produce(topic, [Event(name, f"k{n % 9}") for n in range(200)])
    stack.drain(topic, [name])
    verify(stack, topic, [name], code=1)
    taken = verify(stack, topic, [name], "--snapshot", file).stdout.splitlines()
    assert taken[0] == "9 counters, sum 1,200; nothing was compared"
    assert taken[-1] == f"snapshot {file}: written"
    log.update(stack.produce(topic, [Event(name, f"k{n % 11}", incr=2) for n in range(300)]))
    stack.drain(topic, [name], *EXACTLY_ONCE)
    log[name, "k1", None, "count"] += 1_000
    again = verify(
        stack, topic, [name], *EXACTLY_ONCE, "--baseline", file, "--snapshot", file, "--force"
    )
    assert again.stdout.splitlines()[0] == ok(log)
    assert verify(stack, topic, [name], "--baseline", file).stdout.splitlines()[0] == ok(log)


@REAL
def test_what_retention_removed_is_refused_and_a_baseline_answers(
    stack: Stack, table: Table, tmp_path: Path
) -> None:
    topic, name, file = stack.topic(2), table(), str(tmp_path / "base.jsonl")
    log = stack.produce(topic, [Event(name, f"k{n % 9}") for n in range(200)])
    stack.drain(topic, [name], *EXACTLY_ONCE)
    verify(stack, topic, [name], *EXACTLY_ONCE, "--snapshot", file)
    ends = stack.ends(topic)
    delete_before(stack, topic, ends)
    refused = verify(stack, topic, [name], *EXACTLY_ONCE, code=78).stderr
    assert f"partition 0 of {topic} begins at offset {ends[0]}" in refused
    assert "--baseline FILE" in refused
    assert verify(stack, topic, [name], *EXACTLY_ONCE, "--baseline", file).stdout == ok(log) + "\n"
    log.update(stack.produce(topic, [Event(name, f"k{n % 12}") for n in range(100)]))
    stack.drain(topic, [name], *EXACTLY_ONCE)
    assert verify(stack, topic, [name], *EXACTLY_ONCE, "--baseline", file).stdout == ok(log) + "\n"
    delete_before(stack, topic, {0: ends[0] + 1})
    refused = verify(stack, topic, [name], *EXACTLY_ONCE, "--baseline", file, code=78).stderr
    assert "use a newer one" in refused


@REAL
@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_the_first_baseline_has_what_retention_removed_before_it(
    stack: Stack, table: Table, tmp_path: Path, guarantee: str
) -> None:
    topic, name, how = stack.topic(1), table("N", "S"), ("--processing-guarantee", guarantee)
    first, second = str(tmp_path / "first.jsonl"), str(tmp_path / "second.jsonl")
    log = stack.produce(topic, [Event(name, f"{n}", "r", incr=100) for n in range(5)])
    stack.drain(topic, [name], *how)
    delete_before(stack, topic, {0: 4})
    taken = verify(stack, topic, [name], *how, "--snapshot", first).stdout.splitlines()
    assert taken[0] == "1 counter, sum 100; nothing was compared"
    assert taken[1] == "the snapshot also contains 4 items that the topic does not name"
    log.update(stack.produce(topic, [Event(name, "0", "r", incr=7)]))
    stack.drain(topic, [name], *how)
    known = Counter({ref: n for ref, n in log.items() if ref[1] in ("0", "4")})
    wanted = verify(stack, topic, [name], *how, "--baseline", first, "--snapshot", second)
    assert wanted.stdout.splitlines()[0] == ok(known)
    log.update(stack.produce(topic, [Event(name, f"{n}", "r") for n in range(5)]))
    stack.drain(topic, [name], *how)
    assert verify(stack, topic, [name], *how, "--baseline", second).stdout == ok(log) + "\n"


@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_what_is_found_while_a_topic_is_made_again_is_not_believed(
    stack: Stack, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in stack.env().items():
        monkeypatch.setenv(variable, value)
    ids = iter(["1" * 32, "2" * 32])
    monkeypatch.setattr("dynatomic.verify.command.topic_id", lambda *_: next(ids))

    def run(_: Comparison) -> VerifyReport:
        raise ConfigError("retention removed events: they were another topic's")

    monkeypatch.setattr(Comparison, "run", run)
    settings = Settings(
        bootstrap_servers=stack.bootstrap_servers, topic=stack.topic(), tables=(table(),)
    )
    with pytest.raises(UnavailableError, match="again while it was read"):
        compare(settings, stack.endpoint_url, VerifyOptions())


@REAL
def test_a_topic_made_again_is_not_the_baselines(
    stack: Stack, table: Table, tmp_path: Path
) -> None:
    topic, name, file = stack.topic(1), table(), str(tmp_path / "base.jsonl")
    stack.produce(topic, [Event(name, "a")] * 3)
    stack.drain(topic, [name], *EXACTLY_ONCE)
    verify(stack, topic, [name], *EXACTLY_ONCE, "--snapshot", file)
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers, "log_level": 0})
    admin.delete_topics([topic])[topic].result(30)
    stack.create(topic, 1)
    refused = verify(stack, topic, [name], *EXACTLY_ONCE, "--baseline", file, code=78).stderr
    assert "it was deleted and made again" in refused


@REAL
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_at_least_once_says_that_the_group_is_not_idle(
    stack: Stack, table: Table, protocol: str
) -> None:
    topic, name = stack.topic(2), table()
    log = stack.produce(topic, [Event(name, f"k{n % 9}") for n in range(200)])
    stack.drain(topic, [name])
    consumer = stack.run(topic, [name], "--group-protocol", protocol, "--window-ms", "60000")
    consumer.wait_for('"assigned"')
    assert verify(stack, topic, [name]).stdout == ok(log) + "\n"  # a member, with nothing to count
    log.update(stack.produce(topic, [Event(name, f"k{n % 9}") for n in range(200)]))
    busy = verify(stack, topic, [name], code=75).stderr
    assert "is not idle (it has 1 members, and events to count)" in busy
    consumer.signal(15)
    assert consumer.wait() == 0
    idle = verify(stack, topic, [name]).stdout
    assert idle == ok(log) + "\n"
