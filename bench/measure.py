"""Fills topics, runs children one at a time, and keeps what each of them cost."""

import json
import resource
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Final

from bench.child import TABLE, Moment, Plan
from bench.sink import ROOT, Sink
from consumer.embedded import environment
from consumer.emit import Emitter
from consumer.errors import DynatomicError
from consumer.produce import samples
from consumer.settings import ProcessingGuarantee

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
    guarantee: str
    round: int
    events: int
    start_s: float
    seconds: float
    cpu_s: float
    process_cpu_s: float
    peak_bytes: int
    requests: int
    statements: int

    @property
    def label(self) -> str:
        """What ran, as the table says it."""
        if self.kind != "run":
            return "raw consume()"
        return f"{self.window_ms / 1000:g} s, {self.guarantee}"


WORKLOADS: Final = (Workload("constant increments", 1), Workload("increments 1-1000", 1000))
WINDOWS_MS: Final = (1000, 5000)
GUARANTEES: Final[tuple[ProcessingGuarantee, ...]] = ("at-least-once", "exactly-once")


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
    """Run raw, and each window with each guarantee, in turn, on each topic, ``count`` times."""
    for number in range(1, count + 1):
        for topic in topics:
            turns = [("raw", Plan(topic.events))]
            for window_ms in WINDOWS_MS:
                for guarantee in GUARANTEES:
                    plan = Plan(topic.events, window_ms=window_ms, guarantee=guarantee)
                    turns.append(("run", plan))
            for kind, plan in turns:
                run = consume(bootstrap_servers, sink, topic, kind, plan, number)
                speed = run.events / run.seconds
                say(f"round {number}: {run.workload}, {run.label}: {speed:,.0f} events/s")
                yield run


def consume(  # noqa: PLR0913 - all that tells one run from another
    bootstrap_servers: str, sink: Sink, topic: Topic, kind: str, plan: Plan, number: int
) -> Run:
    """Read a topic once, as a new group.

    Raises `DynatomicError` if the child fails, or if what the sink was sent is not the topic's sum.
    """
    group = f"bench-{uuid.uuid4().hex[:12]}"
    plan = replace(plan, bootstrap_servers=bootstrap_servers, topic=topic.name, group=group)
    expected = topic.total if kind == "run" else 0
    return _child(kind, plan, sink, expected, (topic.workload.name, number))


def write(sink: Sink, kind: str, counters: int, number: int) -> Run:
    """Write counters without Kafka; ``events`` of the result are counters."""
    return _child(kind, Plan(counters), sink, None, ("write", number))


def _child(kind: str, plan: Plan, sink: Sink, expected: int | None, what: tuple[str, int]) -> Run:
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
    workload, number = what
    return Run(
        workload=workload,
        kind=kind,
        window_ms=plan.window_ms if kind == "run" else 0,
        guarantee=plan.guarantee if kind == "run" else "",
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
