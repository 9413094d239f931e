"""Fixtures: every broker and every table that a test can run on, and child processes.

``broker`` and ``dynamodb`` run a test three times: on the fake, on the embedded default and on
the real server. Servers start when the first test asks for them, once a test run.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar, cast

import boto3
import pytest
from botocore.config import Config
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from xdist.scheduler import LoadScopeScheduling

from dynatomic.events.decoder import UnitIncrement
from dynatomic.events.row import CounterRef
from dynatomic.events.window import Window
from dynatomic.testing.dynamodb.client import FakeDynamoDB
from dynatomic.testing.embedded import REGION, Embedded, environment
from dynatomic.testing.kafka.broker import FakeBroker
from tests.support.servers import (
    BOOTSTRAP_VARIABLE,
    ENDPOINT_VARIABLE,
    DynamoDBLocal,
    KafkaServer,
    MissingError,
    reaper,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# How long an example takes says how busy the machine is.
hypothesis_settings.register_profile(
    "dynatomic", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("dynatomic")

_PROCESSES: Final = re.compile(r"(^|/)tests/(e2e|chaos)/")

KINDS: Final = ("fake", "embedded", "real")
# A background job of a shell has SIGINT ignored, and its children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY: Final = Path(__file__).parents[1]
PYTHONPATH: Final = f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'consumer'}"

_Server = TypeVar("_Server", KafkaServer, DynamoDBLocal)

_missing: dict[str, str] = {}
_servers: list[KafkaServer | DynamoDBLocal] = []


def unique(prefix: str) -> str:
    """Make a name that no other test, and no other run on the same server, has."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def uncovered() -> dict[str, str]:
    """Return this process's environment without what makes children measure coverage."""
    return {n: v for n, v in os.environ.items() if not n.startswith("COVERAGE")}


def window_of(sums: Mapping[CounterRef, int]) -> Window:
    """Make a window of one event a counter."""
    window = Window()
    window.add(range(len(sums)), [UnitIncrement(ref, total) for ref, total in sums.items()])
    return window


# --- pytest itself ---------------------------------------------------------------------------


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was not tested."""
    if _missing:
        what = " and ".join(_missing)
        why = "; ".join(dict.fromkeys(_missing.values()))
        terminalreporter.write_line(
            f"NOT TESTED on {what}: {why}. "
            f"Or name servers of your own in {BOOTSTRAP_VARIABLE} and {ENDPOINT_VARIABLE}."
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and leave tests of many examples out of the coverage.

    It makes them three times as long, and other tests come to the same lines.
    """
    items.sort(key=lambda item: _PROCESSES.search(item.nodeid) is None)
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("no_cover")


