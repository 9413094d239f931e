"""A member of a consumer group on the fake, librdkafka's mock cluster, or Kafka 4.4.

Clients are configured by `kafka.client`, only with shorter time-outs.
"""

import time
from collections.abc import Callable
from typing import Final, Literal, Protocol

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from dynatomic.config.settings import Settings
from dynatomic.kafka.client import consumer_config
from tests.support.brokers import Broker

SECONDS: Final = 20


ANSWERED: Final = 5.0


GroupProtocol = Literal["classic", "consumer"]


PROTOCOLS: Final = ("classic", "consumer")


def quick(broker: Broker, protocol: GroupProtocol) -> dict[str, str]:
    """Return what makes rebalances quick.

    The mock cluster ends each one of a classic group only after the session time-out, less a
    second.
    """
    if protocol == "consumer":
        return {}
    session = "2000" if broker.name == "embedded" else "6000"
    return {"session.timeout.ms": session, "heartbeat.interval.ms": "100"}


class Member:
    """A consumer in a group, and all that came out of it."""

    def __init__(self, broker: Broker, settings: Settings, *, beginning: bool, eof: bool) -> None:
        self.topic = settings.topic
        self.on_revoke: Callable[[Consumer, list[TopicPartition]], object] | None = None
        self._beginning = beginning
        self.rows: list[Message] = []
        self.events: list[Message] = []
        self.calls: list[tuple[str, list[int]]] = []
        self.commits: list[tuple[KafkaError | None, list[TopicPartition]]] = []
        self.owned: set[int] = set()
        config = consumer_config(settings, eof=eof)
        config["on_commit"] = lambda error, places: self.commits.append((error, places))
        self.consumer: Consumer = broker.consumer(config)

    def subscribe(self) -> "Member":
        self.consumer.subscribe(
            [self.topic],
            on_assign=self._gained,
            on_revoke=lambda _, places: self._given_up("revoke", places),
            on_lost=lambda _, places: self._given_up("lost", places),
        )
        return self

    def _gained(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        numbers = sorted(place.partition for place in places)
        self.calls.append(("assign", numbers))
        self.owned.update(numbers)
        if self._beginning and numbers:
            consumer.incremental_assign([self.at(n, OFFSET_BEGINNING) for n in numbers])

    def _given_up(self, kind: str, places: list[TopicPartition]) -> None:
        if kind == "revoke" and self.on_revoke is not None:
            self.on_revoke(self.consumer, places)
        numbers = sorted(place.partition for place in places)
        self.calls.append((kind, numbers))
        self.owned.difference_update(numbers)

    def poll(self) -> None:
        for message in self.consumer.consume(100, 0.02):
            (self.events if message.error() else self.rows).append(message)

    def at(self, partition: int, offset: int = OFFSET_INVALID) -> TopicPartition:
        return TopicPartition(self.topic, partition, offset)

    def committed(self, *partitions: int) -> list[int]:
        places = [self.at(partition) for partition in partitions]
        return [place.offset for place in self.consumer.committed(places, ANSWERED)]

    def commit(self, partition: int, offset: int) -> list[TopicPartition]:
        """Commit and wait for the answer."""
        places = [self.at(partition, offset)]
        return self.consumer.commit(offsets=places, asynchronous=False)

    def values(self, partition: int = 0) -> list[bytes | None]:
        return [row.value() for row in self.rows if row.partition() == partition]

    def codes(self) -> list[tuple[int | None, int]]:
        """Return partition and code of each event."""
        return [(e.partition(), error.code()) for e in self.events if (error := e.error())]


def wait(condition: Callable[[], object], *members: Member) -> None:
    """Poll the members until the condition holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(str([(m.calls, m.codes(), len(m.rows)) for m in members]))
        for member in members:
            member.poll()


def code_of(error: pytest.ExceptionInfo[KafkaException]) -> int:
    return int(error.value.args[0].code())


def refusal_of_commits(member: Member) -> int:
    """Commit, without polling, until it is refused, and return the code."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            member.commit(0, 1)
        except KafkaException as error:
            return int(error.args[0].code())
    pytest.fail("commits are still accepted")


class Join(Protocol):
    """Makes members; they are closed after the test."""

    def __call__(
        self,
        topic: str,
        group: str | None = None,
        *,
        protocol: GroupProtocol = "classic",
        beginning: bool = True,
        eof: bool = False,
        **librdkafka: str,
    ) -> Member:
        """Return a member that joins at its first poll; its group is named as the topic."""


class Produce(Protocol):
    """Makes producers as the product does."""

    def __call__(self, **librdkafka: str) -> Producer:
        """Return one; what it did not send is forgotten after the test."""


def fill(producer: Producer, topic: str, *values: bytes, partition: int = 0) -> None:
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(SECONDS) == 0


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % i for i in range(first, first + count)]
