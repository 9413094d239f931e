"""The cost of a process without events: idle, at its start, and for its help."""

import json
import sys
import time
import uuid
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

from bench import children
from bench.child import Plan
from bench.measure import Bench
from bench.workloads import Workload

WINDOW_MS: Final = 100
"""The window of a cold start. Its length is a part of the measured time."""

_LIMIT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Idle:
    """The CPU time of a consumer with nothing to do, as a share of a core."""

    seconds: float
    of_core: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Start:
    """The phases of a cold start, one after the other, as medians in seconds.

    ``imports_s`` is from the start of the process to subscribing, ``join_s`` until partitions are
    assigned, ``read_s`` until the first event, and ``write_s`` until the first commit, including
    the window of ``window_ms``. ``own_s`` is the sum without the join. ``help_s`` is the time of
    ``dynatomic --help``. Modules are compiled before, as after an installation with pip.
    """

    times: int
    window_ms: int
    imports_s: float
    join_s: float
    read_s: float
    write_s: float
    own_s: float
    help_s: float


def idle(bench: Bench, seconds: float) -> Idle:
    """Let a consumer own the partitions of an empty topic for some seconds."""
    with bench.topics.empty(Workload()) as topic:
        plan = Plan(topic=topic.name, group=topic.name, seconds=seconds)
        run = bench.alone("idle", "idle", "idle", plan, number=1)
    found = Idle(run.seconds, run.cpu_s / run.seconds, run.peak_bytes)
    bench.say(f"idle: {found.of_core:.2%} of a core")
    return found


def start(bench: Bench, times: int) -> Start:
    """Start a consumer on a small backlog, and print the help, ``times`` times and once before."""
    topic = bench.topics.get(Workload(counters=100), 1000)
    found = []
    for _ in range(1 + times):
        group = f"bench-{uuid.uuid4().hex[:12]}"
        command = bench.child("start", Plan(topic=topic.name, group=group, window_ms=WINDOW_MS))
        began = time.monotonic()
        seen = json.loads(_output(bench, command))
        moments = [began, *(seen[n] for n in ("subscribed", "assigned", "first", "committed"))]
        found.append([end - begin for begin, end in pairwise(moments)])
    del found[0]
    imports_s, join_s, read_s, write_s = (median(parts) for parts in zip(*found, strict=True))
    own_s = median(sum(parts) - parts[1] for parts in found)
    helps = []
    for _ in range(1 + times):
        began = time.monotonic()
        _output(bench, [sys.executable, "-m", "dynatomic", "--help"])
        helps.append(time.monotonic() - began)
    help_s = median(helps[1:])
    bench.say(f"start: {own_s:.2f} s of our own to the first commit; --help {help_s:.2f} s")
    return Start(times, WINDOW_MS, imports_s, join_s, read_s, write_s, own_s, help_s)


def _output(bench: Bench, command: list[str]) -> str:
    environment = bench.environment()
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with children.started(command, environment) as child:
        return children.output(child, "a child", _LIMIT_S)
