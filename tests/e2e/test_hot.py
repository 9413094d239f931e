"""``hot`` on real events: the busiest counters, and only of the last minutes."""

import json
import time

from tests.support.events import Event, avro
from tests.support.stack import Stack
from tests.support.tables import Table


def hot(stack: Stack, topic: str, table: str, *flags: str) -> str:
    """Run the command and return what it prints."""
    child = stack.spawn("hot", "-t", topic, "-g", topic, "--table", table, *flags, env=stack.env())
    assert child.wait(60) == 0, child.logs()
    return child.stdout


def test_the_busiest_counters_of_the_last_minutes_are_printed(stack: Stack, table: Table) -> None:
    topic, name = stack.topic(2), table()
    old = {"value": avro(Event(name, "old")), "timestamp": int((time.time() - 7200) * 1000)}
    stack.produce_raw(topic, [old] * 50, 0)
    stack.produce(topic, [Event(name, "busy", incr=3)] * 30, 0)
    stack.produce(topic, [Event(name, "calm")] * 5, 1)
    stack.produce_raw(topic, [{"value": b"no row"}], 1)
    printed = hot(stack, topic, name, "-n", "2", "--minutes", "60", "-o", "json")
    busy, second = map(json.loads, printed.splitlines())
    if stack.name == "real":
        assert (busy["key"], busy["events"], busy["sum"]) == ("busy", 30, 90)
        assert (second["key"], second["events"]) == ("calm", 5)
    else:  # the mock cluster has no offsets by time, so the whole topic is read
        assert [busy["key"], second["key"]] == ["old", "busy"]
    said = hot(stack, topic, name, "-n", "1", "--minutes", "60")
    assert f"{name}/{'busy' if stack.name == 'real' else 'old'}" in said
    assert "1 of them cannot be counted" in said
    assert max(map(len, said.splitlines())) <= 80
    assert stack.committed(topic) == {}
