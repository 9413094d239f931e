"""Where a campaign runs: the embedded default or the real servers, and what can be broken there."""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.cimpl import NewPartitions

from dynatomic.testing.embedded import Embedded
from dynatomic.testing.mock_broker import MockBroker
from tests.support.brokers import HasBootstrapServers, create_kafka_topic
from tests.support.dynamodb_local import DynamoDBLocal
from tests.support.kafka_cluster import KafkaCluster, end_offsets
from tests.support.kafka_server import KafkaServer
from tests.support.tables import HasEndpointUrl, make_client
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Name = Literal["embedded", "real", "cluster"]
_text, _int16, _int32 = ctypes.c_char_p, ctypes.c_int16, ctypes.c_int32


class Mock:
    """Faults of librdkafka's mock cluster, by the functions of *rdkafka_mock.h*."""

    def __init__(self, broker: MockBroker) -> None:
        self.broker = broker
        self.brokers = [1]

    def _call(self, name: str, *arguments: object) -> int:
        function = getattr(self.broker._library, f"rd_kafka_mock_{name}")
        function.restype = ctypes.c_int
        code: int = function(ctypes.c_void_p(self.broker._cluster), *arguments)
        return code

    def add_broker(self) -> int:
        """Add a broker; partitions and coordinators can be moved to it."""
        number = max(self.brokers) + 1
        assert self._call("broker_add", _int32(number)) == 0
        self.brokers.append(number)
        return number

    def move_coordinator(self, group: str, broker: int) -> None:
        """Let another broker coordinate the group."""
        kind = _text(b"group")
        assert not self._call("coordinator_set", kind, _text(group.encode()), _int32(broker))

    def move_leader(self, topic: str, partition: int, broker: int) -> None:
        """Let another broker lead the partition. (Without one the mock cluster crashes.)"""
        place = _text(topic.encode()), _int32(partition)
        assert not self._call("partition_set_leader", *place, _int32(broker))

    def delay(self, api_key: int, seconds: float, count: int) -> None:
        """Answer the next requests of this kind late, on all brokers."""
        pair = ctypes.c_int(0), ctypes.c_int(int(seconds * 1000))
        for number in self.brokers:
            self._call(
                "broker_push_request_error_rtts",
                _int32(number),
                _int16(api_key),
                ctypes.c_size_t(count),
                *(value for _ in range(count) for value in pair),
            )

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Forget the records below an offset."""
        place = _text(topic.encode()), _int32(partition)
        assert not self._call("partition_delete_records", *place, ctypes.c_int64(before))


@dataclass
class Backend:
    """One Kafka and one DynamoDB endpoint, and the handles to break them."""

    name: Name
    bootstrap_servers: str
    endpoint_url: str
    client: "DynamoDBClient"
    create: Callable[[str, int], None]
    mock: Mock | None = None
    kafka: KafkaServer | None = None
    cluster: KafkaCluster | None = None
    classic_ms: int = 2000
    """The session time-out that members of classic groups ask for."""

    consumer_ms: int = 3000
    """The session time-out that the broker gives to members of new groups."""

    def session_s(self, protocol: str) -> float:
        """Return how long a member may be silent."""
        return (self.classic_ms if protocol == "classic" else self.consumer_ms) / 1000

    @cached_property
    def admin(self) -> AdminClient:
        """A client for what an operator does."""
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    def delete_topic(self, topic: str) -> None:
        """Delete a topic and wait until it is gone."""
        if self.mock is not None:
            assert not self.mock._call("topic_delete", _text(topic.encode()))
            return
        admin = self.admin
        admin.delete_topics([topic])[topic].result(30)
        wait_until(lambda: topic not in admin.list_topics(timeout=10).topics, "deleted")

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Delete the records below an offset, as retention does."""
        if self.mock is not None:
            self.mock.delete_records(topic, partition, before)
            return
        place = TopicPartition(topic, partition, before)
        self.admin.delete_records([place])[place].result(30)

    def limit_messages(self, topic: str, max_bytes: int | None) -> None:
        """Let a topic take messages up to this size, or up to the broker's limit again."""
        name = "max.message.bytes"
        operation = AlterConfigOpType.DELETE if max_bytes is None else AlterConfigOpType.SET
        entry = ConfigEntry(name, str(max_bytes or ""), incremental_operation=operation)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(30)

        def is_set() -> bool:
            asked = ConfigResource(ConfigResource.Type.TOPIC, topic)
            value: str = self.admin.describe_configs([asked])[asked].result(30)[name].value
            return (value == str(max_bytes)) == (max_bytes is not None)

        wait_until(is_set, f"{name} of {topic} is {max_bytes}")

    def ends(self, topic: str, partitions: int) -> dict[int, int]:
        """Return the end offsets of the partitions that hold something."""
        return end_offsets(self.bootstrap_servers, topic, partitions)

    def add_partitions(self, topic: str, total: int) -> None:
        """Give a topic more partitions."""
        self.admin.create_partitions([NewPartitions(topic, total)])[topic].result(30)

    @contextmanager
    def away(self, seconds: float) -> Iterator[None]:
        """Take all brokers away for a while."""
        if self.mock is not None:
            self.mock.broker.set_broker_down()
        elif self.kafka is not None:
            self.kafka.stop(kill=True)
        elif self.cluster is not None:
            self.cluster.one_at_a_time.acquire()
            for broker in self.cluster.brokers.values():
                broker.kill()
        try:
            threading.Event().wait(seconds)  # how long they are away
            yield
        finally:
            if self.mock is not None:
                self.mock.broker.set_broker_up()
            elif self.kafka is not None:
                self.kafka.start()
            elif self.cluster is not None:
                for broker in self.cluster.brokers.values():
                    broker.start()
                self.cluster.wait_complete()
                self.cluster.one_at_a_time.release()


def embedded_backend(server: Embedded) -> Backend:
    """Return the back end for an embedded broker and table."""
    broker, url = server.broker, server.endpoint_url
    client = make_client(url)
    servers = server.bootstrap_servers
    return Backend("embedded", servers, url, client, broker.create_topic, Mock(broker))


def real_backend(kafka: HasBootstrapServers, dynamodb: HasEndpointUrl) -> Backend:
    """Return the back end for real servers. One of the user's own is never stopped."""
    servers, url = kafka.bootstrap_servers, dynamodb.endpoint_url
    ours = kafka if isinstance(kafka, KafkaServer) else None
    return Backend(
        "real",
        servers,
        url,
        make_client(url),
        lambda name, count: create_kafka_topic(servers, name, count),
        kafka=ours,
        # Kafka's own least time-outs, where we have not set them.
        classic_ms=2000 if ours else 6000,
        consumer_ms=6000 if ours else 45_000,
    )


def cluster_backend(cluster: KafkaCluster, dynamodb: HasEndpointUrl) -> Backend:
    """Return the back end for a cluster of three brokers."""
    servers, url = cluster.bootstrap_servers, dynamodb.endpoint_url
    client, create = make_client(url), cluster.create_topic
    return Backend("cluster", servers, url, client, create, cluster=cluster, consumer_ms=6000)


@contextmanager
def started(name: Name) -> Iterator[Backend]:
    """Start the servers for a campaign."""
    if name == "embedded":
        with Embedded() as server:
            yield embedded_backend(server)
    elif name == "cluster":
        with KafkaCluster() as cluster, DynamoDBLocal() as dynamodb:
            yield cluster_backend(cluster, dynamodb)
    else:
        with KafkaServer() as kafka, DynamoDBLocal() as dynamodb:
            yield real_backend(kafka, dynamodb)
