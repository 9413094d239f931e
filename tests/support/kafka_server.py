"""One real Kafka broker without Docker."""

import base64
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from dynatomic.errors import UnavailableError
from dynatomic.testing.embedded import free_port
from tests.support.jars import jars, java
from tests.support.process import Server

BOOTSTRAP_VARIABLE: Final = "DYNATOMIC_TEST_BOOTSTRAP_SERVERS"
SHORT_LIVED: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""JVM options of servers that live for minutes: a broker starts with 3.7 s of CPU, not 5.9."""


class KafkaServer(Server):
    """One Kafka broker with KRaft. It keeps its port and its data over `stop` and `start`.

    ``listeners`` are further listeners: a name, and the settings of each without the prefix
    ``listener.name.NAME.``. ``ports`` has their ports. ``advertised`` is another port that clients
    of the plain listener are sent to. ``settings`` are further settings of the broker.
    """

    def __init__(
        self,
        heap: str = "512m",
        listeners: Mapping[str, Mapping[str, str]] | None = None,
        advertised: int | None = None,
        jvm: Sequence[str] = SHORT_LIVED,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Start it. Raises `MissingError` without Java or jars, else `UnavailableError`."""
        self._java = [java(), f"-Xmx{heap}", *jvm, "-cp", f"{jars('kafka')}/*"]
        super().__init__("kafka")
        port, controller = free_port(), free_port()
        self.bootstrap_servers = f"127.0.0.1:{port}"
        self.ports = {name: free_port() for name in listeners or {}}
        self._config = self._process.folder / "server.properties"
        more = _further_listeners(self.ports, listeners or {})
        every = {**_kafka_settings(self._process.folder, port, controller), **(settings or {})}
        if advertised is not None:
            every["advertised.listeners"] = f"PLAINTEXT://127.0.0.1:{advertised}"
        for name, value in more.items():
            every[name] = f"{every[name]},{value}" if name in every else value
        # Line ends in a value, such as a certificate, are escaped.
        lines = (f"{name}={value}".replace("\n", r"\n") for name, value in every.items())
        self._config.write_text("\n".join(lines))
        with self._starting():
            self._format()
            self.start()

    def start(self) -> None:
        """Start it again after `stop`, and wait until it answers."""
        options = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        command = [*self._java[:1], *options, *self._java[1:], "kafka.Kafka", str(self._config)]
        self._process.launch(command, self._is_ready)

    def stop(self, *, kill: bool = False) -> None:
        """Stop it in order, or with SIGKILL; the data stays."""
        self._process.end(kill=kill)

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it continue after `pause`."""
        self._process.signal(signal.SIGCONT)

    def cut_logs(self, topics: Sequence[str], share: float) -> None:
        """Kill it, keep only a share of the bytes of these logs, and start it again.

        That is a power failure in which the ends of the logs were not on disk.
        """
        self.stop(kill=True)
        for topic in topics:
            for log in (self._process.folder / "data").glob(f"{topic}-[0-9]*/*.log"):
                content = log.read_bytes()
                # Another file: a response of the old one may be on its way without a copy.
                log.unlink()
                log.write_bytes(content[: round(len(content) * share)])
        self.start()

    def _format(self) -> None:
        format_storage(self._java, self._config, cluster_id())

    def _is_ready(self) -> bool:
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        try:
            return bool(admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False


def cluster_id() -> str:
    """Return an id for a new cluster."""
    # Without the letter, one in 64 would start with a dash and look like an option.
    return "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]


def format_storage(java_command: Sequence[str], config: Path, cluster: str) -> None:
    """Prepare the folder of a server for a cluster. Raises `UnavailableError`."""
    tool = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(config)]
    run = subprocess.run([*java_command, *tool], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise UnavailableError(
            f"Kafka's storage was not formatted: {run.stdout[-500:]}{run.stderr[-500:]}"
        )


def _further_listeners(
    ports: Mapping[str, int], listeners: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Return the settings of listeners with TLS and SASL; lists are added to the plain ones."""
    if not ports:
        return {}
    # A certificate is for a name, so the advertised address must have the name of the first one.
    addresses = ",".join(f"{name}://localhost:{port}" for name, port in ports.items())
    return {
        "listeners": addresses,
        "advertised.listeners": addresses,
        "listener.security.protocol.map": ",".join(
            ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT", *(f"{n}:SASL_SSL" for n in ports)]
        ),
        "inter.broker.listener.name": "PLAINTEXT",
        **{
            f"listener.name.{name.lower()}.{setting}": value
            for name, settings in listeners.items()
            for setting, value in settings.items()
        },
    }


def _kafka_settings(folder: Path, port: int, controller: int) -> dict[str, object]:
    return broker_settings(controller, 1) | {
        "process.roles": "broker,controller",
        "node.id": 1,
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "log.dirs": folder / "data",
    }


def broker_settings(controller: int, controller_id: int) -> dict[str, object]:
    """Return the settings that all test brokers share; ``controller`` is a port."""
    return {
        "advertised.listeners": "",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"{controller_id}@127.0.0.1:{controller}",
        "default.replication.factor": 1,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "group.consumer.min.session.timeout.ms": 1000,
        "group.consumer.min.heartbeat.interval.ms": 100,
        "group.consumer.session.timeout.ms": 6000,
        "group.consumer.heartbeat.interval.ms": 500,
        "auto.create.topics.enable": "false",
        # Without an ACL, everything is allowed. A test may set ACLs on its own topics.
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
        "broker.heartbeat.interval.ms": 200,
        "broker.session.timeout.ms": 1000,
    }
