"""The embedded broker and table: used by other processes, failing on demand, never left behind."""

import importlib.metadata
import importlib.util
import os
import signal
import socket
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from dynatomic.errors import DynatomicError, UnavailableError
from dynatomic.events.row import KeySchema
from dynatomic.testing import embedded as module
from dynatomic.testing import mock_broker
from dynatomic.testing.embedded import Embedded, MockTable, environment
from dynatomic.testing.mock_broker import MockBroker
from tests.support.children import PYTHONPATH, Spawn
from tests.support.names import unique
from tests.support.tables import make_client
from tests.support.waiting import is_gone, wait_until

PRODUCE = 0

USE_BOTH = """
import os, boto3
from confluent_kafka import Producer
client = boto3.client("dynamodb")
print(client.put_item(TableName="hits", Item={"pk": {"S": "a"}})["ResponseMetadata"]["RequestId"])
producer = Producer({"bootstrap.servers": os.environ["DYNATOMIC_BOOTSTRAP_SERVERS"]})
producer.produce("rows", b"from a child")
assert producer.flush(10) == 0
"""

START_AND_WAIT = """
import time
from dynatomic.testing.embedded import Embedded
server = Embedded({"rows": 1})
print(server.table.pid, server.table.folder, server.endpoint_url, "ready", flush=True)
time.sleep(60)
"""

MEMBER = """
import sys
from confluent_kafka import Consumer
servers, protocol = sys.argv[1:]
conf = {"bootstrap.servers": servers, "group.id": "g", "group.protocol": protocol}
if protocol == "classic":
    conf |= {"partition.assignment.strategy": "cooperative-sticky"}
    conf |= {"session.timeout.ms": 2000, "heartbeat.interval.ms": 500}
consumer = Consumer(conf)
consumer.subscribe(["rows"])
last = None
while True:
    consumer.poll(0.1)
    owned = sorted(p.partition for p in consumer.assignment())
    if owned != last:
        last = owned
        print(*owned, sep=",", flush=True)
"""


@pytest.fixture
def broker() -> Iterator[MockBroker]:
    made = MockBroker()
    made.create_topic("rows", 6)
    yield made
    made.close()


def deliver(producer: Producer, seconds: float = 10) -> KafkaError | None:
    reports: list[KafkaError | None] = []

    def keep(error: KafkaError | None, _message: Message) -> None:
        reports.append(error)

    producer.produce("rows", b"x", partition=0, on_delivery=keep)
    producer.flush(seconds)
    assert len(reports) == 1
    return reports[0]


def test_another_process_uses_both_and_needs_only_the_environment(spawn: Spawn) -> None:
    with Embedded({"rows": 2}, {"hits": KeySchema("pk")}) as server:
        child = spawn.command([sys.executable, "-c", USE_BOTH], env=server.environment())
        assert child.wait() == 0, child.logs()
        client = make_client(server.endpoint_url)
        assert client.get_item(TableName="hits", Key={"pk": {"S": "a"}})["Item"]
        conf = {"bootstrap.servers": server.bootstrap_servers, "group.id": "g"}
        consumer = Consumer({**conf, "auto.offset.reset": "earliest"})
        consumer.subscribe(["rows"])
        messages = consumer.consume(1, 10)
        assert [m.value() for m in messages] == [b"from a child"]
        consumer.close()
        client.close()


def test_topics_have_the_partitions_asked_for(broker: MockBroker) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    assert len(admin.list_topics("rows", timeout=10).topics["rows"].partitions) == 6
    with pytest.raises(DynatomicError, match="refused topic_create"):
        broker.create_topic("rows", 1)


