"""``python -m bench``: says what it will run, runs it part by part, prints tables and plots.

The rounds of a part run one after the other. In a round, all consumers of the part run one after
the other. If a part fails, its error is printed, the next part starts, and the exit code is 1.
Ctrl-C ends the benchmark. The results up to then are stored. ``python -m bench report`` makes the
page of them.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict

from bench import page, parts, plan, plots, process, report
from bench.broker import KeptKafka
from bench.freshness import steady
from bench.measure import Bench, Run
from bench.parts import Part
from bench.peers import PEERS
from bench.sink import Sink
from bench.topics import Topics
from bench.workloads import Case
from dynatomic.errors import DynatomicError
from tests.support.kafka_server import KafkaServer


def main() -> int:
    """Measure, print and store; return the exit code."""
    if sys.argv[1:2] == ["report"]:
        return page.main(sys.argv[2:])
    options = plan.options()
    _say(plan.text(options))
    code = 0
    try:
        with _started(options) as bench:
            code = _measure(bench, options)
    except DynatomicError as error:
        _say(f"error: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        code = 130
    results = parts.merged(parts.load(options.results, _names(options)))
    print(report.tables(results), end="")
    for drawn in plots.draw(results, options.results):
        _say(f"drawn: {drawn}")
    return code


def _names(options: plan.Options) -> list[str]:
    return [*(case.name for case in options.cases), *options.others]


@contextmanager
def _started(options: plan.Options) -> Iterator[Bench]:
    with ExitStack() as stack:
        servers = options.bootstrap_servers
        if servers is None:
            _say("starting Kafka")
            kafka = KeptKafka(options.keep) if options.keep else KafkaServer(jvm=())
            servers = stack.enter_context(kafka).bootstrap_servers
        topics = Topics(servers, _say, own=options.bootstrap_servers is None)
        if options.bootstrap_servers is not None:
            stack.callback(topics.delete)
        sink = stack.enter_context(Sink())
        yield Bench(topics, sink, _say, options.size.events, {})


def _measure(bench: Bench, options: plan.Options) -> int:
    """Measure part by part; return the exit code."""
    before = parts.load(options.results) if options.resume else []
    stored = {part.name: part for part in before}
    cases = {case.name: case for case in options.cases}
    failed = False
    for name in _names(options):
        case = cases.get(name)
        size = asdict(options.size)
        part = Part(name, size, asdict(case) if case else None, report.machine())
        if options.resume and name in stored and stored[name].covers(part):
            _say(f"{name}: stored before")
            continue
        began, before_it = time.monotonic(), report.cpu_time()
        try:
            for _ in _rounds(bench, part, case, options.size):
                part.seconds, part.denied = time.monotonic() - began, report.denied(before_it)
                part.store(options.results)
            part.complete = True
        except DynatomicError as error:
            part.error = str(error).splitlines()[-1]
            failed = True
            _say(f"error: {name}: {error}")
        part.seconds, part.denied = time.monotonic() - began, report.denied(before_it)
        if part.complete or part.runs or part.freshness:  # or an earlier one is worth more
            part.store(options.results)
        _say(f"{name}: {part.seconds:.0f} s")
    return int(failed)


def _rounds(bench: Bench, part: Part, case: Case | None, size: plan.Size) -> Iterator[None]:
    """Measure a part into it, and call back when there is a result to store."""
    if part.name == "freshness":
        for load in size.loads:
            part.freshness.append(steady(bench, *load, size.steady_s, size.left_out_s))
            yield
    elif part.name == "idle":
        part.idle = process.idle(bench, size.idle_s)
    elif part.name == "start":
        part.start = process.start(bench, size.starts)
    else:
        for number in range(1, size.rounds + 1):
            for run in _round(bench, part.name, case, size, number):
                part.runs.append(run)
                yield
            if case and case.peers:
                part.skipped = dict(bench.skipped)


def _round(
    bench: Bench, name: str, case: Case | None, size: plan.Size, number: int
) -> Iterator[Run]:
    if case:
        yield from bench.case(case, PEERS, number)
    elif name == "decode":
        for label, workload in plan.DECODED.items():
            yield from bench.decode(label, workload, number)
    else:
        yield bench.write("write", size.written, number)
        yield bench.write("update-item", size.update_items, number)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
