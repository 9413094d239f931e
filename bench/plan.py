"""The options of the benchmark, and the plan that it prints before it starts."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.peers import PEERS
from bench.workloads import CASES, EVENTS, OTHERS, Case, Workload
from dynatomic.config.settings import ProcessingGuarantee

Loads = tuple[tuple[int, ProcessingGuarantee, int], ...]
"""Events/s, processing guarantee, and window length in milliseconds."""

STEADY: Final[Loads] = (
    (1_000, "at-least-once", 1000),
    (5_000, "at-least-once", 1000),
    (20_000, "at-least-once", 1000),
    (50_000, "at-least-once", 1000),
    (5_000, "exactly-once", 1000),
    (20_000, "at-least-once", 500),
    (20_000, "at-least-once", 5000),
)
"""The loads of `bench.freshness`."""

DECODED: Final = {
    "increments of 1": Workload(),
    "increments 1-1000": Workload(max_incr=1000),
    "an id in each": Workload(max_incr=1000, never_repeats="id"),
    "another counter in each": Workload(never_repeats="key"),
}
"""The payloads that `bench.child` decodes without Kafka."""

RESULTS: Final = Path(__file__).with_name("results")
"""The folder of stored results."""

_EPILOG: Final = """\
`python -m bench report` writes docs/performance.md from the stored results; see its --help.

parts:
"""

# The estimate of the duration on two cores: events/s and seconds.
_RAW, _FILLED, _DECODED, _PROCESS_S, _PEER_S = 1_400_000, 600_000, 150_000, 1.2, 15.0


@dataclass(frozen=True, slots=True)
class Size:
    """The size of the benchmark: ``events`` of the ordinary topic, ``rounds`` of each run.

    Each of ``loads`` runs for ``steady_s`` seconds, and the first ``left_out_s`` do not count.
    ``idle_s`` is the time of the idle process, ``starts`` the number of starts, ``written`` the
    number of counters in batches, and ``update_items`` the number of single updates.
    """

    events: int = EVENTS
    rounds: int = 3
    loads: Loads = STEADY
    steady_s: float = 20.0
    left_out_s: float = 4.0
    idle_s: float = 20.0
    starts: int = 5
    written: int = 100_000
    update_items: int = 2_000


QUICK: Final = Size(20_000, 1, STEADY[:1], 3.0, 1.0, 1.0, 1, 1_000, 20)


@dataclass(frozen=True, slots=True)
class Options:
    """The parsed command line."""

    size: Size
    cases: tuple[Case, ...]
    others: tuple[str, ...]
    bootstrap_servers: str | None
    keep: Path | None
    results: Path
    resume: bool


def options(arguments: Sequence[str] | None = None) -> Options:
    """Parse the command line; a mistake ends the process with code 2 and a message."""
    names = [*(case.name for case in CASES), *OTHERS]
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the way from Kafka to the table, raw consume(), and other programs.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG + "\n".join(f"  {name:16} {about}" for name, about in _about()),
    )
    parser.add_argument("--only", nargs="+", choices=names, metavar="PART", help="see below")
    parser.add_argument("--events", type=_positive, help=f"events in a topic; default {EVENTS:,}")
    parser.add_argument("--rounds", type=_positive, help="number of rounds; default 3")
    parser.add_argument("--quick", action="store_true", help="a short run of each part, one round")
    kafka = parser.add_mutually_exclusive_group()
    kafka.add_argument("--bootstrap-servers", help="another Kafka; default: one is started")
    kafka.add_argument("--keep", type=Path, metavar="DIR", help="keep the topics for the next run")
    parser.add_argument(
        "--results",
        type=Path,
        help="the folder for JSON and plots; default: bench/results/full, or quick with --quick",
    )
    parser.add_argument(
        "--resume", action="store_true", help="skip parts that are complete in the folder"
    )
    given = parser.parse_args(arguments)
    size = QUICK if given.quick else Size()
    asked = {name: getattr(given, name) for name in ("events", "rounds")}
    only = names if given.only is None else given.only
    return Options(
        size=replace(size, **{name: number for name, number in asked.items() if number}),
        cases=tuple(case for case in CASES if case.name in only),
        others=tuple(name for name in OTHERS if name in only),
        bootstrap_servers=given.bootstrap_servers,
        keep=given.keep,
        results=given.results or RESULTS / ("quick" if given.quick else "full"),
        resume=given.resume,
    )


def text(options: Options) -> str:
    """Return the plan as text, with the estimated duration on two cores."""
    seconds = {case.name: _seconds(case, options.size) for case in options.cases}
    seconds |= {name: _other_seconds(name, options.size) for name in options.others}
    about = dict(_about())
    lines = [f"  {name:16} {about[name]} ({s:.0f} s)" for name, s in seconds.items()]
    minutes = math.ceil(sum(seconds.values()) / 60)
    return "\n".join([f"{options.size.rounds} rounds of each, about {minutes} min:", *lines])


def _about() -> list[tuple[str, str]]:
    return [*((case.name, case.about) for case in CASES), *OTHERS.items()]


def _seconds(case: Case, size: Size) -> float:
    events = case.share * size.events
    ours = len(case.readers) * (events / case.expected + _PROCESS_S)
    peers = len(PEERS) * (_PEER_S * min(1, size.events / EVENTS) + 3 * _PROCESS_S) * case.peers
    return events / _FILLED + size.rounds * (events / _RAW + _PROCESS_S + ours + peers)


def _other_seconds(name: str, size: Size) -> float:
    return {
        "decode": size.rounds * len(DECODED) * (size.events / _DECODED + _PROCESS_S),
        "write": size.rounds * (size.written / 30_000 + size.update_items / 1000 + 2 * _PROCESS_S),
        "freshness": len(size.loads) * (size.steady_s + 3),
        "idle": size.idle_s + 3,
        "start": size.starts * 3,
    }[name]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
