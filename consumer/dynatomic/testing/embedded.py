"""A Kafka broker and a DynamoDB endpoint that need only packages from PyPI, for demo and tests.

The broker is `mock_broker.MockBroker`, inside this process. The tables are in a child process,
``ministack``. Both listen on 127.0.0.1 only, accept other processes, and keep all data in memory.
Both end with this process, also if it is killed.
"""

import http.client
import importlib.metadata
import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dynatomic.errors import DynatomicError, UnavailableError
from dynatomic.events.row import KeySchema
from dynatomic.testing.forwarder import check_free
from dynatomic.testing.mock_broker import MockBroker

REGION: Final = "us-east-1"
START_SECONDS: Final = 60.0

_LOG_TAIL: Final = 2000

# The child runs ministack. It ends and deletes its folder when the parent's end of the pipe closes.
# The kernel closes it even if the parent is killed, which no signal handler could do.
_CHILD: Final = """
import os, runpy, shutil, sys, threading
def follow_parent():
    sys.stdin.buffer.read()
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os._exit(0)
threading.Thread(target=follow_parent, daemon=True).start()
sys.argv[1:] = []
runpy.run_module("ministack", run_name="__main__", alter_sys=True)
"""


def free_port() -> int:
    """Return a free TCP port on 127.0.0.1.

    It is below the range for outgoing connections. So no client gets this port before the server
    starts, or while the server restarts.
    """
    for port in secrets.SystemRandom().sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise UnavailableError(
        "no free TCP port between 20000 and 32000 on 127.0.0.1: stop some servers"
    )


def call_dynamodb(endpoint_url: str, operation: str, request: object) -> dict[str, object]:
    """Send one request with a dummy signature, which local endpoints do not check.

    It does not use the AWS configuration of this machine. Raises `OSError` if there is no answer,
    and `DynatomicError` if the answer is not 200.
    """
    host = endpoint_url.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(host, timeout=10)
    scope = f"embedded/20200101/{REGION}/dynamodb/aws4_request"
    headers = {
        "X-Amz-Target": f"DynamoDB_20120810.{operation}",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
    }
    try:
        connection.request("POST", "/", json.dumps(request), headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise DynatomicError(
            f"{operation} at {endpoint_url} answered {response.status}: {body[:200]!r}"
        )
    answer: dict[str, object] = json.loads(body)
    return answer


def environment(bootstrap_servers: str, endpoint_url: str) -> dict[str, str]:
    """Return the environment for a child process that uses local servers only.

    It is the environment of this process without the ``AWS_`` and ``DYNATOMIC_`` variables, so the
    child gets no profile and no key of the user. Do not merge it with ``os.environ``.
    """
    own = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "DYNATOMIC_"))}
    return own | {
        "AWS_ENDPOINT_URL_DYNAMODB": endpoint_url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "embedded",
        "AWS_SECRET_ACCESS_KEY": "embedded",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "DYNATOMIC_BOOTSTRAP_SERVERS": bootstrap_servers,
    }


class MockTable:
    """A ministack child process, which is a DynamoDB endpoint on a given or a free port."""

    def __init__(self, port: int | None = None) -> None:
        """Start it with its own folder, and wait until it answers.

        Raises `DynatomicError` if ministack is not installed, or if it ends at once (with its
        output). Raises `UnavailableError` if it does not answer in time.
        """
        if importlib.util.find_spec("ministack") is None:
            raise DynatomicError(
                "the embedded tables need ministack: pip install 'dynatomic[embedded]'"
            )
        if port is None:
            port = free_port()
        else:
            check_free(port)
        self.endpoint_url = f"http://127.0.0.1:{port}"
        self.folder = Path(tempfile.mkdtemp(prefix="dynatomic-"))
        self._log = self.folder / "ministack.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a fixed program
                [sys.executable, "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self._environment(port),
                # Ctrl-C must not reach the child: the consumers need the tables until they end.
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._process.pid

    def create(self, name: str, schema: KeySchema) -> None:
        """Create a table. Raises `DynatomicError` if it exists."""
        keys = [(schema.hash_name, schema.hash_type, "HASH")]
        if schema.range_name is not None:
            keys.append((schema.range_name, schema.range_type or "S", "RANGE"))
        request = {
            "TableName": name,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                {"AttributeName": key, "AttributeType": type_} for key, type_, _ in keys
            ],
            "KeySchema": [{"AttributeName": key, "KeyType": role} for key, _, role in keys],
        }
        call_dynamodb(self.endpoint_url, "CreateTable", request)

    def close(self) -> None:
        """End the child and delete its folder. A second call does nothing."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _environment(self, port: int) -> dict[str, str]:
        folder = str(self.folder)
        inherited = ("PATH", "PYTHONPATH", "LANG", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
        return {name: os.environ[name] for name in inherited if name in os.environ} | {
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "SERVICES": "dynamodb",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "MINISTACK_REGION": REGION,
            "LOG_LEVEL": "WARNING",
            "HOME": folder,
            "TMPDIR": folder,
            "STATE_DIR": folder,
            # At its start, ministack would remove old containers of its own on this machine.
            "DOCKER_HOST": f"unix://{folder}/no-docker",
        }

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise DynatomicError(
                    f"ministack ended at start ({self._process.returncode}): {self._tail()}"
                )
            try:
                call_dynamodb(self.endpoint_url, "ListTables", {})
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise UnavailableError(f"ministack gave no answer in {START_SECONDS:.0f} s: {self._tail()}")

    def _tail(self) -> str:
        text = self._log.read_text(errors="replace")[-_LOG_TAIL:]
        return " | ".join(line.strip() for line in text.splitlines()) or "it printed nothing"


class Embedded:
    """A context manager with a broker and tables.

    ::

        with Embedded({"row-events": 6, "row-events.dlq": 1}, {"hits": KeySchema(...)}) as e:
            subprocess.run([...], env=e.environment())
    """

    def __init__(
        self,
        partitions: Mapping[str, int] | None = None,
        tables: Mapping[str, KeySchema] | None = None,
        table_port: int | None = None,
    ) -> None:
        """Start both, and create these topics (name: number of partitions) and tables.

        Raises `DynatomicError` if a package is missing or a server does not start.
        """
        self.broker = MockBroker()
        try:
            self.table = MockTable(table_port)
        except BaseException:
            self.broker.close()
            raise
        self.bootstrap_servers = self.broker.bootstrap_servers
        self.endpoint_url = self.table.endpoint_url
        try:
            for name, count in (partitions or {}).items():
                self.broker.create_topic(name, count)
            for name, schema in (tables or {}).items():
                self.table.create(name, schema)
        except BaseException:
            self.close()
            raise

    def environment(self) -> dict[str, str]:
        """Return the environment for a child process that uses both servers."""
        return environment(self.bootstrap_servers, self.endpoint_url)

    def close(self) -> None:
        """End both. A second call does nothing."""
        self.table.close()
        self.broker.close()

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End both, also after an exception."""
        self.close()
