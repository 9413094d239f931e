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
    """A Kafka: one of ours or one of the user's."""

    bootstrap_servers: str


@dataclass(slots=True)
class UserKafka:
    """A Kafka that was there before the tests."""

    bootstrap_servers: str


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


class MakeTopic(Protocol):
    """Makes a topic of a name of its own on the test's broker."""

    def __call__(self, partitions: int = 1) -> str:
        """Return its name."""
