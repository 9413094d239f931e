"""``config check --connect`` and ``--probe`` against real servers, and who may not do what."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.replay import ReplayOptions, replay
from dynatomic.errors import ConfigError
from dynatomic.operations.check_config import check_config
from tests.support.children import one_line
from tests.support.events import Event
from tests.support.faults import Fault, Request, access_denied
from tests.support.kafka_server import KafkaServer
from tests.support.names import unique
from tests.support.proxy import FaultyProxy
from tests.support.stack import REAL, Stack
from tests.support.tables import Table
from tests.support.waiting import wait_until

Examined = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def examined(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Examined:
    for name, value in stack.env().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)

    def run(
        topic: str,
        *tables: str,
        endpoint_url: str | None = None,
        probe: str | None = None,
        **more: Any,
    ) -> tuple[int, list[str]]:
        """Return the exit code, and the lines about servers."""
        settings = Settings(
            bootstrap_servers=stack.bootstrap_servers,
            topic=topic,
            group_id=topic,
            tables=tables,
            **more,
        )
        url = endpoint_url or stack.endpoint_url
        code = check_config(settings, url, connect=True, probe=probe)
        return code, capsys.readouterr().out.splitlines()[4:]

    return run


def test_both_ends_are_there(stack: Stack, table: Table, examined: Examined) -> None:
    topic, plain, ranged = stack.topic(2), table(), table("N", "S")
    stack.produce(topic, [Event(plain, "a")])
    stack.drain(topic, [plain])
    code, lines = examined(topic, plain, ranged)
    brokers, found, letters, group, first, second = lines
    assert code == 0
    assert brokers == f"✓ brokers: {stack.bootstrap_servers}"
    assert found.startswith(f"✓ topic {topic}: 2 partitions, id ")
    real = stack.name == "real"
    # The embedded broker does not report permissions, so a tick alone would be wrong.
    unknown = "" if real else "; the brokers report no permissions, so Write is not checked"
    assert letters == f"✓ dead-letter topic {topic}.dlq: 1 partition{unknown}"
    members = ", 0 members" if real else unknown.replace("Write", "Read")
    assert group.startswith(f"✓ group {topic}: offsets of ")
    assert group.endswith(f" of 2 partitions committed{members}")
    inserts = "; inserts are not checked, --probe tries them"
    assert first == f"✓ table {plain}: keys pk (S){inserts}"
    assert second == f"✓ table {ranged}: keys pk (N), rk (S){inserts}"
    assert stack.counters(ranged).total() == 0


def test_what_is_missing_has_a_cross(table: Table, examined: Examined) -> None:
    name, gone = table(), unique("gone")
    code, lines = examined(unique("missing"), name, gone)
    assert code == 78
    assert [line[0] for line in lines] == ["✓", "✗", "✗", "✗", "✓", "✗"]
    assert "create it with `dynatomic init`" in lines[1]
    assert "init --create-tables" in lines[-1]


def test_servers_that_are_not_there(
    stack: Stack, table: Table, examined: Examined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynatomic.operations.check_servers.START_S", 0.3)
    stack.bootstrap_servers = "127.0.0.1:1"
    name = table()
    code, lines = examined("events", name)
    assert code == 75
    assert [line.split(":")[0] for line in lines] == ["✗ brokers", f"✓ table {name}"]
    assert examined("events", name, endpoint_url="http://127.0.0.1:1")[0] == 75


def test_a_denied_action_on_a_table_is_named(
    stack: Stack, table: Table, examined: Examined
) -> None:
    def deny(request: Request) -> Fault | None:
        return access_denied() if request.operation != "DescribeTable" else None

    with FaultyProxy(stack.endpoint_url, deny) as proxy:
        code, lines = examined(stack.topic(), table(), endpoint_url=proxy.endpoint_url)
    assert code == 78
    assert "access denied: allow dynamodb:PartiQLUpdate on " in lines[-1]


def test_a_probe_tells_how_the_table_answers(
    stack: Stack, table: Table, examined: Examined
) -> None:
    name = table()
    code, lines = examined(stack.topic(), name, probe=name)
    different = [line for line in lines if not line.startswith("✓")]
    # ministack rounds sums of more than 28 digits.
    assert (code, len(different)) == ((0, 0) if stack.name == "real" else (1, 2))
    assert f"✓ table {name}, a refused fence returns the old item" in lines
    assert f"✓ table {name}: keys pk (S)" in lines
    # Without --table it is the one.
    again, same = examined(stack.topic(), probe=name)
    assert (again, same[4:]) == (code, lines[4:])
    assert stack.counters(name).total() == 0
    code, lines = examined(stack.topic(), name, probe=unique("gone"))
    assert code == 78
    assert "does not exist" in lines[-1]


@REAL
def test_a_denied_operation_of_kafka_is_named(
    stack: Stack, table: Table, examined: Examined, kafka_real: object
) -> None:
    if not isinstance(kafka_real, KafkaServer):
        pytest.skip("ACLs are set on the tests' own broker only")
    topic, name = stack.topic(), table()
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})

    def only(kind: ResourceType, resource: str) -> None:
        """Allow nothing but to see it."""
        acl = AclBinding(
            kind,
            resource,
            ResourcePatternType.LITERAL,
            "User:ANONYMOUS",
            "*",
            AclOperation.DESCRIBE,
            AclPermissionType.ALLOW,
        )
        admin.create_acls([acl])[acl].result(10)

    only(ResourceType.TOPIC, f"{topic}.dlq")
    only(ResourceType.GROUP, topic)
    only(ResourceType.TOPIC, topic)
    found: list[str] = []

    def all_denied() -> bool:
        _, found[:] = examined(topic, name)
        return [line[0] for line in found] == ["✓", "✗", "✗", "✗", "✓"]

    wait_until(all_denied, "the ACLs are in effect")
    assert f"topic '{topic}' is denied: allow Read on it" in found[1]
    assert f"topic '{topic}.dlq' is denied: allow Write on it" in found[2]
    assert f"group '{topic}' is denied: allow Read on it" in found[3]
    assert examined(topic, name)[0] == 78
    one_line(stack.run(topic, [name]), 78, "Kafka denies topic", "allow Read on both")


@REAL
def test_a_compacted_dead_letter_topic_is_refused(
    stack: Stack, table: Table, examined: Examined
) -> None:
    topic, name = stack.topic(), table()
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    letters = ConfigResource(ResourceType.TOPIC, f"{topic}.dlq")
    compact = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    letters.add_incremental_config(compact)
    admin.incremental_alter_configs([letters])[letters].result(10)
    says = f"topic '{topic}.dlq' has cleanup.policy=compact"
    code, lines = examined(topic, name)
    assert code == 78
    assert [line[0] for line in lines] == ["✓", "✓", "✗", "✓", "✓"]
    assert says in lines[2]
    one_line(stack.run(topic, [name]), 78, says)
    settings = Settings(
        bootstrap_servers=stack.bootstrap_servers, topic=topic, group_id=topic, tables=(name,)
    )
    with pytest.raises(ConfigError, match=says):
        replay(settings, stack.endpoint_url, ReplayOptions())


@REAL
def test_members_with_different_guarantees(stack: Stack, table: Table, examined: Examined) -> None:
    topic, name = stack.topic(), table()
    child = stack.run(topic, [name])
    log = stack.produce(topic, [Event(name, "a")])
    stack.wait_counted(log, name)
    other = ("--processing-guarantee", "exactly-once")
    expected = f"group {topic} is running with at-least-once (member ", "stop all of its consumers"
    one_line(stack.run(topic, [name], *other), 78, *expected)
    code, lines = examined(topic, name, processing_guarantee="exactly-once")
    assert code == 78
    assert expected[0] in lines[3]
    assert examined(topic, name)[0] == 0
    child.signal(15)
    assert child.wait() == 0
    stack.drain(topic, [name], *other)
