"""While the dead-letter topic does not take a letter, its event's offset is not committed."""

import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from dynatomic.testing.embedded import Embedded
from tests.support.children import Spawn
from tests.support.events import Event, Log
from tests.support.stack import Stack, real_stack
from tests.support.tables import MakeTable, make_client
from tests.support.waiting import wait_until

# More than the small topic takes, and not to be compressed.
BAD = b"\xff" + random.Random(7).randbytes(5000)  # noqa: S311 - a sample, not a secret
PRODUCE = 0


@dataclass
class Outage:
    """A stack whose dead-letter topics can be made to refuse, after all else was produced."""

    stack: Stack
    begin: Callable[[str], None]
    end: Callable[[str], None]


@pytest.fixture(params=["embedded", "real"])
def outage(request: pytest.FixtureRequest, spawn: Spawn) -> Iterator[Outage]:
    if request.param == "real":
        made = real_stack(request, request.getfixturevalue("kafka_real"), spawn)
        made.create = partial(create, made)
        yield Outage(made, lambda _: None, lambda topic: allow(made, topic))
        for child in spawn.children:
            child.kill()
        made.close()
        return
    with Embedded() as server:  # a separate one: the errors affect all producers
        broker, url = server.broker, server.endpoint_url
        made = Stack(
            "embedded", server.bootstrap_servers, url, make_client(url), broker.create_topic, spawn
        )
        errors = [KafkaError.TOPIC_AUTHORIZATION_FAILED] * 10_000
        yield Outage(
            made,
            lambda _: broker.push_errors(PRODUCE, errors),
            lambda _: broker.clear_errors(PRODUCE),
        )
        for child in spawn.children:
            child.kill()


def create(stack: Stack, name: str, partitions: int) -> None:
    """Make a topic; a dead-letter topic too small for any letter, until it is changed."""
    config = {"max.message.bytes": "300"} if name.endswith(".dlq") else {}
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers, "log_level": 0})
    admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(20)


def allow(stack: Stack, topic: str) -> None:
    """Let the dead-letter topic take `BAD`."""
    limit_to(stack, topic, 1_000_000)


def limit_to(stack: Stack, topic: str, limit: int) -> None:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers, "log_level": 0})
    entry = ConfigEntry(
        "max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(ResourceType.TOPIC, f"{topic}.dlq", incremental_configs=[entry])
    for changed in admin.incremental_alter_configs([resource]).values():
        changed.result(20)


@pytest.fixture
def table(outage: Outage) -> str:
    name = "dead-letter-" + outage.stack.name
    client = outage.stack.client
    if name in client.list_tables()["TableNames"]:
        client.delete_table(TableName=name)
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    return name


def produced(stack: Stack, topic: str, table: str) -> Log:
    """Put a bad row between good ones into partition 0, and good ones only into partition 1."""
    log = stack.produce(topic, [Event(table, "before")], 0)
    stack.produce_raw(topic, [{"value": BAD, "key": b"bad", "headers": [("h", b"1")]}], 0)
    log.update(stack.produce(topic, [Event(table, "after")], 0))
    log.update(stack.produce(topic, [Event(table, f"k{n}") for n in range(20)], 1))
    return log


def test_a_window_is_not_committed_before_its_letter_is_stored(outage: Outage, table: str) -> None:
    stack = outage.stack
    topic = stack.topic(2)
    log = produced(stack, topic, table)
    outage.begin(topic)
    child = stack.run(topic, [table])
    child.wait_for('"dead-letter topic refuses"')
    # Neither the table nor the other partition waits for it.
    wait_until(lambda: stack.committed(topic).get(1) == 20, "the good partition is committed")
    stack.wait_counted(log, table)
    assert 0 not in stack.committed(topic)
    assert child.returncode is None

    outage.end(topic)
    wait_until(lambda: stack.committed(topic) == stack.ends(topic), "all is committed")
    child.signal(signal.SIGTERM)
    assert child.wait() == 0, child.logs()
    assert stack.counters(table) == log
    (letter,) = stack.letters(topic)
    # A topic that refuses a letter for its size gets the head of the event.
    assert letter.key() == b"bad"
    head = letter.value() or b""
    assert head
    assert BAD.startswith(head)
    headers = letter.headers() or []
    assert ("h", b"1") in headers
    assert ("dynatomic.offset", b"1") in headers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_consumer_that_ends_before_its_letter_is_stored_commits_nothing(
    outage: Outage, table: str, number: signal.Signals
) -> None:
    stack = outage.stack
    topic = stack.topic(2)
    log = produced(stack, topic, table)
    outage.begin(topic)
    child = stack.run(topic, [table], "--shutdown-timeout-ms", "2000")
    child.wait_for('"dead-letter topic refuses"')
    stack.wait_counted(log, table)
    child.signal(number)
    assert child.wait(2 + 1.5) == (1 if number is signal.SIGTERM else -number), child.logs()
    assert 0 not in stack.committed(topic)

    outage.end(topic)
    stack.drain(topic, [table])
    assert stack.committed(topic) == stack.ends(topic)
    assert stack.counters(table) >= log
    assert BAD in [letter.value() for letter in stack.letters(topic)]


def test_a_topic_of_a_small_limit_takes_each_letter_as_far_as_it_fits(
    request: pytest.FixtureRequest, spawn: Spawn, make_table: MakeTable
) -> None:
    stack = real_stack(request, request.getfixturevalue("kafka_real"), spawn)
    stack.create = partial(create, stack)
    topic = stack.topic(1)
    try:
        limit_to(stack, topic, 4_000)
        small, large = (b"\xff" + random.Random(7).randbytes(n) for n in (800, 9_000))  # noqa: S311 - a sample
        stack.produce_raw(topic, [{"value": small, "key": b"k"}] * 40 + [{"value": large}])
        name = make_table(stack.client)
        stack.run(topic, [name], "--dead-letter-max-ratio", "1")
        wait_until(lambda: stack.committed(topic) == {0: 41}, "all is committed", 40)
        values = [letter.value() for letter in stack.letters(topic)]
        assert values == [small] * 40 + [large[:1024]]
    finally:
        for child in spawn.children:
            child.kill()
        stack.close()
