"""A real Kafka and a real DynamoDB Local without Docker: Java 17 and two folders of jars.

Nothing here imports pytest, so that bench uses it too. The jars come through ``pom.xml`` here
into ``.servers/`` once. A server is started on free ports of 127.0.0.1, with its data in a
temporary folder, and ends with `stop`, or with this process, however that ends.
"""

import base64
import functools
import hashlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from dynatomic.errors import DynatomicError, UnavailableError
from dynatomic.testing.embedded import call_dynamodb, free_port

POM: Final = Path(__file__).with_name("pom.xml")
CACHE: Final = Path(__file__).parents[1] / ".servers"
BOOTSTRAP_VARIABLE: Final = "DYNATOMIC_TEST_BOOTSTRAP_SERVERS"
ENDPOINT_VARIABLE: Final = "DYNATOMIC_TEST_ENDPOINT_URL"
JAVA_VERSION: Final = 17
SHORT_LIVED: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""JVM options of servers that live for minutes: a broker starts with 3.7 s of CPU, not 5.9."""

_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 30.0
_FETCH_SECONDS: Final = 900.0

# One line a change: "+pid" and "-pid" of processes to kill, "rm path" of folders to delete,
# when the pipe closes, that is, when the process that holds its other end is gone.
_REAPER: Final = """
import os, shutil, signal, sys
pids, folders = set(), set()
for line in sys.stdin:
    word, value = line[:1], line[1:].strip()
    {"+": pids.add, "-": pids.discard, "d": folders.add, "x": folders.discard}[word](value)
for pid in pids:
    try:
        os.kill(int(pid), signal.SIGKILL)
    except ProcessLookupError:
        pass
for folder in folders:
    shutil.rmtree(folder, ignore_errors=True)
