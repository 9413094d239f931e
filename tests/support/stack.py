"""A Kafka and a DynamoDB endpoint for real consumer processes.

Nothing of the product is used to produce, to read the tables or to read the dead letters.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from dynatomic.testing.embedded import environment
from tests.support.brokers import HasBootstrapServers, create_kafka_topic
from tests.support.children import Child, Spawn
from tests.support.events import Event, Log, avro, lower, ref
from tests.support.kafka_server import KafkaServer
from tests.support.names import unique
from tests.support.tables import make_client
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

WINDOW_MS = 150

REAL = pytest.mark.parametrize("stack", ["real"], indirect=True)
"""For tests of what does not depend on the broker, or what the mock cluster cannot do."""


@dataclass
class Stack:
    """One Kafka and one DynamoDB endpoint."""

    name: str
    bootstrap_servers: str
    endpoint_url: str
    client: "DynamoDBClient"
    create: Callable[[str, int], None]
    spawn: Spawn
    session_ms: int = 6000
    topics: list[str] = field(default_factory=list)

    def topic(self, partitions: int = 1) -> str:
        """Make a topic and its dead-letter topic."""
        name = unique("events")
        for each, count in ((name, partitions), (f"{name}.dlq", 1)):
            self.create(each, count)
            self.topics.append(each)
        return name

    def env(self) -> dict[str, str]:
        """Return the whole environment of a child."""
        return environment(self.bootstrap_servers, self.endpoint_url)

    def run(
        self,
        topic: str,
        tables: Sequence[str],
        *arguments: str,
        endpoint_url: str | None = None,
        group: str | None = None,
    ) -> Child:
        """Start ``dynatomic run`` on the topic, in the topic's group."""
        command = ["run", "-t", topic, "-g", group or topic, "-X", "fetch.wait.max.ms=50"]
        for table in tables:
            command += ["--table", table]
        if "--window-ms" not in arguments:
            command += ["--window-ms", str(WINDOW_MS)]
        if "consumer" not in arguments:  # with that group protocol the broker decides
            command += ["-X", f"session.timeout.ms={self.session_ms}"]
            command += ["-X", "heartbeat.interval.ms=300"]
        if endpoint_url:
            command += ["--endpoint-url", endpoint_url]
        return self.spawn(*command, *arguments, env=self.env())

    def drain(self, topic: str, tables: Sequence[str], *arguments: str, seconds: float = 60) -> str:
        """Run to the end of the topic; return the log."""
        child = self.run(topic, tables, "--once", *arguments)
        assert child.wait(seconds) == 0, child.logs()
        return child.stderr

    def produce(self, topic: str, events: Iterable[Event], partition: int = -1) -> Log:
        """Store events; return what they add."""
        log: Log = Counter()
        messages = []
        for event in events:
            log[ref(event)] += event.incr
            messages.append({"value": avro(event), "key": event.key.encode()})
        self.produce_raw(topic, messages, partition)
        return log

    def produce_raw(
        self, topic: str, messages: Iterable[dict[str, Any]], partition: int = -1
    ) -> None:
        """Store messages as they are."""
        producer = Producer({"bootstrap.servers": self.bootstrap_servers, "acks": "all"})
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failed.append(error)

        for message in messages:
            producer.produce(topic, partition=partition, on_delivery=delivered, **message)
        assert producer.flush(20) == 0
        assert not failed

    def counters(self, *tables: str) -> Log:
        """Return every number attribute of every item, but for the fences."""
        found: Log = Counter()
        for table in tables:
            for page in self.client.get_paginator("scan").paginate(
                TableName=table, ConsistentRead=True
            ):
                for item in page["Items"]:
                    key, range_ = (
                        next(iter(item.pop(n, {"": None}).values())) for n in ("pk", "rk")
                    )
                    for name, value in item.items():
                        if "N" in value and not name.startswith("fence_"):
                            found[table, str(key), range_, name] += int(value["N"])  # type: ignore[index]
        return found

    def wait_counted(self, log: Log, *tables: str, seconds: float = 60) -> None:
        """Wait until no counter is lower than the log says."""
        wait_until(lambda: self.counters(*tables) >= log, "all is counted", seconds)

    def wait_more(self, table: str) -> None:
        """Wait until more is counted in this table than now.

        Each client waits up to 10 s before it connects again, after others that it waits for.
        """
        before = self.counters(table).total()
        wait_until(lambda: self.counters(table).total() > before, "more is counted", 60)

    def committed(
        self, topic: str, group: str | None = None, *, zeros: bool = False
    ) -> dict[int, int]:
        """Return the group's committed offsets by partition; none where nothing is committed.

        A partition that was found empty may be committed at 0, which is left out without ``zeros``.
        """
        config = {"bootstrap.servers": self.bootstrap_servers, "group.id": group or topic}
        consumer = Consumer(config)
        try:
            count = len(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
            places = [TopicPartition(topic, number) for number in range(count)]
            found: list[TopicPartition] = []

            def answered() -> bool:
                try:
                    found[:] = consumer.committed(places, timeout=10)
                except KafkaException:  # the group's coordinator is being loaded
                    return False
                return True

            wait_until(answered, "the committed offsets are known")
        finally:
            consumer.close()
        least = 0 if zeros else 1
        return {place.partition: place.offset for place in found if place.offset >= least}

    def committed_with_metadata(self, topic: str, partition: int = 0) -> tuple[int, str]:
        """Return the committed offset of one partition of the topic's own group, and its note."""
        config = {"bootstrap.servers": self.bootstrap_servers, "group.id": topic}
        consumer = Consumer(config)
        try:
            (found,) = consumer.committed([TopicPartition(topic, partition)], timeout=10)
        finally:
            consumer.close()
        return found.offset, found.metadata or ""

    def commit(self, topic: str, offset: tuple[int, str] | None, partition: int = 0) -> None:
        """Commit for the topic's own group, which must have no member; None is the beginning."""
        number, about = offset or (0, "")
        consumer = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": topic})
        place = TopicPartition(topic, partition, number, about)

        def stored() -> bool:
            try:
                (found,) = consumer.commit(offsets=[place], asynchronous=False)
            except KafkaException:  # a killed member may still be in the group
                return False
            return found.error is None

        try:
            wait_until(stored, "the offset is committed")
        finally:
            consumer.close()

    def delete(self, topic: str) -> None:
        """Delete a topic; the name may be in use for a moment longer."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        admin.delete_topics([topic])[topic].result(30)

    def ends(self, topic: str) -> dict[int, int]:
        """Return the end offsets of the partitions that hold something."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": "ends"})
        try:
            count = len(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
            marks = {
                n: consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10)
                for n in range(count)
            }
        finally:
            consumer.close()
        return {number: high for number, (low, high) in marks.items() if high > low}

    def headers(self, letter: Message) -> list[tuple[str, bytes | None]]:
        """Return a letter's headers in their order."""
        return cast("list[tuple[str, bytes | None]]", letter.headers() or [])

    def letters(self, topic: str) -> list[Message]:
        """Return all dead letters of a topic."""
        place = TopicPartition(f"{topic}.dlq", 0, 0)
        consumer = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": "letters"})
        found: list[Message] = []
        try:
            _, high = consumer.get_watermark_offsets(place, timeout=10)
            consumer.assign([place])
            deadline = time.monotonic() + 20
            while not found or (found[-1].offset() or 0) + 1 < high:
                if not high:
                    break
                assert time.monotonic() < deadline, f"{len(found)} of {high} letters read"
                found.extend(m for m in consumer.consume(1000, 0.2) if m.error() is None)
        finally:
            consumer.close()
        return found

    def close(self) -> None:
        """Delete the topics of a real Kafka."""
        if self.topics and self.name == "real":
            admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
            for deleted in admin.delete_topics(self.topics).values():
                deleted.result(30)