class Apart(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """A worker takes files, and two take all that start many processes, one after the other.

    These mostly wait, and more at once would disturb each other.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if not _PROCESSES.search(file):
            return file
        return "first processes" if file < "tests/e2e/test_m" else "last processes"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Apart:
    """Say how tests are shared out: in their order, not the files with most tests first."""
    config.option.loadscopereorder = False
    return Apart(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that reports what this worker could not test."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["missing"] = _missing


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take in what a worker could not test."""
    _missing.update(getattr(node, "workeroutput", {}).get("missing", {}))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of children and real servers to the report of a failed test."""
    report = yield
    if report.failed:
        funcargs: dict[str, object] = getattr(item, "funcargs", {})
        spawned = funcargs.get("spawn")
        for child in spawned.children if isinstance(spawned, Spawn) else []:
            report.sections.append((f"{child.name}: exit {child.returncode}", child.logs()))
        if "[real" in item.nodeid or {"kafka_real", "dynamodb_real"} & funcargs.keys():
            report.sections.extend((type(s).__name__, s.tail()) for s in _servers)
    return report


def unless_missing(what: str, start: Callable[[], _Server]) -> _Server:
    """Start a real server; what it needs may be absent, but not where CI says it is there."""
    try:
        server = start()
    except MissingError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI=true, but no {what}: {error}", pytrace=False)
        _missing[what] = str(error)
        pytest.skip(f"no {what}: {error}")
    _servers.append(server)
    return server


def needs(program: str) -> str:
    """Find a program; the test is skipped without it, but not where CI says it is there."""
    found = shutil.which(program)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI=true, but no {program}", pytrace=False)
        _missing[program] = f"{program} is not installed"
        pytest.skip(f"no {program}")
    return found


@pytest.fixture(scope="session")
def kcat() -> str:
    """Find kcat, the Kafka client that knows nothing of ours."""
    return needs("kcat")


# --- servers ---------------------------------------------------------------------------------


class HasBootstrapServers(Protocol):
    """A Kafka: one of ours or one of the user's."""

    bootstrap_servers: str


class HasEndpointUrl(Protocol):
    """A DynamoDB endpoint: one of ours or one of the user's."""

    endpoint_url: str


@dataclass(slots=True)
class UserKafka:
    """A Kafka that was there before the tests."""

    bootstrap_servers: str


@dataclass(slots=True)
class UserDynamoDB:
    """A DynamoDB endpoint that was there before the tests."""

    endpoint_url: str


@pytest.fixture(scope="session")
def embedded() -> Iterator[Embedded]:
    """Return the embedded broker and table that tests share; make an own one to break it."""
    with Embedded() as server:
        yield server


@pytest.fixture(scope="session")
def kafka_real() -> Iterator[HasBootstrapServers]:
    """Return the real Kafka that tests share; make an own `KafkaServer` to stop it."""
    if servers := os.environ.get(BOOTSTRAP_VARIABLE):
        yield UserKafka(servers)
        return
    with unless_missing("real Kafka", KafkaServer) as server:
        yield server


@pytest.fixture(scope="session")
def dynamodb_real() -> Iterator[HasEndpointUrl]:
    """Return the real DynamoDB Local that tests share."""
    if url := os.environ.get(ENDPOINT_VARIABLE):
        yield UserDynamoDB(url)
        return
    with unless_missing("DynamoDB Local", DynamoDBLocal) as server:
        yield server


@pytest.fixture
def kafka_private() -> Iterator[KafkaServer]:
    """Return a real Kafka of this test's own, to stop and start."""
    with unless_missing("real Kafka", KafkaServer) as server:
        yield server
    _servers.remove(server)


# --- tables ----------------------------------------------------------------------------------


def make_client(endpoint_url: str, read_timeout: float = 10) -> "DynamoDBClient":
    """Make a plain boto3 client that needs nothing from this machine's AWS configuration."""
    return boto3.client(
        "dynamodb",
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id="embedded",
        aws_secret_access_key="embedded",  # noqa: S106 - local endpoints check no secret
        config=Config(
            retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=read_timeout
        ),
    )


@pytest.fixture(params=KINDS)
def dynamodb(request: pytest.FixtureRequest) -> "DynamoDBClient":
    """Return a DynamoDB client on the fake, on the embedded table or on DynamoDB Local."""
    if request.param == "fake":
        return cast("DynamoDBClient", FakeDynamoDB())
    name = "embedded" if request.param == "embedded" else "dynamodb_real"
    return make_client(request.getfixturevalue(name).endpoint_url)


class MakeTable(Protocol):
    """Makes a table of a name of its own; keys are ``pk`` and, if asked for, ``rk``."""

    def __call__(
        self,
        client: "DynamoDBClient",
        hash_type: Literal["S", "N"] = "S",
        range_type: Literal["S", "N"] | None = None,
    ) -> str:
        """Return its name."""


@pytest.fixture
def make_table() -> Iterator[MakeTable]:
    """Return the function that makes a table; the tables are deleted after the test."""
    made: list[tuple[DynamoDBClient, str]] = []

    def make(
        client: "DynamoDBClient",
        hash_type: Literal["S", "N"] = "S",
        range_type: Literal["S", "N"] | None = None,
    ) -> str:
        name = unique("table")
        keys: list[tuple[str, Any, Any]] = [("pk", hash_type, "HASH")]
        if range_type is not None:
            keys.append(("rk", range_type, "RANGE"))
        client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": t} for n, t, _ in keys],
            KeySchema=[{"AttributeName": n, "KeyType": role} for n, _, role in keys],
        )
        made.append((client, name))
        return name

    yield make
    for client, name in made:
        if hasattr(client, "meta"):  # a fake goes with its test
            client.delete_table(TableName=name)


# --- brokers ---------------------------------------------------------------------------------


class Broker(Protocol):
    """What a contract test needs of a broker."""

    name: str
    bootstrap_servers: str | None

    def create_topic(self, name: str, partitions: int) -> None:
        """Make a topic."""

    def consumer(self, conf: dict[str, Any]) -> Consumer:
        """Make a consumer; its bootstrap servers are set."""

    def producer(self, conf: dict[str, Any] | None = None) -> Producer:
        """Make a producer; its bootstrap servers are set."""


class TcpBroker:
    """A broker that the real client talks to."""

    def __init__(
        self, name: str, bootstrap_servers: str, create: Callable[[str, int], None]
    ) -> None:
        """Take the way to make topics, which the mock cluster does not do by request."""
        self.name = name
        self.bootstrap_servers: str | None = bootstrap_servers
        self._servers = {"bootstrap.servers": bootstrap_servers}
        self.create_topic = create

    def consumer(self, conf: dict[str, Any]) -> Consumer:
        """Make a consumer; its bootstrap servers are set."""
        return Consumer({**self._servers, **conf})

    def producer(self, conf: dict[str, Any] | None = None) -> Producer:
        """Make a producer; its bootstrap servers are set."""
        return Producer({**self._servers, **(conf or {})})


