"""Brokers that go away, and a dead-letter topic that takes nothing."""

import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
from confluent_kafka import KafkaError

from dynatomic.testing.embedded import Embedded
from dynatomic.testing.mock_broker import MockBroker
from tests.support.children import Child, Spawn
from tests.support.events import Event, Log, lower
from tests.support.fenced import FencedProxy
from tests.support.kafka_server import KafkaServer
from tests.support.live_load import Load
from tests.support.needed import unless_missing
from tests.support.stack import Stack, real_stack
from tests.support.tables import MakeTable, make_client
from tests.support.waiting import wait_until

PRODUCE = 0
PARTITIONS = 3


@pytest.fixture
def mock(embedded: Embedded, spawn: Spawn) -> Iterator[tuple[MockBroker, Stack]]:
    """Return a mock cluster of the test's own, and the embedded table."""
    broker, client = MockBroker(), make_client(embedded.endpoint_url)
    stack = Stack(
        "embedded",
        broker.bootstrap_servers,
        embedded.endpoint_url,
        client,
        broker.create_topic,
        spawn,
        2000,
    )
    yield broker, stack
    for child in spawn.children:
        child.kill()
    broker.close()


def test_nothing_is_committed_while_the_dead_letter_topic_refuses(
    mock: tuple[MockBroker, Stack], make_table: MakeTable
) -> None:
    broker, stack = mock
    topic, name = stack.topic(2), make_table(stack.client)
    log = stack.produce(topic, [Event(name, "good")] * 5, partition=0)
    stack.produce_raw(topic, [{"value": b"bad"}], partition=0)
    log.update(stack.produce(topic, [Event(name, "other")] * 5, partition=1))
    broker.push_errors(PRODUCE, [KafkaError.TOPIC_AUTHORIZATION_FAILED] * 1000)
    child = stack.run(topic, [name])
    child.wait_for("dead-letter topic refuses")
    child.wait_for("allow Write on the dead-letter topic")
    stack.wait_counted(log, name)
    wait_until(lambda: stack.committed(topic) == {1: 5}, "the other partition committed")
    broker.clear_errors(PRODUCE)
    wait_until(lambda: stack.committed(topic) == {0: 6, 1: 5}, "all committed")
    assert [letter.value() for letter in stack.letters(topic)] == [b"bad"]
    child.signal(15)
    assert child.wait() == 0, child.logs()
    assert stack.counters(name) == log


def test_the_mock_cluster_goes_down_and_comes_back(
    mock: tuple[MockBroker, Stack], make_table: MakeTable
) -> None:
    broker, stack = mock
    topic, name = stack.topic(PARTITIONS), make_table(stack.client)
    child = stack.run(topic, [name])
    with Load(stack, topic, name, PARTITIONS) as load:
        for _ in range(2):
            stack.wait_more(name)
            broker.set_broker_down()
            threading.Event().wait(1)  # how long it is away
            broker.set_broker_up()
    stack.wait_counted(load.log, name)
    child.signal(15)
    assert child.wait() == 0, child.logs()
    stack.drain(topic, [name])
    assert not lower(load.log, stack.counters(name))
    assert stack.committed(topic) == stack.ends(topic)


def until_counted(stack: Stack, child: Child, topic: str, table: str, log: Log) -> Child:
    """Wait until no counter is lower, as a supervisor: what exits without progress starts again.

    A broker that is asked in the moment before it is unfenced names none, and the group's client
    then may have lost it for good.
    """
    wait_until(
        lambda: stack.counters(table) >= log or child.returncode is not None,
        "all is counted, nor has it ended",
        90,
    )
    if child.returncode is not None:
        assert child.wait() == 1, child.logs()
        assert "a new process may recover: start it again" in child.stderr, child.logs()
        child = stack.run(topic, [table])
        stack.wait_counted(log, table)
    return child


@pytest.mark.timeout(300)
def test_a_real_broker_restarts_under_load(
    request: pytest.FixtureRequest,
    kafka_private: KafkaServer,
    spawn: Spawn,
    make_table: MakeTable,
) -> None:
    stack = real_stack(request, kafka_private, spawn)
    topic, name = stack.topic(PARTITIONS), make_table(stack.client)
    child = stack.run(topic, [name])
    with Load(stack, topic, name, PARTITIONS) as load:
        stack.wait_more(name)
        for kill in (False, True):
            kafka_private.stop(kill=kill)
            kafka_private.start()
            more = stack.counters(name) + Counter({next(iter(stack.counters(name))): 1})
            child = until_counted(stack, child, topic, name, more)
    stack.wait_counted(load.log, name)
    child.signal(15)
    assert child.wait() == 0, child.logs()
    stack.drain(topic, [name])
    assert not lower(load.log, stack.counters(name))
    assert stack.committed(topic) == stack.ends(topic)


@pytest.fixture(scope="module")
def proxy() -> Iterator[FencedProxy]:
    """Return a proxy before a real Kafka that can make it name no broker."""
    with (
        FencedProxy() as proxy,
        unless_missing("real Kafka", partial(KafkaServer, advertised=proxy.port)) as kafka,
    ):
        proxy.forward(kafka.bootstrap_servers)
        yield proxy


@pytest.fixture
def proxied(request: pytest.FixtureRequest, proxy: FencedProxy, spawn: Spawn) -> Stack:
    """Return that Kafka, reached by the proxy, and DynamoDB Local."""
    return real_stack(request, proxy, spawn)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_counting_goes_on_after_a_broker_that_named_no_broker(
    proxy: FencedProxy, proxied: Stack, make_table: MakeTable, protocol: str
) -> None:
    stack = proxied
    topic, name = stack.topic(PARTITIONS), make_table(stack.client)
    child = stack.run(topic, [name], "--group-protocol", protocol)
    with Load(stack, topic, name, PARTITIONS) as load:
        stack.wait_more(name)
        proxy.fence(answers=1)
        stack.wait_more(name)
    stack.wait_counted(load.log, name)
    child.signal(15)
    assert child.wait() == 0, child.logs()
    assert stack.counters(name) == load.log


@pytest.mark.timeout(300)
def test_counting_goes_on_after_all_clients_were_told_of_no_broker(
    proxy: FencedProxy, proxied: Stack, make_table: MakeTable
) -> None:
    stack = proxied
    topic, name = stack.topic(PARTITIONS), make_table(stack.client)
    child = stack.run(topic, [name], "-X", "topic.metadata.refresh.interval.ms=1000")
    log = stack.produce(topic, [Event(name, "before")] * 10, partition=0)
    stack.wait_counted(log, name)
    proxy.fence(answers=5, cut=True)
    log += stack.produce(topic, [Event(name, "after")] * 10, partition=0)
    child = until_counted(stack, child, topic, name, log)
    child.signal(15)
    assert child.wait() == 0, child.logs()
    assert not lower(log, stack.counters(name))
