"""``python -m bench``: says what it will run, runs it in turn, prints tables, stores and plots.

A run that fails ends the benchmark, and so does Ctrl-C: what was measured before is printed and
stored.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import plan, process, report
from bench.broker import KeptKafka
from bench.freshness import Freshness, steady
from bench.measure import Bench, Run
from bench.peers import PEERS
from bench.sink import Sink
from bench.topics import Topics
from consumer.errors import DynatomicError
from tests.servers import KafkaServer


@dataclass(slots=True)
class Measured:
    """What was measured so far."""

    runs: list[Run] = field(default_factory=list)
    freshness: list[Freshness] = field(default_factory=list)
    idle: process.Idle | None = None
    start: process.Start | None = None
    skipped: dict[str, str] = field(default_factory=dict)

    def results(self) -> dict[str, Any]:
        """Return what is stored: the rows of the tables, and the runs that they come from."""
        apart = {name: [r for r in self.runs if r.case == name] for name in ("write", "decode")}
        return {
            "rows": report.summary([r for r in self.runs if r.case not in apart]),
            "writes": report.write_summary(apart["write"]),
            "decode": report.decode_summary(apart["decode"]),
            "freshness": [asdict(each) for each in self.freshness],
            "idle": asdict(self.idle) if self.idle else None,
            "start": asdict(self.start) if self.start else None,
            "skipped": self.skipped,
            "runs": [asdict(run) for run in self.runs],
        }


def main() -> int:
    """Measure, print and store; return the exit code."""
    options, machine, measured = plan.options(), report.machine(), Measured()
    _say(plan.text(options))
    code = 0
    try:
        with _started(options, measured) as bench:
            _measure(bench, measured, options)
    except DynatomicError as error:
        _say(f"error: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        code = 130
    results = {
        "machine": machine,
        "events": options.size.events,
        "cases": {case.name: asdict(case) for case in options.cases},
        **measured.results(),
    }
    print(report.tables(results), end="")
    _store(results, options.results)
    return code


@contextmanager
def _started(options: plan.Options, measured: Measured) -> Iterator[Bench]:
    with ExitStack() as stack:
        servers = options.bootstrap_servers
        if servers is None:
            _say("starting Kafka")
            kafka = KeptKafka(options.keep) if options.keep else KafkaServer()
            servers = stack.enter_context(kafka).bootstrap_servers
        topics = Topics(servers, _say)
        if options.bootstrap_servers is not None:
            stack.callback(topics.delete)
        sink = stack.enter_context(Sink())
        yield Bench(topics, sink, _say, options.size.events, measured.skipped)


def _measure(bench: Bench, measured: Measured, options: plan.Options) -> None:
    size, others = options.size, options.others
    for number in range(1, size.rounds + 1):
        measured.runs.extend(_round(bench, options, number))
    if "freshness" in others:
        measured.freshness.extend(
            steady(bench, load, guarantee, size.steady_s, size.left_out_s)
            for load, guarantee in size.loads
        )
    if "idle" in others:
        measured.idle = process.idle(bench, size.idle_s)
    if "start" in others:
        measured.start = process.start(bench, size.starts)


def _round(bench: Bench, options: plan.Options, number: int) -> Iterator[Run]:
    for case in options.cases:
        yield from bench.case(case, PEERS, number)
    if "decode" in options.others:
        for label, workload in plan.DECODED.items():
            for kind in ("decode", "decode-each"):
                yield bench.decode(kind, label, workload, number)
    if "write" in options.others:
        yield bench.write("write", options.size.written, number)
        yield bench.write("update-item", options.size.update_items, number)


def _store(results: dict[str, Any], folder: Path) -> None:
    """Keep the results, and their plots, in a folder that git does not look into."""
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / ".gitignore").write_text("*\n")
    path = folder / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    _say(f"stored in {path}")
    try:
        from bench import plots  # noqa: PLC0415 - a benchmark without them is one, too
    except ImportError as error:
        _say(f"no plots: {error}; install the dependency group bench")
    else:
        for drawn in plots.draw(results, path.with_suffix("")):
            _say(f"drawn: {drawn}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