"""


class MissingError(DynatomicError):
    """Something that a real server needs is not on this machine; the message says what."""


class Reaper:
    """Kills the processes and deletes the folders told to it once this process is gone.

    A handler or a finalizer cannot do that when this process is killed; another process can.
    """

    def __init__(self) -> None:
        """Start it, in a session of its own: a Ctrl-C here must not end it first."""
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _REAPER],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def add(self, pid: int) -> None:
        """Kill this process in the end."""
        self._tell(f"+{pid}")

    def remove(self, pid: int) -> None:
        """Forget this process: it has ended."""
        self._tell(f"-{pid}")

    def add_folder(self, folder: Path) -> None:
        """Delete this folder in the end."""
        self._tell(f"d{folder}")

    def remove_folder(self, folder: Path) -> None:
        """Forget this folder: it is deleted."""
        self._tell(f"x{folder}")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()


@functools.cache
def reaper() -> Reaper:
    """Return the one of this process."""
    return Reaper()


def java() -> str:
    """Return the java command. Raises `MissingError` unless it runs and is 17 or newer."""
    command = shutil.which("java")
    if command is None:
        raise MissingError(f"no java command: install Java {JAVA_VERSION} or newer")
    run = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', run.stderr)
    if run.returncode != 0 or found is None:
        raise MissingError(f"{command} does not run: install Java {JAVA_VERSION} or newer")
    if int(found[1]) < JAVA_VERSION:
        raise MissingError(f"{command} is Java {found[1]}: install Java {JAVA_VERSION} or newer")
    return command


def jars(profile: str) -> Path:
    """Return the folder with the jars of one profile of the pom, fetched if it is not there.

    Raises `MissingError` if there is no Maven or if it could not fetch them.
    """
    version = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    folder = CACHE / f"{profile}-{version}"
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingError("no mvn command: install Maven")
    CACHE.mkdir(exist_ok=True)
    # Only a complete download gets the folder's name, and it gets it in one step.
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=CACHE) as unfinished:
        target = Path(unfinished) / profile
        _fetch(maven, profile, target)
        try:
            target.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run was faster, and its folder is as good
                raise
    return folder


def _fetch(maven: str, profile: str, target: Path) -> None:
    command = [maven, "-B", "-ntp", "-q", "-f", str(POM), "-P", profile]
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={target}"]
    run = subprocess.run(
        command + goal,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=_FETCH_SECONDS,
    )
    if run.returncode != 0 or not any(target.glob("*.jar")):
        lines = [line for line in (run.stdout + run.stderr).splitlines() if "ERROR" in line]
        raise MissingError(
            f"Maven could not fetch {profile}: {lines[0] if lines else run.stdout[-300:]}"
        )


class Process:
    """A server process with a folder and a log, ended by its id."""

    def __init__(self, name: str) -> None:
        """Make the folder; `launch` starts the process."""
        self.folder = Path(tempfile.mkdtemp(prefix=f"dynatomic-{name}-"))
        self.log = self.folder / f"{name}.log"
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        reaper().add_folder(self.folder)

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process else None

    def launch(self, command: list[str], is_ready: Callable[[], bool]) -> None:
        """Start it and wait until it is ready.

        Raises `UnavailableError` with the end of its log if it ends or is not ready in time.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        reaper().add(self._process.pid)
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready():
            if (code := self._process.poll()) is not None:
                raise UnavailableError(
                    f"{self._name} ended at start with {code}; its log ends:\n{self.tail()}"
                )
            if time.monotonic() > deadline:
                self.end(kill=True)
                raise UnavailableError(
                    f"{self._name} is not ready in time; its log ends:\n{self.tail()}"
                )
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Send it a signal; nothing if it is not up."""
        if self._process is not None:
            self._process.send_signal(number)

    def end(self, *, kill: bool = False) -> None:
        """End it, with SIGKILL at once or after SIGTERM had its time; nothing if it is not up."""
        process, self._process = self._process, None
        if process is None:
            return
        if not kill:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        else:
            process.kill()
        process.wait()
        reaper().remove(process.pid)

    def delete(self) -> None:
        """Delete its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        reaper().remove_folder(self.folder)

    def tail(self, lines: int = 40) -> str:
        """Return the end of its log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class KafkaServer:
    """One Kafka broker, KRaft, that keeps its port and its data over `stop` and `start`.

    ``listeners`` are further ones beside the plain one: a name, and the settings of each without
    their prefix ``listener.name.NAME.``. ``ports`` says where they are. ``advertised`` is the port
    that clients of the plain one are sent to, where it is another.
    """

    def __init__(
        self,
        heap: str = "512m",
        listeners: Mapping[str, Mapping[str, str]] | None = None,
        advertised: int | None = None,
        jvm: Sequence[str] = SHORT_LIVED,
    ) -> None:
        """Start it. Raises `MissingError` without Java or jars, else `UnavailableError`."""
        self._java = [java(), f"-Xmx{heap}", *jvm, "-cp", f"{jars('kafka')}/*"]
        self._process = Process("kafka")
        port, controller = free_port(), free_port()
        self.bootstrap_servers = f"127.0.0.1:{port}"
        self.ports = {name: free_port() for name in listeners or {}}
        self._config = self._process.folder / "server.properties"
        more = _further_listeners(self.ports, listeners or {})
        settings = _kafka_settings(self._process.folder, port, controller)
        if advertised is not None:
            settings["advertised.listeners"] = f"PLAINTEXT://127.0.0.1:{advertised}"
        for name, value in more.items():
            settings[name] = f"{settings[name]},{value}" if name in settings else value
        # Line ends within a value, as in a certificate, are escaped.
        lines = (f"{name}={value}".replace("\n", r"\n") for name, value in settings.items())
        self._config.write_text("\n".join(lines))
        try:
            self._format()
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid

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
        """Let it go on after `pause`."""
        self._process.signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop it and delete its data."""
        self.stop(kill=True)
        self._process.delete()

    def tail(self) -> str:
        """Return the end of its log."""
        return self._process.tail()

    def _format(self) -> None:
        # One in 64 would begin with a dash, and be taken for an option.
        cluster = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._config)]
        run = subprocess.run([*self._java, *tool], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise UnavailableError(
                f"Kafka's storage was not formatted: {run.stdout[-500:]}{run.stderr[-500:]}"
            )

    def _is_ready(self) -> bool:
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        try:
            return bool(admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def __enter__(self) -> Self:
        """Give this server to the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


class DynamoDBLocal:
    """One DynamoDB Local, in memory, one database for all credentials and regions."""

    def __init__(self, heap: str = "512m") -> None:
        """Start it. Raises `MissingError` without Java or jars, else `UnavailableError`."""
        folder = jars("dynamodb")
        port = free_port()
        self.endpoint_url = f"http://127.0.0.1:{port}"
        command = [java(), f"-Xmx{heap}", *SHORT_LIVED]
        command += [f"-Djava.library.path={folder}", "-cp", f"{folder}/*"]
        main = "com.amazonaws.services.dynamodbv2.local.main.ServerRunner"
        self._process = Process("dynamodb-local")
        command.insert(1, f"-Djava.io.tmpdir={self._process.folder}")
        options = ["-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port)]
        try:
            self._process.launch([*command, main, *options], self._is_ready)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid

    def close(self) -> None:
        """End it; its tables were in memory."""
        self._process.end(kill=True)
        self._process.delete()

    def tail(self) -> str:
        """Return the end of its log."""
        return self._process.tail()

    def _is_ready(self) -> bool:
        try:
            call_dynamodb(self.endpoint_url, "ListTables", {})
        except (OSError, DynatomicError):
            return False
        return True

    def __enter__(self) -> Self:
        """Give this server to the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def _further_listeners(
    ports: Mapping[str, int], listeners: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Return the settings of listeners with TLS and SASL; lists are added to the plain ones."""
    if not ports:
        return {}
    # Certificates are for names: where clients go next must have the name that they came by.
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
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "log.dirs": folder / "data",
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
        # Everything is allowed on what has no ACL; a test may give its own topics some.
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
        "broker.heartbeat.interval.ms": 200,
        "broker.session.timeout.ms": 1000,
    }
