"""A topic, a group that the test is not a member of, and a clock."""

from collections.abc import Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupType,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from dynatomic.config.settings import Settings
from dynatomic.kafka.admission import PROTOCOLS_NAME
from dynatomic.kafka.client import consumer_config
from dynatomic.operations.lag import LagReader, PartitionLag
from dynatomic.operations.positions import SMALL_FETCHES
from dynatomic.testing.kafka.broker import FakeBroker
from tests.support.clients import Clock

TOPIC, GROUP = "row-events", "dynatomic"
NOW = 1_000_000.0
OTHER = "f" * 32


def member(name: str, *places: tuple[str, int], client: str = "app") -> SimpleNamespace:
    """Return a member as confluent-kafka describes it."""
    owned = SimpleNamespace(topic_partitions=[TopicPartition(*place) for place in places])
    return SimpleNamespace(member_id=name, host="/10.0.0.1", client_id=client, assignment=owned)


class Admin:
    """Describes the fake broker's topics, and one group by hand; an int is an error's code."""

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.group: int | tuple[ConsumerGroupState, list[Any]] = (ConsumerGroupState.STABLE, [])
        self.groups: list[str] = []
        self.assignor = ""
        self.type = ConsumerGroupType.CLASSIC
        self.protocols: str | None = None

    def list_topics(self, topic: str | None = None, *, timeout: float) -> Any:
        assert timeout > 0
        return self.broker.metadata(topic)

    def describe_configs(self, resources: list[Any], request_timeout: float) -> dict[Any, Any]:
        """Give the brokers' setting of group protocols, or deny it."""
        assert request_timeout > 0
        answer: Future[Any] = Future()
        if self.protocols is None:
            denied = KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED)
            answer.set_exception(KafkaException(denied))
        else:
            answer.set_result({PROTOCOLS_NAME: SimpleNamespace(value=self.protocols)})
        return dict.fromkeys(resources, answer)

    def list_consumer_groups(self, *, request_timeout: float) -> Future[Any]:
        assert request_timeout > 0
        answer: Future[Any] = Future()
        answer.set_result(SimpleNamespace(valid=[SimpleNamespace(group_id=n) for n in self.groups]))
        return answer

    def describe_topics(self, _topics: Any, *, request_timeout: float) -> dict[str, Any]:
        assert request_timeout > 0
        high, low = divmod(int(self.broker.topic_ids[TOPIC], 16), 2**64)
        topic_id = SimpleNamespace(
            get_most_significant_bits=lambda: high, get_least_significant_bits=lambda: low
        )
        answer: Future[Any] = Future()
        answer.set_result(SimpleNamespace(topic_id=topic_id))
        return {TOPIC: answer}

    def describe_consumer_groups(
        self, names: Sequence[str], *, request_timeout: float
    ) -> dict[str, Any]:
        assert request_timeout > 0
        answer: Future[Any] = Future()
        if isinstance(self.group, int):
            answer.set_exception(KafkaException(KafkaError(self.group)))
        else:
            state, members = self.group
            answer.set_result(
                SimpleNamespace(
                    state=state,
                    members=members,
                    type=self.type,
                    partition_assignor=self.assignor,
                )
            )
        return dict.fromkeys(names, answer)


class Uncommitted:
    """A consumer that gets the high watermark as the end, above what a transaction holds back."""

    def __init__(self, world: "World") -> None:
        self.world = world

    def list_topics(self, topic: str, timeout: float) -> Any:
        assert timeout > 0
        return self.world.broker.metadata(topic)

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        low, high = self.world.consumer.get_watermark_offsets(place, timeout)
        return low, high + self.world.held_by_transactions


class World:
    """A topic, a group outside of which the test stands, and a clock."""

    def __init__(self, partitions: int = 1, **settings: Any) -> None:
        self.clock = Clock()
        self.made = NOW
        self.broker = FakeBroker(sleep=self.clock.advance, clock=lambda: self.made)
        self.broker.create_topic(TOPIC, partitions)
        self.id = self.broker.topic_ids[TOPIC]
        self.admin = Admin(self.broker)
        self.settings = Settings(topic=TOPIC, group_id=GROUP, **settings)
        config = consumer_config(self.settings, eof=True) | SMALL_FETCHES
        self.consumer = self.broker.consumer(config)
        self.held_by_transactions = 0

    def emit(self, count: int, partition: int = 0, age_s: float = 0.0) -> None:
        self.made = NOW - age_s
        for _ in range(count):
            self.broker.append(TOPIC, partition, None, b"event", [])

    def commit(self, offset: int, partition: int = 0, about: str | None = None) -> None:
        group = self.broker.group(GROUP)
        group.offsets[TOPIC, partition] = offset
        group.metadata[TOPIC, partition] = self.id if about is None else about

    def watch(self) -> LagReader:
        return LagReader(
            self.settings,
            self.consumer,
            self.admin,
            uncommitted=Uncommitted(self),
            clock=self.clock,
            now=lambda: NOW,
        )

    def rows(self) -> list[PartitionLag]:
        return self.watch().read().rows

    def row(self) -> PartitionLag:
        (found,) = self.rows()
        return found
