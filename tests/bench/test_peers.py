"""The peers of the benchmark: what they promise the harness, and that each counts right.

Those that need an installation run here only where a benchmark has installed them before.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from bench.peers import PEERS, Skip, prepare, program
from bench.sink import Sink
from dynatomic.events.row import Row
from dynatomic.events.samples import samples
from dynatomic.kafka.emitter import Emitter
from dynatomic.testing.embedded import Embedded, environment
from tests.support.brokers import TcpBroker, create_kafka_topic
from tests.support.children import REPOSITORY
from tests.support.names import unique
from tests.support.peers import peer
from tests.support.tables import MakeTable, make_client

HERE = REPOSITORY / "bench" / "peers"
PYTHON_PEERS = [p for p in sorted(HERE.glob("*.py")) if not p.name.startswith("flink")]
LIGHT = ("update-item", "dict-per-poll")
PARTITIONS = 2
TABLE = "bench"


def ready(name: str) -> list[str]:
    """Return the command of a peer that needs no installation, or had it."""
    if name not in LIGHT and not (prepare.FOLDER / name / "prepared").exists():
        pytest.skip(f"{name} is not installed: the benchmark does that")
    command = peer(name).prepare()
    if isinstance(command, Skip):
        pytest.skip(f"{name}: {command.reason}")
    return command


def rows(count: int) -> list[Row]:
    """Make rows of 94 counters of two names: no whole number of batches."""
    made = list(samples(table=TABLE, count=count, rows=47, distribution="zipf", max_incr=1000))
    return [row._replace(counter="bytes" if row.incr % 3 == 0 else None) for row in made]


def broker_for(name: str, request: pytest.FixtureRequest) -> TcpBroker:
    """Return the embedded broker, or a real Kafka for those that ask for more than it can."""
    if name in LIGHT:
        embedded: Embedded = request.getfixturevalue("embedded")
        return TcpBroker("embedded", embedded.bootstrap_servers, embedded.broker.create_topic)
    servers: str = request.getfixturevalue("kafka_real").bootstrap_servers
    return TcpBroker("real", servers, partial(create_kafka_topic, servers))


@contextmanager
def filled(broker: TcpBroker, rows: Sequence[Row]) -> Iterator[str]:
    """Give the block a topic with these rows."""
    topic = unique("peers")
    broker.create_topic(topic, PARTITIONS)
    with Emitter(broker.bootstrap_servers or "", topic=topic) as emit:
        for row in rows:
            emit(row)
    yield topic
    if broker.name == "real":
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers or ""})
        admin.delete_topics([topic])[topic].result(30)


def run(
    command: list[str], broker: TcpBroker, endpoint_url: str, topic: str, **changed: Any
) -> dict[str, Any]:
    """Run a peer as the harness does, and return the line that it printed last."""
    servers = broker.bootstrap_servers or ""
    plan = {
        "bootstrap_servers": servers,
        "topic": topic,
        "group": unique("group"),
        "partitions": PARTITIONS,
        "window_ms": 500,
        "table": TABLE,
        "schema": str(REPOSITORY / "schemas" / "row.avsc"),
    } | changed
    ended = subprocess.run(
        [*command, json.dumps(plan)],
        cwd=prepare.ROOT,
        env=environment(servers, endpoint_url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    line: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return line


def test_each_peer_has_a_name_and_a_label_of_its_own() -> None:
    assert len({p.name for p in PEERS}) == len({p.label for p in PEERS}) == len(PEERS)
    assert {*LIGHT, "quix", "bytewax", "flink", "go"} == {p.name for p in PEERS}
    assert all(p.events >= 10_000 and p.about.endswith(".") for p in PEERS)


def test_the_peers_are_listed_where_nothing_is_installed() -> None:
    """Their own environments import the package, too, and have neither ours nor its libraries."""
    listing = "from bench.peers import PEERS; print(len(PEERS))"
    command = [sys.executable, "-S", "-c", listing]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert listed.stdout == f"{len(PEERS)}\n", listed.stderr


@pytest.mark.parametrize("path", PYTHON_PEERS, ids=lambda p: p.stem)
def test_no_peer_uses_what_it_is_compared_with(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    roots = {name.partition(".")[0] for name in imported}
    assert not roots & {"consumer", "tests"}
    assert not [n for n in imported if n.startswith("bench.") and not n.startswith("bench.peers")]


def test_the_go_program_is_formatted() -> None:
    gofmt = shutil.which("gofmt")
    if gofmt is None:
        pytest.skip("no gofmt command")
    listed = subprocess.run(
        [gofmt, "-l", str(HERE / "go")], capture_output=True, text=True, check=True
    )
    assert listed.stdout == ""


@pytest.mark.parametrize("name", [*LIGHT, "quix", "bytewax", "go"])
def test_a_peer_adds_every_event(name: str, request: pytest.FixtureRequest, sink: Sink) -> None:
    command, sent = ready(name), rows(600 if name == "update-item" else 6000)
    broker = broker_for(name, request)
    with filled(broker, sent) as topic:
        group = unique("group")
        seen = run(command, broker, sink.endpoint_url, topic, events=len(sent), group=group)
        if name != "bytewax":  # which keeps its offsets in a file
            assert committed(broker, group, topic) == len(sent)
    counts = sink.take()
    assert (counts.refused, counts.reason) == (0, "")
    assert counts.added == sum(row.incr for row in sent)
    if name == "update-item":
        assert counts.statements == len(sent)
    else:
        assert counts.statements < len(sent) / 2  # or nothing was summed
    (first, cpu_first), (last, cpu_last) = seen["first"], seen["last"]
    assert 0 < first < last
    assert 0 < cpu_first <= cpu_last
    assert seen["peak_bytes"] > 10_000_000


@pytest.mark.parametrize("name", [*LIGHT, "quix", "go"])
def test_a_peer_takes_no_more_events_than_it_was_given(
    name: str, request: pytest.FixtureRequest, sink: Sink
) -> None:
    command = ready(name)
    broker = broker_for(name, request)
    with filled(broker, list(samples(table=TABLE, count=900, rows=50))) as topic:
        run(command, broker, sink.endpoint_url, topic, events=700)
    assert sink.take().added == 700


@pytest.mark.parametrize("name", LIGHT)
def test_each_counter_gets_its_own_sum(
    name: str, request: pytest.FixtureRequest, embedded: Embedded, make_table: MakeTable
) -> None:
    client = make_client(embedded.endpoint_url)
    table, sent, broker = make_table(client), rows(300), broker_for(name, request)
    with filled(broker, sent) as topic:
        run(ready(name), broker, embedded.endpoint_url, topic, events=300, table=table)
    expected: Counter[tuple[str, str]] = Counter()
    for row in sent:
        expected[row.key, row.counter or "count"] += row.incr
    assert stored(client.scan(TableName=table)["Items"]) == expected


def committed(broker: TcpBroker, group: str, topic: str) -> int:
    """Return how many events of a topic a group has committed."""
    consumer = broker.consumer({"group.id": group})
    places = [TopicPartition(topic, n) for n in range(PARTITIONS)]
    offsets = [place.offset for place in consumer.committed(places, timeout=10)]
    consumer.close()
    return sum(offset for offset in offsets if offset > 0)


def stored(items: list[Any]) -> dict[tuple[str, str], int]:
    return {
        (item["pk"]["S"], name): int(value["N"])
        for item in items
        for name, value in item.items()
        if name != "pk"
    }


@pytest.fixture
def local_aws(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    own = environment(embedded.bootstrap_servers, embedded.endpoint_url)
    for name in [*os.environ]:
        if name not in own:
            monkeypatch.delenv(name)
    for name, value in own.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("local_aws")
def test_batches_add_to_items_and_say_what_was_refused(
    embedded: Embedded, make_table: MakeTable
) -> None:
    client = make_client(embedded.endpoint_url)
    name = make_table(client)
    sums = {(f"key-{n}", "count"): n for n in range(60)}
    for key, counter in sums:
        client.put_item(TableName=name, Item={"pk": {"S": key}, counter: {"N": "1000"}})
    table = program.Table(name)
    try:
        table.add_batches(sums)
        items = stored(client.scan(TableName=name)["Items"])
        assert items == {counter: 1000 + n for counter, n in sums.items()}
        with pytest.raises(RuntimeError, match=r"1 statements were refused: .*ConditionalCheck"):
            table.add_batches({("key-0", "count"): 1, ("nobody", "count"): 1})
    finally:
        table._pool.shutdown()
        table._client.close()