class FakeBrokerAdapter:
    """The fake, under the names that the others have."""

    name = "fake"
    bootstrap_servers: str | None = None

    def __init__(self) -> None:
        """Make an empty one."""
        self.fake = FakeBroker()

    def create_topic(self, name: str, partitions: int) -> None:
        """Make a topic."""
        self.fake.create_topic(name, partitions)

    def consumer(self, conf: dict[str, Any]) -> Consumer:
        """Make a consumer."""
        return cast("Consumer", self.fake.consumer(conf))

    def producer(self, conf: dict[str, Any] | None = None) -> Producer:
        """Make a producer."""
        return cast("Producer", self.fake.producer(conf))


def create_kafka_topic(bootstrap_servers: str, name: str, partitions: int) -> None:
    """Make a topic on a real Kafka and wait until each partition has a leader."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    admin.create_topics([NewTopic(name, partitions)])[name].result(30)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = admin.list_topics(timeout=10).topics.get(name)
        leaders = [p.leader for p in found.partitions.values()] if found else []
        if len(leaders) == partitions and min(leaders) >= 0:
            return
        time.sleep(0.02)
    pytest.fail(f"topic {name} has no leaders after 30 s")


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest) -> Broker:
    """Return the fake broker, the embedded mock cluster or a real Kafka."""
    if request.param == "fake":
        return FakeBrokerAdapter()
    if request.param == "embedded":
        server: Embedded = request.getfixturevalue("embedded")
        return TcpBroker("embedded", server.bootstrap_servers, server.broker.create_topic)
    servers: str = request.getfixturevalue("kafka_real").bootstrap_servers
    return TcpBroker("real", servers, lambda name, n: create_kafka_topic(servers, name, n))


class MakeTopic(Protocol):
    """Makes a topic of a name of its own on the test's broker."""

    def __call__(self, partitions: int = 1) -> str:
        """Return its name."""


@pytest.fixture
def topic(broker: Broker) -> Iterator[MakeTopic]:
    """Return the function that makes a topic on ``broker``; real ones are deleted after it."""
    made: list[str] = []

    def make(partitions: int = 1) -> str:
        name = unique("topic")
        broker.create_topic(name, partitions)
        made.append(name)
        return name

    yield make
    if broker.name == "real" and made:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers or "", "log_level": 0})
        for deleted in admin.delete_topics(made).values():
            deleted.result(30)


# --- child processes -------------------------------------------------------------------------


class Child:
    """A ``python -m dynatomic`` in the background, with its output in files."""

    def __init__(self, name: str, command: list[str], env: Mapping[str, str], folder: Path) -> None:
        """Start it."""
        self.name = name
        self._stdout = folder / f"{name}.stdout"
        self._stderr = folder / f"{name}.stderr"
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(env),
                cwd=REPOSITORY,
                start_new_session=True,
            )
        reaper().add(self.pid)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    @property
    def stdout(self) -> str:
        """What it printed to standard output so far."""
        return self._stdout.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it printed to standard error so far."""
        return self._stderr.read_text(errors="replace")

    def logs(self) -> str:
        """Return both outputs."""
        return f"{self.stdout[-10_000:]}\n--- standard error\n{self.stderr[-20_000:]}"

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        """Wait for its end and return the exit code; fails the test if it does not end."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.name} still runs after {seconds} s")
        reaper().remove(self.pid)
        return code

    def wait_for(self, text: str, seconds: float = 30) -> None:
        """Wait until it printed this; fails the test if it ends or does not in time."""
        deadline = time.monotonic() + seconds
        while text not in self.stdout + self.stderr:
            ended = self.returncode is not None and text not in self.stdout + self.stderr
            if ended or time.monotonic() > deadline:
                pytest.fail(f"{self.name} (exit code {self.returncode}) did not print {text!r}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it with SIGKILL and wait for that; nothing if it has ended."""
        self._process.kill()
        self.wait()


class Spawn:
    """Starts children; those that still run at the end of the test are killed."""

    def __init__(self, folder: Path) -> None:
        """Keep the outputs in this folder."""
        self.children: list[Child] = []
        self._folder = folder

    def __call__(self, *arguments: str, env: Mapping[str, str]) -> Child:
        """Run ``python -m dynatomic ARGUMENTS`` with exactly this environment."""
        return self.command([sys.executable, "-m", "dynatomic", *arguments], env=env)

    def command(self, command: list[str], env: Mapping[str, str]) -> Child:
        """Run any command with exactly this environment."""
        child = Child(f"child-{len(self.children)}", command, env, self._folder)
        self.children.append(child)
        return child


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Return the function that starts ``python -m dynatomic`` in the background."""
    spawned = Spawn(tmp_path)
    yield spawned
    for child in spawned.children:
        child.kill()


__all__ = ["Broker", "Child", "MakeTable", "MakeTopic", "Spawn", "environment", "unique"]
