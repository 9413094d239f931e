"""JSON events of a counters file, counted by real consumers, and proved by `verify`."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.names import unique
from tests.support.stack import REAL, Stack
from tests.support.waiting import wait_until

FILE = """
[event]
time = "time"

[[counter]]
name = "daily"
when = "status < `500`"
table = "USAGE"
key = "{tenant}"
range = "day#{time|day}"
add = { requests = 1, bytes = "bytes" }
expires = "400d"

[[counter]]
name = "routes"
table = "USAGE"
key = "{tenant}"
range = "month#{time|month}#{route}"
add = { requests = 1 }
"""

TENANTS = """
[[counter]]
name = "tenants"
table = "TOTALS"
key = "{tenant}"
add = { requests = 1 }
"""

Values = Counter[tuple[str, str, str]]
"""Numbers by key, range and attribute."""


class Declared:
    """A topic of JSON events, a counters file, and tables that `init` made for it."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.topic = stack.topic(2)
        self.tables = {"USAGE": unique("usage"), "TOTALS": unique("totals")}
        self.file = folder / "counters.toml"
        self.expected: Values = Counter()

    def declare(self, text: str) -> None:
        """Write the file, and let `init` make its tables."""
        for placeholder, name in self.tables.items():
            text = text.replace(placeholder, name)
        self.file.write_text(text)
        self.command("init", "--create-tables")

    def command(self, *arguments: str, counters: bool = True) -> str:
        """Run a command on the topic, with the file; return what it prints."""
        command = [*arguments, "-t", self.topic]
        if arguments[:2] != ("dlq", "show"):
            command += ["-g", self.topic]
        if counters:
            command += ["--counters", str(self.file)]
        child = self.stack.spawn(*command, env=self.stack.env())
        assert child.wait(60) == 0, child.logs()
        return child.stdout + child.stderr

    def emit(self, count: int, **fields: Any) -> None:
        """Produce events of ten tenants in thirty days, and keep what they add."""
        events = [
            {
                "time": f"2026-11-{1 + n % 30:02d}T00:00:00Z",
                "tenant": f"c-{n % 10}",
                "status": 500 if n % 7 == 0 else 200,
                "bytes": n,
                "route": "/v1/x",
                "id": n,
            }
            | fields
            for n in range(count)
        ]
        for event in events:
            day, tenant = event["time"][:10], event["tenant"]
            if event["status"] < 500:
                self.expected[tenant, f"day#{day}", "requests"] += 1
                self.expected[tenant, f"day#{day}", "bytes"] += event["bytes"]
            month = f"month#{day[:7]}#{event['route'].replace('#', '%23')}"
            self.expected[tenant, month, "requests"] += 1
        self.stack.produce_raw(
            self.topic,
            [{"value": json.dumps(e).encode(), "key": e["tenant"].encode()} for e in events],
        )

    def run(self, *arguments: str) -> Any:
        """Start a consumer."""
        more = ["--counters", str(self.file), "--processing-guarantee", "exactly-once"]
        return self.stack.run(self.topic, [], *more, *arguments)

    def drain(self) -> None:
        """Count to the end of the topic."""
        child = self.run("--once")
        assert child.wait(60) == 0, child.logs()

    def values(self, table: str = "USAGE") -> Values:
        """Return the counters of a table."""
        found: Values = Counter()
        pages = self.stack.client.get_paginator("scan").paginate(
            TableName=self.tables[table], ConsistentRead=True
        )
        for page in pages:
            for item in page["Items"]:
                key, range_ = (item.get(name, {"S": ""})["S"] for name in ("pk", "rk"))
                for name, value in item.items():
                    if "N" in value and name in ("requests", "bytes"):
                        found[str(key), str(range_), name] += int(value["N"])
        return found

    def verify(self) -> str:
        """Return what `verify` prints; it must say OK."""
        return self.command("verify", "--processing-guarantee", "exactly-once")