def same(stack: Stack, log: Log, found: Log, protocol: str) -> None:
    """Check that each counter is equal, after rebalances and shutdowns in order.

    The mock cluster refuses every commit while a member joins a classic group, which Kafka does
    not: there, what was written and could not be committed is counted again.
    """
    assert not lower(log, found)
    if stack.name == "real" or protocol == "consumer":
        assert found == log


def real_stack(request: pytest.FixtureRequest, kafka: HasBootstrapServers, spawn: Spawn) -> Stack:
    url = request.getfixturevalue("dynamodb_real").endpoint_url
    servers = kafka.bootstrap_servers
    return Stack(
        "real",
        servers,
        url,
        make_client(url),
        lambda name, count: create_kafka_topic(servers, name, count),
        spawn,
        # A broker of the user's own takes no session shorter than Kafka's default minimum.
        2000 if isinstance(kafka, KafkaServer) else 6000,
    )


def made_again(stack: Stack, topic: str) -> None:
    """Delete a topic and make it again at once."""
    stack.delete(topic)
    wait_until(lambda: made(stack, topic), "the topic is made again")


def made(stack: Stack, topic: str) -> bool:
    try:
        stack.create(topic, 1)
    except Exception as error:  # the brokers have not forgotten the old one yet
        if "TOPIC_ALREADY_EXISTS" not in str(error):
            raise
        return False
    return True
