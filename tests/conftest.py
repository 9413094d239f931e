"""Fixtures: every broker and every table that a test can run on, and child processes.

``broker`` and ``dynamodb`` run a test three times: on the fake, on the embedded default and on
the real server. Servers start when the first test asks for them, once a test run.
"""

import os
import re
import signal
from bisect import bisect
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from xdist.scheduler import LoadScopeScheduling

from dynatomic.testing.dynamodb.client import FakeDynamoDB
from dynatomic.testing.embedded import Embedded
from tests.support.brokers import (
    Broker,
    FakeBrokerAdapter,
    HasBootstrapServers,
    MakeTopic,
    TcpBroker,
    UserKafka,
    create_kafka_topic,
)
from tests.support.children import Spawn
from tests.support.dynamodb_local import ENDPOINT_VARIABLE, DynamoDBLocal
from tests.support.kafka_server import BOOTSTRAP_VARIABLE, KafkaServer
from tests.support.names import unique
from tests.support.needed import missing, needs, running, unless_missing
from tests.support.tables import HasEndpointUrl, MakeTable, UserDynamoDB, make_client

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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was not tested."""
    if missing:
        what = " and ".join(missing)
        why = "; ".join(dict.fromkeys(missing.values()))
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


_SHARES: Final = ("tests/e2e/test_declared", "tests/e2e/test_offsets")
"""Where the second and the third share of the tests of processes begin: each takes as long."""


class Apart(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """A worker takes files, but three take all tests that start many processes.

    These wait two thirds of their time. More of them at once would be late for each other.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if not _PROCESSES.search(file):
            return file
        return f"processes {bisect(_SHARES, file)}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Apart:
    """Say how tests are shared out: in their order, not the files with most tests first."""
    config.option.loadscopereorder = False
    return Apart(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that reports what this worker could not test."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["missing"] = missing


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take in what a worker could not test."""
    missing.update(getattr(node, "workeroutput", {}).get("missing", {}))


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
            report.sections.extend((type(s).__name__, s.tail()) for s in running)
    return report


@pytest.fixture(scope="session")
def kcat() -> str:
    """Find kcat, the Kafka client that knows nothing of ours."""
    return needs("kcat")


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
    running.remove(server)


@pytest.fixture(params=KINDS)
def dynamodb(request: pytest.FixtureRequest) -> "DynamoDBClient":
    """Return a DynamoDB client on the fake, on the embedded table or on DynamoDB Local."""
    if request.param == "fake":
        return cast("DynamoDBClient", FakeDynamoDB())
    name = "embedded" if request.param == "embedded" else "dynamodb_real"
    return make_client(request.getfixturevalue(name).endpoint_url)


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


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Return the function that starts ``python -m dynatomic`` in the background."""
    spawned = Spawn(tmp_path)
    yield spawned
    for child in spawned.children:
        child.kill()
