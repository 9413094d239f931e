"""Memory is bounded by bytes, under a limit of the operating system, whatever the events are."""

import json
import subprocess
import sys

import pytest

from dynatomic.config.settings import Settings
from tests.support.memory_load import LOADS

LIMIT_MB = 400


def run_load(
    load: str, window_max_bytes: int, limit_mb: int = LIMIT_MB
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.support.memory_load", load, str(limit_mb)]
    return subprocess.run(
        [*command, str(window_max_bytes)], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("load", LOADS)
def test_promise_9_a_process_stays_below_400_mb_whatever_the_events_are(load: str) -> None:
    ended = run_load(load, Settings(tables=("hits",)).window_max_bytes)
    assert ended.returncode == 0, ended.stderr[-2000:]
    measured = json.loads(ended.stdout.splitlines()[-1])
    print(measured)  # noqa: T201 - shown by pytest -s
    assert measured["events"] == LOADS[load][1]
    assert measured["peak_mb"] < LIMIT_MB


def test_the_limit_ends_a_process_without_the_bound() -> None:
    # A slow machine reads less before the load ends, so the limit is half of the promise.
    assert run_load("long-names", 10**11, LIMIT_MB // 2).returncode != 0
