"""Runs child processes one by one, or as a group, and records the cost of each run."""

import json
import resource
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from bench import children
from bench.child import Plan
from bench.peers import Peer, Skip
from bench.sink import ROOT, Sink
from bench.timed import Moment
from bench.topics import Say, Topic, Topics
from bench.workloads import EVENTS, TABLE, WRITER_SCHEMA, Case, Reader, Workload
from dynatomic.errors import DynatomicError
from dynatomic.testing.embedded import environment

LIMIT_S: Final = 400.0
_FEWEST: Final = 100


@dataclass(frozen=True, slots=True)
class Run:
    """What the processes of one run did and cost.

    ``seconds`` and ``cpu_s`` are from the first event to the last commit. ``start_s`` is the
    time before that, and ``process_cpu_s`` the CPU time of the whole processes. ``peak_bytes`` is
    that of the largest process. ``events`` of a run without Kafka are counters, or payloads.
    """

    case: str
    kind: str
    label: str
    round: int
    events: int
    start_s: float
    seconds: float
    cpu_s: float
    process_cpu_s: float
    peak_bytes: int
    requests: int
    statements: int
    window_ms: int = 0
    guarantee: str = ""
    processes: int = 1


@dataclass(slots=True)
class Bench:
    """Where runs take place; the ordinary topic has ``events``.

    ``skipped`` has the peers that did not run, with the reason. ``warm`` has the names of the
    topics that were read before.
    """

    topics: Topics
    sink: Sink
    say: Say
    events: int
    skipped: dict[str, str]
    warm: set[str] = field(default_factory=set)

    def child(self, kind: str, plan: Plan) -> list[str]:
        """Return the command of a child."""
        plan = replace(plan, bootstrap_servers=self.topics.bootstrap_servers)
        return [sys.executable, "-m", "bench.child", kind, json.dumps(asdict(plan))]

    def environment(self) -> dict[str, str]:
        """Return the environment of every child."""
        return environment(self.topics.bootstrap_servers, self.sink.endpoint_url)

    def case(self, case: Case, peers: Sequence[Peer], number: int) -> Iterator[Run]:
        """Run all that a case names once, in turn.

        Raises `DynatomicError` if a consumer fails, or if its sum differs from that of the topic.
        """
        topic = self.topics.get(case.workload, max(_FEWEST, round(case.share * self.events)))
        if (
            topic.name not in self.warm
        ):  # the first answers of a broker and the first reads of its disk are slow
            self.warm.add(topic.name)
            self.raw(case.name, topic, number)
        yield self._told(self.raw(case.name, topic, number))
        for reader in case.readers:
            yield self._told(self.ours(case, topic, reader, number))
        for peer in peers if case.peers else ():
            if peer.label not in self.skipped:
                try:
                    yield self._told(self.peer(case, peer, number))
                except DynatomicError as error:
                    self.skip(peer, str(error))

    def skip(self, peer: Peer, reason: str) -> None:
        """Say that a peer does not run, and why; the last line of the reason is kept."""
        self.skipped[peer.label] = reason.splitlines()[-1]
        self.say(f"skipped: {peer.label}: {reason}")

    def raw(self, case: str, topic: Topic, number: int) -> Run:
        """Only consume."""
        plan = _plan(topic, Reader("at-least-once", 1000))
        return self.run(
            self.child("raw", plan),
            0,
            topic.events,
            case=case,
            round=number,
            kind="raw",
            label="raw consume()",
        )

    def ours(self, case: Case, topic: Topic, reader: Reader, number: int) -> Run:
        """Read a topic once, as a new group."""
        many = f", {reader.processes} processes" if reader.processes > 1 else ""
        return self.run(
            self.child("run", _plan(topic, reader)),
            topic.total,
            topic.events,
            empty=case.empty,
            case=case.name,
            round=number,
            kind="run",
            label=f"{reader.window_ms / 1000:g} s, {reader.guarantee}{many}",
            **asdict(reader),
        )

    def peer(self, case: Case, peer: Peer, number: int) -> Run:
        """Let a peer read a topic of its size, with the longest window of ours."""
        command = peer.prepare()
        if isinstance(command, Skip):
            raise DynatomicError(command.reason)
        events = max(_FEWEST, min(1, self.events / EVENTS) * peer.events)
        topic = self.topics.get(case.workload, round(min(events, case.share * self.events)))
        window_ms = max(case.windows_ms)
        plan = {
            "bootstrap_servers": self.topics.bootstrap_servers,
            "topic": topic.name,
            "group": _group(),
            "events": topic.events,
            "partitions": topic.workload.partitions,
            "window_ms": window_ms,
            "table": TABLE,
            "schema": str(ROOT / "schemas" / "row.avsc"),
        }
        return self.run(
            [*command, json.dumps(plan)],
            topic.total,
            topic.events,
            case=case.name,
            round=number,
            kind="peer",
            label=peer.label,
            window_ms=window_ms,
        )

    def write(self, kind: str, counters: int, number: int) -> Run:
        """Write counters without Kafka."""
        label = {"write": "batches", "update-item": "boto3 UpdateItem"}[kind]
        return self.alone(kind, label, "write", Plan(counters), number)

    def decode(self, name: str, workload: Workload, number: int) -> list[Run]:
        """Read payloads without Kafka, as the product does and one by one, alternately."""
        plan = Plan(max(_FEWEST, self.events // 2), workload=asdict(workload))
        plan = replace(plan, writer_schema=_writer_schema(workload))
        seen = json.loads(self._printed(self.child("decode", plan), name))
        return [
            Run(
                case="decode",
                kind=kind,
                label=name,
                round=number,
                events=plan.events,
                start_s=0.0,
                seconds=seen[kind],
                cpu_s=seen[kind],
                process_cpu_s=seen[kind],
                peak_bytes=seen["peak_bytes"],
                requests=0,
                statements=0,
            )
            for kind in ("decode", "decode-each")
        ]

    def alone(self, kind: str, label: str, case: str, plan: Plan, number: int) -> Run:
        """Run a child without Kafka."""
        return self.run(
            self.child(kind, plan),
            None,
            plan.events,
            case=case,
            round=number,
            kind=kind,
            label=label,
        )

    def run(
        self,
        command: list[str],
        expected: int | None,
        events: int,
        *,
        processes: int = 1,
        empty: bool = False,
        **labels: Any,
    ) -> Run:
        """Run a command, or as many of it at once, and see what it did; ``labels`` go to `Run`.

        With ``empty`` the sink has no items. Raises `DynatomicError` if it fails, or if the sum
        in the sink is not ``expected``.
        """
        name = labels["label"]
        self.sink.take()
        if empty:
            self.sink.empty()
        before, started = _children_cpu(), time.monotonic()
        with ThreadPoolExecutor(processes) as pool:
            printed = list(pool.map(self._printed, [command] * processes, [name] * processes))
        process_cpu_s = _children_cpu() - before
        counts = self.sink.take()
        if counts.refused:
            raise DynatomicError(
                f"{name} sent {counts.refused} malformed requests: {counts.reason}"
            )
        if expected is not None and counts.added != expected:
            raise DynatomicError(f"{name} added {counts.added} to the counters, not {expected}")
        seen = [json.loads(each.splitlines()[-1]) for each in printed]
        first = [Moment(*each["first"]) for each in seen if each["first"]]
        last = [Moment(*each["last"]) for each in seen if each["last"]]
        if not first or not last:
            raise DynatomicError(f"{name} read nothing, or committed nothing")
        return Run(
            **labels,
            processes=processes,
            events=events,
            start_s=min(first).clock - started,
            seconds=max(last).clock - min(first).clock,
            cpu_s=sum(moment.cpu for moment in last) - sum(moment.cpu for moment in first),
            process_cpu_s=process_cpu_s,
            peak_bytes=max(each["peak_bytes"] for each in seen),
            requests=counts.requests,
            statements=counts.statements,
        )

    def _printed(self, command: list[str], name: str) -> str:
        with children.started(command, self.environment()) as child:
            return children.output(child, name, LIMIT_S)

    def _told(self, run: Run) -> Run:
        speed = run.events / run.seconds
        self.say(f"round {run.round}: {run.case}, {run.label}: {speed:,.0f} events/s")
        return run


def _plan(topic: Topic, reader: Reader) -> Plan:
    return Plan(
        topic.events,
        topic=topic.name,
        group=_group(),
        share=topic.workload.partitions // reader.processes,
        window_ms=reader.window_ms,
        guarantee=reader.guarantee,
        writer_schema=_writer_schema(topic.workload),
        event_format=topic.workload.event_format,
    )


def _writer_schema(workload: Workload) -> str:
    return str(WRITER_SCHEMA) if workload.never_repeats == "id" else ""


def _group() -> str:
    return f"bench-{uuid.uuid4().hex[:12]}"


def _children_cpu() -> float:
    """Return the CPU time of the children that have ended, in seconds; the servers still run."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
