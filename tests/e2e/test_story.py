"""What a new user does first: the demo, its page, a consumer killed, lag, verify."""

import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60


@pytest.fixture
def demo() -> Iterator["subprocess.Popen[str]"]:
    """Start the demo in a separate session, so that the signals of a test reach only the demo."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "dynatomic", "demo", "--stay"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "consumer")},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()
            errors.seek(0)
            assert errors.read() == ""


def until(lines: IO[str], pattern: str) -> str:
    """Read lines up to one that matches, and return what its group holds."""
    for line in lines:
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(f"it ended without {pattern}")


def get(url: str, path: str) -> str:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == http.client.OK
        return answer.read().decode()
    finally:
        connection.close()


def test_the_demo_stays_for_a_look_around(demo: "subprocess.Popen[str]") -> None:
    assert demo.stdout is not None
    url = until(demo.stdout, r"what one of them does: (\S+)$")
    assert "<title>" in get(url, "/")
    until(demo.stdout, r"consumer 1 (killed) with SIGKILL")
    assert until(demo.stdout, r"kept out +([\d,]+)")
    assert until(demo.stdout, r"^OK +1,000 counters, sum ([\d,]+) = 100,000$") == "100,000"
    exported = until(demo.stdout, r"^export (.*)$")
    environment = dict(part.split("=", 1) for part in shlex.split(exported))

    def dynatomic(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dynatomic", *arguments],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "consumer"), **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    told: list[dict[str, Any]] = json.loads(dynatomic("lag", "-o", "json"))
    assert len(told) == 6
    assert sum(each["lag"] for each in told) < 1_000
    assert dynatomic("verify").startswith("OK ")
    assert "dynatomic_events_total" in get(url, "/metrics")
    demo.send_signal(signal.SIGINT)
    assert demo.wait(PATIENCE_S) == 0
