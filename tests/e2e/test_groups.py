"""Groups that do not take the consumer: a foreign assignor, and brokers without the protocol."""

import signal
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.support.children import Spawn, one_line
from tests.support.events import Event
from tests.support.kafka_server import KafkaServer
from tests.support.needed import running, unless_missing
from tests.support.stack import REAL, Stack, real_stack
from tests.support.tables import MakeTable, Table
from tests.support.waiting import wait_until


class Foreign:
    """A member with another assignor, which no group of dynatomic has."""

    def __init__(self, stack: Stack, topic: str) -> None:
        config = {
            "bootstrap.servers": stack.bootstrap_servers,
            "group.id": topic,
            "partition.assignment.strategy": "range",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": "false",
        }
        self._consumer = Consumer(config)
        self._consumer.subscribe([topic])

    def has_joined(self) -> bool:
        """Take part, and return whether the group has it."""
        self._consumer.consume(1, 0.1)
        return bool(self._consumer.assignment())

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


@REAL
def test_a_group_in_use_with_another_assignor_is_named(stack: Stack, table: Table) -> None:
    topic, name = stack.topic(), table()
    foreign = Foreign(stack, topic)
    try:
        wait_until(foreign.has_joined, "the foreign member has joined")
        expected = (f"group {topic} is in use with the assignor range (member ", "choose another")
        one_line(stack.run(topic, [name]), 78, *expected)
        arguments = ("config", "check", "--connect", "-t", topic, "-g", topic, "--table", name)
        check = stack.spawn(*arguments, env=stack.env())
        assert check.wait() == 78, check.logs()
        assert f"✗ group {topic}: {expected[0]}" in check.stdout
    finally:
        foreign.close()


@REAL
def test_a_foreign_member_that_joins_while_the_consumer_is_away_is_named(
    stack: Stack, table: Table
) -> None:
    topic, name = stack.topic(), table()
    log = stack.produce(topic, [Event(name, "a")])
    child = stack.run(topic, [name])
    stack.wait_counted(log, name)
    child.signal(signal.SIGSTOP)  # until the group has no member
    foreign = Foreign(stack, topic)
    try:
        wait_until(foreign.has_joined, "the foreign member has joined", 60)
        child.signal(signal.SIGCONT)
        one_line(child, 78, f"group {topic} is in use with the assignor range (member ")
    finally:
        foreign.close()
    assert stack.counters(name) == log


@pytest.fixture
def classic_only(request: pytest.FixtureRequest, spawn: Spawn) -> Iterator[Stack]:
    """Return a broker that has the group protocol 'classic' only."""
    settings = {"group.coordinator.rebalance.protocols": "classic"}
    with unless_missing("real Kafka", lambda: KafkaServer(settings=settings)) as server:
        yield real_stack(request, server, spawn)
    running.remove(server)


def test_brokers_without_the_group_protocol_consumer_are_named(
    classic_only: Stack, make_table: MakeTable
) -> None:
    stack = classic_only
    topic, name = stack.topic(), make_table(stack.client)
    log = stack.produce(topic, [Event(name, "a")])
    protocol = ("--group-protocol", "consumer")
    expected = ("do not have the group protocol consumer", "use --group-protocol classic")
    one_line(stack.run(topic, [name], *protocol), 78, *expected)
    arguments = ("config", "check", "--connect", "-t", topic, "-g", topic, "--table", name)
    check = stack.spawn(*arguments, *protocol, env=stack.env())
    assert check.wait() == 78, check.logs()
    assert f"✗ group {topic}: the brokers {expected[0]}" in check.stdout

    # Where the brokers' settings are not shown, the refused join says it.
    deny_describe_configs(stack)
    one_line(stack.run(topic, [name], *protocol, "--once"), 78, *expected)
    assert stack.counters(name).total() == 0
    stack.drain(topic, [name])
    assert stack.counters(name) == log


def deny_describe_configs(stack: Stack) -> None:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})

    def acl(operation: AclOperation, permission: AclPermissionType) -> AclBinding:
        cluster = (ResourceType.BROKER, "kafka-cluster", ResourcePatternType.LITERAL)
        return AclBinding(*cluster, "User:ANONYMOUS", "*", operation, permission)

    acls = [
        acl(AclOperation.ALL, AclPermissionType.ALLOW),
        acl(AclOperation.DESCRIBE_CONFIGS, AclPermissionType.DENY),
    ]
    for made in admin.create_acls(acls).values():
        made.result(10)