@pytest.fixture
def declared(stack: Stack, tmp_path: Path) -> Declared:
    return Declared(stack, tmp_path)


@REAL
def test_json_events_are_counted_exactly_whatever_is_killed(declared: Declared) -> None:
    declared.declare(FILE)
    declared.emit(3_000)
    first, second = declared.run(), declared.run()
    wait_until(lambda: declared.values().total() > 0, "something is counted")
    first.signal(signal.SIGKILL)
    declared.emit(2_000)
    wait_until(lambda: declared.values() == declared.expected, "all is counted")
    second.signal(signal.SIGTERM)
    assert second.wait(30) == 0, second.logs()
    assert "OK" in declared.verify()
    (item,) = declared.stack.client.query(
        TableName=declared.tables["USAGE"],
        KeyConditionExpression="pk = :p AND rk = :r",
        ExpressionAttributeValues={":p": {"S": "c-1"}, ":r": {"S": "day#2026-11-02"}},
    )["Items"]
    assert int(item["expires_at"]["N"]) == 1_793_664_000 + 400 * 86_400


@REAL
def test_a_new_counter_is_filled_by_a_rewind_and_verified(declared: Declared) -> None:
    declared.declare(FILE)
    declared.emit(2_000)
    declared.drain()
    assert declared.values() == declared.expected
    shown = declared.command("explain", "--from-topic", "-n", "3")
    assert "3 events: 3 counted" in shown
    declared.declare(FILE + TENANTS)
    declared.emit(500)
    refused = declared.run("--once")
    assert refused.wait(60) == 78, refused.logs()
    assert "start once with --accept-counters" in refused.stderr
    declared.command("offsets", "--to-earliest", "--execute", counters=False)
    accepted = declared.run("--once", "--accept-counters")
    assert accepted.wait(60) == 0, accepted.logs()
    assert declared.values() == declared.expected, "the fences hide what the old items have"
    assert declared.values("TOTALS") == {(f"c-{n}", "", "requests"): 250 for n in range(10)}
    assert "OK" in declared.verify()
    declared.emit(100)
    declared.drain()
    assert "OK" in declared.verify()


@REAL
def test_a_new_attribute_of_old_items_cannot_be_filled(declared: Declared) -> None:
    declared.declare(FILE)
    declared.emit(300)
    declared.drain()
    declared.declare(FILE.replace("add = { requests = 1 }", "add = { requests = 1, hits = 1 }"))
    declared.command("offsets", "--to-earliest", "--execute", counters=False)
    tried = declared.run("--once", "--accept-counters")
    assert tried.wait(60) == 78, tried.logs()
    assert "counter routes: hits cannot be filled" in tried.stderr
    assert declared.values() == declared.expected


@REAL
def test_only_the_counters_that_a_table_refused_are_replayed(declared: Declared) -> None:
    declared.declare(FILE)
    item = {"pk": {"S": "c-1"}, "rk": {"S": "day#2026-11-02"}}
    table = declared.tables["USAGE"]
    declared.stack.client.put_item(TableName=table, Item=item | {"bytes": {"S": "many"}})
    declared.emit(600)
    declared.drain()
    missing = declared.expected - declared.values()
    assert missing.keys() == {("c-1", "day#2026-11-02", "bytes")}
    verdict = declared.verify()
    assert "OK" in verdict
    assert "wait as dead letters" in verdict
    assert "only daily/bytes" in declared.command("dlq", "show", counters=False)
    declared.stack.client.update_item(
        TableName=table,
        Key=item,
        UpdateExpression="SET #b = :zero",
        ExpressionAttributeNames={"#b": "bytes"},
        ExpressionAttributeValues={":zero": {"N": "0"}},
    )
    plan = declared.command("dlq", "replay", "--execute")
    assert "would be counted now" in plan
    declared.drain()
    assert declared.values() == declared.expected
    assert "OK" in declared.verify()
