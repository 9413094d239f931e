"""Fills topics, runs children one at a time, and keeps what each of them cost."""

import json
import resource
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Final

from bench.child import TABLE, Moment, Plan
from bench.sink import ROOT, Sink
from consumer.embedded import environment
from consumer.emit import Emitter
from consumer.errors import DynatomicError
from consumer.produce import samples

COUNTERS: Final = 10_000
PARTITIONS: Final = 4
LIMIT_S: Final = 900.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Workload:
    """The rows of one topic: increments are from 1 to ``max_incr``."""

    name: str
    max_incr: int


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that is filled: its number of events and the sum of their increments."""

    workload: Workload
    name: str
    events: int
    total: int


@dataclass(frozen=True, slots=True)
class Run:
    """What one child did and cost.

    ``seconds`` and ``cpu_s`` are from its first event to its last commit; ``start_s`` is what
    passed before that, and ``process_cpu_s`` the CPU time of the whole process.
    """

    workload: str
    kind: str
    window_ms: int
    round: int
    events: int
    start_s: float
    seconds: float
    cpu_s: float
    process_cpu_s: float
    peak_bytes: int
    requests: int
    statements: int


WORKLOADS: Final = (Workload("constant increments", 1), Workload("increments 1-1000", 1000))
WINDOWS_MS: Final = (1000, 5000)


def fill(bootstrap_servers: str, topic: str, workload: Workload, events: int) -> Topic:
    """Send the events of a workload to a topic that is there."""
    total = 0
    with Emitter(bootstrap_servers, topic=topic) as emit:
        for row in samples(
            table=TABLE,
            count=events,
            rows=COUNTERS,
            distribution="zipf",
            max_incr=workload.max_incr,
        ):
            emit(row)
            total += row.incr
    return Topic(workload, topic, events, total)


def rounds(
    bootstrap_servers: str, sink: Sink, topics: list[Topic], count: int, say: Say
) -> Iterator[Run]:
    """Run raw and each window in turn, on each topic, ``count`` times."""
    for number in range(1, count + 1):
        for topic in topics:
            turns = [("raw", 0), *(("run", window) for window in WINDOWS_MS)]
            for kind, window_ms in turns:
                run = consume(bootstrap_servers, sink, topic, kind, window_ms, number)
                what = f"{window_ms / 1000:g} s windows" if window_ms else "raw"
                speed = run.events / run.seconds
                say(f"round {number}: {run.workload}, {what}: {speed:,.0f} events/s")
                yield run


def consume(  # noqa: PLR0913 - all that tells one run from another
    bootstrap_servers: str, sink: Sink, topic: Topic, kind: str, window_ms: int, number: int
) -> Run:
    """Read a topic once, as a new group.

    Raises `DynatomicError` if the child fails, or if what the sink was sent is not the topic's sum.
    """
    group = f"bench-{uuid.uuid4().hex[:12]}"
    plan = Plan(topic.events, bootstrap_servers, topic.name, group, window_ms or WINDOWS_MS[0])
    expected = topic.total if kind == "run" else 0
    return _child(kind, plan, sink, expected, (topic.workload.name, window_ms, number))


def write(sink: Sink, kind: str, counters: int, number: int) -> Run:
    """Write counters without Kafka; ``events`` of the result are counters."""
    return _child(kind, Plan(counters), sink, None, ("write", 0, number))


def _child(
    kind: str, plan: Plan, sink: Sink, expected: int | None, what: tuple[str, int, int]
) -> Run:
    sink.take()
    before, started = _children_cpu(), time.monotonic()
    child = subprocess.run(
        [sys.executable, "-m", "bench.child", kind, json.dumps(asdict(plan))],
        cwd=ROOT,
        env=environment(plan.bootstrap_servers, sink.endpoint_url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    process_cpu_s = _children_cpu() - before
    counts = sink.take()
    if child.returncode != 0:
        raise DynatomicError(f"{kind} ended with {child.returncode}:\n{child.stderr[-3000:]}")
    if counts.refused:
        raise DynatomicError(f"{kind} sent {counts.refused} malformed requests: {counts.reason}")
    if expected is not None and counts.added != expected:
        raise DynatomicError(f"{kind} added {counts.added} to the counters, not {expected}")
    seen = json.loads(child.stdout)
    first, last = Moment(*seen["first"]), Moment(*seen["last"])
    workload, window_ms, number = what
    return Run(
        workload=workload,
        kind=kind,
        window_ms=window_ms,
        round=number,
        events=plan.events,
        start_s=first.clock - started,
        seconds=last.clock - first.clock,
        cpu_s=last.cpu - first.cpu,
        process_cpu_s=process_cpu_s,
        peak_bytes=seen["peak_bytes"],
        requests=counts.requests,
        statements=counts.statements,
    )


def _children_cpu() -> float:
    """Return the CPU time of the children that have ended, in seconds; the servers still run."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
