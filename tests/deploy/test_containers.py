"""The image and the compose file, run where a container engine is found."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dynatomic.cli.main  # noqa: F401 -- its commands are the app's
from dynatomic.config.settings import Settings
from dynatomic.events.samples import samples
from tests.support.children import REPOSITORY, uncovered
from tests.support.compose import AWS_NEEDED
from tests.support.tables import make_client
from tests.support.waiting import wait_until

NEW_PIDS = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]


def handles(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s+([0-9a-f]+)$", status, flags=re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize(
    "command",
    [["init", "--wait", "60"], ["run", "--table", "usage", "--endpoint-url", "http://127.0.0.1:1"]],
    ids=["init", "run"],
)
def test_process_1_ends_at_once_on_sigterm_while_it_waits_for_servers(command: list[str]) -> None:
    # The kernel does not deliver a signal to the first process of a container without a handler.
    try:
        subprocess.run([*NEW_PIDS, "true"], capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("this system does not allow a process 1 in a namespace")
    variables = {name: "x" for name in AWS_NEEDED if "URL" not in name}
    # Coverage would install a handler that sends the signal to the process itself, which is dropped
    # too.
    with subprocess.Popen(
        [*NEW_PIDS, sys.executable, "-m", "dynatomic", *command, "-b", "127.0.0.1:1"],
        stderr=subprocess.DEVNULL,
        env=uncovered() | variables,
        cwd=REPOSITORY,
    ) as outer:
        try:
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
            wait_until(lambda: bool(children.read_text()), "started")
            pid = int(children.read_text())
            wait_until(lambda: handles(pid, signal.SIGTERM), "handling SIGTERM", seconds=5)
            os.kill(pid, signal.SIGTERM)
            assert outer.wait(10) == 128 + signal.SIGTERM
        finally:
            outer.kill()


# A separate project, image and ports, so that it does not disturb other containers.
OVERRIDE = """
services:
  kafka: {ports: !reset []}
  dynamodb: {ports: !override ["127.0.0.1::8000"]}
  init: {image: IMAGE, build: {network: host}}
  consumer: {image: IMAGE}
  demo: {image: IMAGE}
"""


class Stack:
    """The compose file's services, under a name of their own."""

    def __init__(self, folder: Path) -> None:
        self.project = f"dynatomic-{uuid.uuid4().hex[:8]}"
        self.image = f"{self.project}:test"
        self._override = folder / "override.yml"
        self._override.write_text(OVERRIDE.replace("IMAGE", self.image))

    def __call__(self, *args: str) -> str:
        """Run a compose command and return what it printed."""
        files = ["-f", str(REPOSITORY / "docker-compose.yml"), "-f", str(self._override)]
        return docker("compose", "-p", self.project, *files, "--profile", "demo", *args)

    def states(self, service: str) -> list[dict[str, Any]]:
        return [
            json.loads(docker("inspect", "--format", "{{json .State}}", container))
            for container in self("ps", "--all", "--quiet", service).split()
        ]

    def counts(self) -> dict[str, int]:
        address = self("port", "dynamodb", "8000").strip()
        pages = make_client(f"http://{address}").get_paginator("scan").paginate(TableName="usage")
        items = [item for page in pages for item in page["Items"]]
        return {item["pk"]["S"]: int(item["count"]["N"]) for item in items}

    def owners(self) -> Counter[str]:
        """Return how many partitions each member of the group has."""
        script, servers = "/opt/kafka/bin/kafka-consumer-groups.sh", "kafka:19092"
        describe = ["--bootstrap-server", servers, "--describe", "--group", Settings().group_id]
        lines = self("exec", "-T", "kafka", script, *describe).splitlines()
        rows = [line.split() for line in lines if f" {Settings().topic} " in line]
        return Counter(row[6] for row in rows)


def docker(*args: str) -> str:
    done = subprocess.run(
        ["docker", *args],  # noqa: S607 - wherever it is
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, f"docker {shlex.join(args)}: {done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path)
    try:
        docker("info")
        docker("compose", "version")
    except (AssertionError, FileNotFoundError):
        pytest.skip("no Docker engine with compose: docker-compose.yml was parsed, not run")
    yield made
    try:
        made("down", "--volumes", "--remove-orphans", "--timeout", "5")
        mine = f"label=com.docker.compose.project={made.project}"
        for kind in ("container", "volume", "network"):
            left = docker(kind, "ls", *["--all"][: kind == "container"], "-q", "--filter", mine)
            assert not left, f"a {kind} is left"
    finally:
        docker("image", "rm", "--force", made.image)


@pytest.mark.timeout(900)  # the first time, images are fetched
def test_three_containers_count_the_demo_and_stop_at_once(stack: Stack) -> None:
    stack("up", "--detach", "--scale", "consumer=3")
    assert [state["ExitCode"] for state in stack.states("init")] == [0]
    expected = Counter(row.key for row in samples(table="usage", count=100_000, rows=1000))
    wait_until(lambda: stack.counts() == expected, "counted, each event once", seconds=60)
    assert [state["ExitCode"] for state in stack.states("demo")] == [0]
    wait_until(lambda: sorted(stack.owners().values()) == [2, 2, 2], "shared by three", seconds=30)
    wait_until(
        lambda: [s["Health"]["Status"] for s in stack.states("consumer")] == ["healthy"] * 3,
        "healthy",
        seconds=60,
    )
    output = stack("exec", "consumer", "grep", "-E", "^(Uid|CapEff)", "/proc/1/status")
    status = dict(line.split(":\t") for line in output.strip().splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert int(status["CapEff"], 16) == 0, "it has capabilities"
    stack("stop", "consumer")
    states = stack.states("consumer")
    assert [(state["Status"], state["ExitCode"]) for state in states] == [("exited", 0)] * 3
    assert stack.counts() == expected
