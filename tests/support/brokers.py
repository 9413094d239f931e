"""Brokers of the tests, with one interface: the fake, the embedded default and a real Kafka."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from dynatomic.testing.kafka.broker import FakeBroker


class HasBootstrapServers(Protocol):
    """A Kafka: started by the tests, or given by the user."""

    bootstrap_servers: str


@dataclass(slots=True)
class UserKafka:
    """A Kafka that was started before the tests."""

    bootstrap_servers: str


class Broker(Protocol):
    """The methods of a broker that a contract test uses."""

    name: str
    bootstrap_servers: str | None

    def create_topic(self, name: str, partitions: int) -> None:
        """Make a topic."""

    def consumer(self, conf: dict[str, Any]) -> Consumer:
        """Make a consumer; its bootstrap servers are set."""

    def producer(self, conf: dict[str, Any] | None = None) -> Producer:
        """Make a producer; its bootstrap servers are set."""


class TcpBroker:
    """A broker for the real client."""

    def __init__(
        self, name: str, bootstrap_servers: str, create: Callable[[str, int], None]
    ) -> None:
        """Set the function that creates topics, because the mock cluster has no CreateTopics."""
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
    """The fake, with the same methods."""

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


class MakeTopic(Protocol):
    """Makes a topic with a unique name on the broker of the test."""

    def __call__(self, partitions: int = 1) -> str:
        """Return its name."""
