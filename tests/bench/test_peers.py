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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from bench.peers import PEERS, Peer, Skip, prepare, program
from bench.sink import Sink
from dynatomic.events.row import Row
from dynatomic.events.samples import samples
from dynatomic.kafka.emitter import Emitter
from dynatomic.testing.embedded import Embedded, environment
from tests.support.brokers import TcpBroker, create_kafka_topic
from tests.support.children import REPOSITORY
from tests.support.names import unique
from tests.support.tables import MakeTable, make_client

HERE = REPOSITORY / "bench" / "peers"
PYTHON_PEERS = [p for p in sorted(HERE.glob("*.py")) if not p.name.startswith("flink")]
LIGHT = ("update-item", "dict-per-poll")
PARTITIONS = 2
TABLE = "bench"


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as started:
        yield started


def peer(name: str) -> Peer:
    return next(p for p in PEERS if p.name == name)


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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that peers are installed in, in place of the real one."""
    monkeypatch.setattr(prepare, "FOLDER", tmp_path / "peers")
    return tmp_path / "peers"


class FakePython:
    """A Python whose ``venv`` copies itself and whose ``pip`` does what it is told."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "python"
        self._log = folder / "calls"
        self._pip = folder / "pip"
        self.install("exit 0")
        self.path.write_text(
            "#!/bin/sh\n"
            f'echo "$2" >> {self._log}\n'
            'if [ "$2" = venv ]; then mkdir -p "$4/bin" && cp "$0" "$4/bin/python"; exit; fi\n'
            f". {self._pip}\n"
        )
        self.path.chmod(0o755)

    def install(self, script: str) -> None:
        self._pip.write_text(f"{script}\n")

    def calls(self) -> list[str]:
        """Return what it was called for since the last time."""
        called = self._log.read_text().split() if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return called


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePython:
    fake = FakePython(tmp_path)
    monkeypatch.setattr(sys, "executable", str(fake.path))
    return fake


def is_a_line(skipped: object) -> str:
    assert isinstance(skipped, Skip)
    assert 0 < len(skipped.reason) < 200
    assert skipped.reason.splitlines() == [skipped.reason]
    return skipped.reason


def test_a_peer_is_installed_once_and_again_for_other_requirements(
    folder: Path, python: FakePython
) -> None:
    command = [str(folder / "quix" / "bin" / "python"), "-m", "bench.peers.quix"]
    assert prepare.in_venv("quix", ["a==1"]) == command
    assert python.calls() == ["venv", "pip"]
    assert prepare.in_venv("quix", ["a==1"]) == command
    assert python.calls() == []
    assert prepare.in_venv("quix", ["a==2"]) == command
    assert python.calls() == ["venv", "pip"]
    assert (folder / ".gitignore").read_text() == "*\n"


def test_what_pip_does_not_find_is_a_line_and_is_tried_again(
    folder: Path, python: FakePython
) -> None:
    python.install("echo noise >&2; echo 'ERROR: No matching distribution for a' >&2; exit 1")
    line = is_a_line(prepare.in_venv("quix", ["a==1"]))
    assert line == "a==1 was not made: ERROR: No matching distribution for a"
    assert not (folder / "quix" / "prepared").exists()
    python.install("exit 0")
    assert isinstance(prepare.in_venv("quix", ["a==1"]), list)


def test_what_takes_too_long_is_a_line(
    folder: Path, python: FakePython, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "_LIMIT_S", 0.2)
    python.install("exec sleep 60")
    assert "was not made in" in is_a_line(prepare.in_venv("quix", ["a==1"]))
    assert not (folder / "quix" / "prepared").exists()


@pytest.mark.usefixtures("folder")
def test_a_python_that_is_too_new_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    line = is_a_line(prepare.in_venv("bytewax_", ["a"], newest_python=(3, 10)))
    assert line == "no wheels for this Python: install Python 3.10 beside it"


def test_an_older_python_takes_the_place_of_one_that_is_too_new(
    folder: Path, python: FakePython, monkeypatch: pytest.MonkeyPatch
) -> None:
    python.path.rename(python.path.with_name("python3.12"))
    monkeypatch.setenv("PATH", f"{python.path.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    command = prepare.in_venv("bytewax_", ["a"], newest_python=(3, 12))
    own = str(folder / "bytewax" / "bin" / "python")
    assert command == [own, "-m", "bench.peers.bytewax_"]


@pytest.mark.usefixtures("folder")
def test_no_go_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert is_a_line(peer("go").prepare()).startswith("no go command")


@pytest.mark.usefixtures("folder")
def test_no_java_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert is_a_line(peer("flink").prepare()).startswith("no java command: install Java 17")


@pytest.mark.usefixtures("folder")
def test_a_java_that_flink_does_not_run_on_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"25.0.1\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "is Java 25: install Java 17" in is_a_line(peer("flink").prepare())


def test_a_go_that_does_not_build_is_a_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho 'go: module not found' >&2; exit 1\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert is_a_line(peer("go").prepare()) == "the Go program was not made: go: module not found"
    assert not (folder / "go" / "prepared").exists()


@pytest.mark.parametrize(
    "prepared", [partial(prepare.in_venv, "quix", ["a"]), prepare.with_go], ids=["venv", "go"]
)
def test_a_folder_that_cannot_be_made_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: Callable[[], object]
) -> None:
    if prepared is prepare.with_go and shutil.which("go") is None:
        pytest.skip("no go command")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(prepare, "FOLDER", tmp_path / "file")
    assert "was not made: " in is_a_line(prepared())


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