def test_tables_have_the_keys_asked_for() -> None:
    with Embedded(tables={"one": KeySchema("id", "N"), "two": KeySchema("a", "S", "b", "N")}) as s:
        client = make_client(s.endpoint_url)
        one = client.describe_table(TableName="one")["Table"]
        two = client.describe_table(TableName="two")["Table"]
        assert one["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
        assert one["AttributeDefinitions"] == [{"AttributeName": "id", "AttributeType": "N"}]
        assert [k["KeyType"] for k in two["KeySchema"]] == ["HASH", "RANGE"]
        assert {(k["AttributeName"], k["AttributeType"]) for k in two["AttributeDefinitions"]} == {
            ("a", "S"),
            ("b", "N"),
        }
        client.close()


def test_the_environment_has_nothing_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    monkeypatch.setenv("DYNATOMIC_TABLES", "invoices")
    monkeypatch.setenv("KEPT", "yes")
    made = environment("k:1", "http://d:2")
    assert made["KEPT"] == "yes"
    assert made["DYNATOMIC_BOOTSTRAP_SERVERS"] == "k:1"
    assert made["AWS_ENDPOINT_URL_DYNAMODB"] == "http://d:2"
    assert made["AWS_SHARED_CREDENTIALS_FILE"] == made["AWS_CONFIG_FILE"] == os.devnull
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN", "DYNATOMIC_TABLES"} & made.keys()


def test_requests_fail_on_demand(broker: MockBroker) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    broker.push_errors(PRODUCE, [KafkaError.POLICY_VIOLATION])
    error = deliver(producer)
    assert error is not None
    assert error.code() == KafkaError.POLICY_VIOLATION
    assert deliver(producer) is None
    broker.push_errors(PRODUCE, [KafkaError.POLICY_VIOLATION])
    broker.clear_errors(PRODUCE)
    assert deliver(producer) is None


def test_a_broker_goes_down_and_comes_back(broker: MockBroker) -> None:
    conf = {"bootstrap.servers": broker.bootstrap_servers, "log_level": 0}
    producer = Producer({**conf, "message.timeout.ms": 500, "reconnect.backoff.max.ms": 100})
    assert deliver(producer) is None
    broker.set_broker_down()
    error = deliver(producer)
    assert error is not None
    assert error.code() == KafkaError._MSG_TIMED_OUT
    broker.set_broker_up()
    wait_until(lambda: deliver(producer) is None, "delivered again")


def test_answers_take_their_time(broker: MockBroker) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
    admin.list_topics(timeout=10)
    broker.set_rtt(2000)
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=0.5)
    broker.set_rtt(0)
    assert admin.list_topics(timeout=10).topics


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_killed_member_of_a_group_is_replaced(
    broker: MockBroker, spawn: Spawn, protocol: str
) -> None:
    command = [sys.executable, "-c", MEMBER, broker.bootstrap_servers, protocol]
    members = [spawn.command(command, env=dict(os.environ)) for _ in range(3)]

    def owned(indexes: list[int]) -> list[list[str]]:
        lines = [members[i].stdout.splitlines() for i in indexes]
        return [line[-1].split(",") if line else [] for line in lines]

    def complete(*indexes: int) -> bool:
        shares = owned(list(indexes))
        return all(shares) and sorted(chain(*shares)) == list("012345")

    wait_until(lambda: complete(0, 1, 2), "shared by three")
    members[1].signal(signal.SIGKILL)
    wait_until(lambda: complete(0, 2), "shared by two")


def test_closing_leaves_nothing_and_may_be_repeated() -> None:
    server = Embedded()
    pid, folder = server.table.pid, server.table.folder
    assert folder.is_dir()
    assert os.getsid(pid) != os.getsid(0), "a Ctrl-C at the terminal would end it"
    server.close()
    server.close()
    assert is_gone(pid)
    assert not folder.exists()
    with pytest.raises(DynatomicError, match="is closed"):
        server.broker.create_topic("rows", 1)


def test_a_killed_parent_leaves_nothing(spawn: Spawn) -> None:
    env = {**os.environ, "PYTHONPATH": PYTHONPATH}
    parent = spawn.command([sys.executable, "-c", START_AND_WAIT], env=env)
    parent.wait_for("ready")
    pid, folder, url = parent.stdout.split()[:3]
    assert not is_gone(int(pid))
    parent.signal(signal.SIGKILL)
    wait_until(lambda: is_gone(int(pid)), "ended")
    assert not Path(folder).exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


def test_a_failed_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[MockTable] = []

    def fail(table: MockTable, name: str, _schema: KeySchema) -> None:
        started.append(table)
        raise DynatomicError(name)

    monkeypatch.setattr(MockTable, "create", fail)
    name = unique("table")
    with pytest.raises(DynatomicError, match=name):
        Embedded(tables={name: KeySchema("pk")})
    assert is_gone(started[0].pid)


def test_ministack_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(DynatomicError, match=r"pip install 'dynatomic\[embedded\]'"):
        MockTable()


def test_ministack_ends_at_start_and_its_words_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHILD", "import sys\nsys.exit('no room left\\nfor me')")
    with pytest.raises(DynatomicError, match=r"ended at start \(1\): no room left \| for me"):
        MockTable()


def test_ministack_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHILD", "import time\ntime.sleep(60)")
    monkeypatch.setattr(module, "START_SECONDS", 0.2)
    with pytest.raises(UnavailableError, match="no answer in 0 s: it printed nothing"):
        MockTable()


def test_the_wheel_has_no_librdkafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "files", lambda _name: None)
    with pytest.raises(DynatomicError, match="needs its wheel for Linux or macOS"):
        MockBroker()


def test_the_wheel_has_a_librdkafka_without_mock_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mock_broker._FUNCTIONS, "mock_of_the_future", (None, ()))
    with pytest.raises(DynatomicError, match="no usable mock cluster"):
        MockBroker()
