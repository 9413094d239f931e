"""The servers for this machine: fixed ports, what is printed, and the commands on them."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import IO

import pytest

from dynatomic.config.settings import Settings
from dynatomic.errors import DynatomicError
from dynatomic.operations.dev import dev
from dynatomic.testing.embedded import free_port
from dynatomic.testing.forwarder import Forwarder

README = (Path(__file__).parents[2] / "README.md").read_text()


def start(kafka_port: int, table_port: int) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "DYNATOMIC_"))}
    ports = ["--kafka-port", str(kafka_port), "--table-port", str(table_port)]
    return subprocess.Popen(
        [sys.executable, "-m", "dynatomic", "dev", *ports],
        env=clean,
        stdout=subprocess.PIPE,
        text=True,
    )


def printed(out: IO[str]) -> list[str]:
    """Read up to the last line that it prints."""
    lines = []
    for line in out:
        lines.append(line.rstrip())
        if line.startswith("export DYNATOMIC_BOOTSTRAP_SERVERS"):
            return lines
    raise AssertionError(lines)


def dynatomic(environment: dict[str, str], *argv: str) -> str:
    command = [sys.executable, "-m", "dynatomic", *argv]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(180)
def test_the_commands_of_the_first_page_work_on_it_and_tables_survive() -> None:
    kafka_port, table_port = free_port(), free_port()
    child = start(kafka_port, table_port)
    try:
        assert child.stdout is not None
        lines = printed(child.stdout)
        exports = [line for line in lines if line.startswith("export ")]
        pairs = (word.split("=", 1) for line in exports for word in shlex.split(line)[1:])
        environment = {**os.environ, **dict(pairs)}
        said = dynatomic(environment, "init", "--create-tables", "--table", "usage")
        assert "topic row-events: exists, 6 partitions\n" in said
        assert "table usage: created, keys pk (S)\n" in said
        dynatomic(environment, "produce", "--count", "25", "--table", "usage")
        dynatomic(environment, "run", "--table", "usage", "--once")
        assert dynatomic(environment, "verify", "--table", "usage").startswith("OK ")
    finally:
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    assert child.returncode == 0
    # The README shows the same lines with the default ports.
    shown = re.search(r"\$ dynatomic dev\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    wanted = [re.sub(r"\b(9092|8000)\b", "PORT", line) for line in shown[1].splitlines()]
    assert wanted == [
        re.sub(rf"\b({kafka_port}|{table_port})\b", "PORT", line) for line in lines[:-1]
    ]


def test_a_port_that_is_taken_is_named() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        words = f"cannot listen on 127.0.0.1:{port} .* give another port"
        with pytest.raises(DynatomicError, match=words):
            dev(Settings(), table_port=port)
        with pytest.raises(DynatomicError, match=words):
            Forwarder(port, "127.0.0.1:1")
