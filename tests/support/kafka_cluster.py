"""Three real Kafka brokers and a controller, each a process, whose logs can lose their tails."""

import random
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from dynatomic.testing.embedded import free_port
from tests.support.jars import jars, java
from tests.support.kafka_server import SHORT_LIVED, broker_settings, cluster_id, format_storage
from tests.support.process import Process
from tests.support.waiting import wait_until

BROKERS: Final = (1, 2, 3)
_CONTROLLER: Final = 100
_REPLICATED: Final = {
    "default.replication.factor": 3,
    "min.insync.replicas": 2,
    "offsets.topic.replication.factor": 3,
    "transaction.state.log.replication.factor": 3,
    "transaction.state.log.min.isr": 2,
    "unclean.leader.election.enable": "true",
    "replica.lag.time.max.ms": 2000,
    "replica.fetch.wait.max.ms": 100,
    "controlled.shutdown.enable": "false",
}


def end_offsets(bootstrap_servers: str, topic: str, partitions: int) -> dict[int, int]:
    """Return the end offsets of the partitions that hold something."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "ends"})
    try:
        ends = {
            n: consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10)[1]
            for n in range(partitions)
        }
    except KafkaException:  # a partition has no leader for a moment, so its end is not known
        return {0: sys.maxsize}
    finally:
        consumer.close()
    return {number: end for number, end in ends.items() if end > 0}


class Node:
    """One process of the cluster: the controller or a broker, with its folder."""

    def __init__(self, number: int, settings: Mapping[str, object], heap: str) -> None:
        """Write its configuration; `start` starts it."""
        self.number = number
        self.process = Process(f"kafka-{number}")
        self._config = self.process.folder / "server.properties"
        ours = {"node.id": number, "log.dirs": self.data}
        lines = (f"{name}={value}" for name, value in ({**settings, **ours}).items())
        self._config.write_text("\n".join(lines))
        self._java = [java(), f"-Xmx{heap}", *SHORT_LIVED, "-cp", f"{jars('kafka')}/*"]
        self._java.insert(1, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")

    @property
    def data(self) -> Path:
        """The folder of its logs."""
        return self.process.folder / "data"

    @property
    def is_up(self) -> bool:
        """Whether its process runs."""
        return self.process.pid is not None

    def format(self, cluster: str) -> None:
        """Prepare its folder for a cluster."""
        format_storage(self._java, self._config, cluster)

    def start(self) -> None:
        """Start it; `KafkaCluster` waits until the cluster has it."""
        self.process.launch([*self._java, "kafka.Kafka", str(self._config)], lambda: True)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.end(kill=True)

    def cut_tails(self, topic: str, random_: random.Random) -> int:
        """Cut the ends of a topic's logs, as a power failure does; return the bytes that are lost.

        To be called while the broker is down. The cut may be within a batch: the broker drops what
        is left of it when it starts. The file is replaced, not cut: the kernel sends a fetch
        response from the pages of the file, so a cut would also change the bytes of responses that
        a stopped consumer on this machine has not read yet.
        """
        cut = 0
        for log in sorted(self.data.glob(f"{topic}-[0-9]*/*.log")):
            size = log.stat().st_size
            lost = min(size, random_.randint(1, 4000))
            kept = log.with_suffix(".kept")
            kept.write_bytes(log.read_bytes()[: size - lost])
            kept.replace(log)
            cut += lost
        return cut


class KafkaCluster:
    """Three brokers with replication factor 3 and ``min.insync.replicas`` 2.

    Unclean elections are allowed: a broker whose log lost its tail may become the leader.
    """

    def __init__(self, heap: str = "256m") -> None:
        """Start it. Raises `MissingError` without Java or jars, else `UnavailableError`."""
        ports = {number: free_port() for number in BROKERS}
        controller = free_port()
        self.bootstrap_servers = ",".join(f"127.0.0.1:{port}" for port in ports.values())
        common = broker_settings(controller, _CONTROLLER) | _REPLICATED
        quorum = common | {
            "process.roles": "controller",
            "listeners": f"CONTROLLER://127.0.0.1:{controller}",
        }
        del quorum["advertised.listeners"]
        self.controller = Node(_CONTROLLER, quorum, heap)
        self.brokers = {
            number: Node(
                number,
                common
                | {
                    "process.roles": "broker",
                    "listeners": f"PLAINTEXT://127.0.0.1:{port}",
                    "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
                },
                heap,
            )
            for number, port in ports.items()
        }
        self.one_at_a_time = threading.Lock()
        """Held while a broker is down: without a second one the topics take no events."""

        self.admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        try:
            cluster = cluster_id()
            for node in self.nodes:
                node.format(cluster)
                node.start()
            self.wait_complete()
        except BaseException:
            self.close()
            raise

    @property
    def nodes(self) -> list[Node]:
        """The controller and the brokers."""
        return [self.controller, *self.brokers.values()]

    def create_topic(self, name: str, partitions: int) -> None:
        """Make a topic with three replicas, and wait until all are in sync."""
        topic = NewTopic(name, partitions, 3)
        self.admin.create_topics([topic])[name].result(30)
        wait_until(lambda: self.in_sync(name) == 3, f"{name} has three replicas in sync", 60)

    def in_sync(self, topic: str) -> int:
        """Return how many replicas are in sync where the fewest are; 0 without a leader."""
        try:
            found = self.admin.list_topics(topic, timeout=5).topics.get(topic)
        except KafkaException:
            return 0
        partitions = list(found.partitions.values()) if found else []
        return min((len(p.isrs) if p.leader >= 0 else 0 for p in partitions), default=0)

    def leader(self, topic: str, partition: int = 0) -> int:
        """Return the broker that leads a partition, -1 if none does."""
        return self.admin.list_topics(topic, timeout=10).topics[topic].partitions[partition].leader

    def wait_complete(self) -> None:
        """Wait until all brokers that are up are in the cluster."""
        up = {number for number, node in self.brokers.items() if node.is_up}

        def complete() -> bool:
            try:
                return set(self.admin.list_topics(timeout=5).brokers) >= up
            except KafkaException:
                return False

        wait_until(complete, f"brokers {sorted(up)} are in the cluster", 90)

    def restart(self, number: int) -> None:
        """Start a broker that was killed, and wait until the cluster has it."""
        self.brokers[number].start()
        self.wait_complete()

    def tail(self) -> str:
        """Return the ends of the logs of all processes."""
        return "\n".join(f"--- {n.number}\n{n.process.tail(15)}" for n in self.nodes)

    def close(self) -> None:
        """End all processes and delete their data."""
        with ExitStack() as stack:
            for node in self.nodes:
                stack.callback(node.process.delete)
                stack.callback(node.kill)

    def __enter__(self) -> Self:
        """Return this cluster."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
