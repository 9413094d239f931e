"""The goals, each with the measured value. A goal without a measurement has no line."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

Results = dict[str, Any]

_ENOUGH: Final = 4
"""The number of cores from which two consumers can be faster than one."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """A line of the table of goals."""

    what: str
    here: str
    wanted: str
    reached: bool


def goals(results: Results) -> list[Goal]:
    """Return the goals that have a measurement."""
    return [goal for each in _GOALS for goal in each(results)]


def ours(
    results: Results,
    case: str,
    window_ms: int,
    guarantee: str = "at-least-once",
    processes: int = 1,
) -> list[Row]:
    """Return our row of a case, or nothing where it was not measured."""
    wanted = (case, "run", window_ms, guarantee, processes)
    names = ("case", "kind", "window_ms", "guarantee", "processes")
    return [row for row in results["rows"] if tuple(row[name] for name in names) == wanted]


def _least(what: str, value: float, bound: float, form: str = "{:.2f}") -> Goal:
    return Goal(what, form.format(value), f"at least {form.format(bound)}", value >= bound)


def _most(what: str, value: float, bound: float, form: str = "{:.2f}") -> Goal:
    return Goal(what, form.format(value), f"at most {form.format(bound)}", value <= bound)


def _speed(results: Results) -> Iterator[Goal]:
    for what, case, window_ms, bound in (
        ("events/s divided by raw, windows of 5 s", "10k-zipf", 5000, 0.5),
        ("events/s divided by raw, windows of 1 s", "10k-zipf", 1000, 0.35),
        ("events/s divided by raw, windows of 5 s, increments 1-1000", "increments", 5000, 0.45),
    ):
        for row in ours(results, case, window_ms):
            yield _least(what, row["of_raw"], bound)
    for row in ours(results, "10k-zipf", 5000):
        for raw in results["rows"]:
            if (raw["case"], raw["kind"]) == ("10k-zipf", "raw"):
                what = f"CPU us for each event, windows of 5 s (raw: {raw['cpu_us']:.2f})"
                yield _most(what, row["cpu_us"], 1.5)
        for other in ours(results, "10k-zipf", 5000, "exactly-once"):
            what = "events/s of exactly-once divided by at-least-once, windows of 5 s"
            yield _least(what, other["median"] / row["median"], 0.9)


def _writing(results: Results) -> Iterator[Goal]:
    for row in results["writes"]:
        if row["written_by"] == "batches":
            what = "counters written in the CPU time of one boto3 UpdateItem"
            yield _least(what, 1 / row["of_update_item"], 40, "{:.0f}")


def _peers(results: Results) -> Iterator[Goal]:
    for row in ours(results, "peers", 5000):
        for peer in results["rows"]:
            for start, bound in (("one UpdateItem an event", 500), ("Quix Streams", 5)):
                if peer["kind"] == "peer" and peer["consumer"].startswith(start):
                    times = row["median"] / peer["median"]
                    yield _least(
                        f"events/s compared with: {peer['consumer']}", times, bound, "{:.1f} times"
                    )


def _decoding(results: Results) -> Iterator[Goal]:
    for row in results["decode"]:
        if row["payloads"] in {"an id in each", "another counter in each"}:
            what = f"reading payloads compared with decoding one by one: {row['payloads']}"
            yield _least(what, row["times"], 0.95)


def _memory(results: Results) -> Iterator[Goal]:
    for row in ours(results, "1m-uniform", 1000):
        yield _most("peak MB, 1,000,000 distinct counters", row["peak_mb"], 250, "{:.0f}")
    for row in ours(results, "backlog-5x", 1000):
        yield _most(f"peak MB, backlog of {row['events']:,}", row["peak_mb"], 250, "{:.0f}")
        # With fewer events a drain is over before its second window.
        for small in ours(results, "backlog-1.5x", 1000):
            what = f"peak memory divided by that of {small['events']:,} events"
            yield _most(what, row["peak_mb"] / small["peak_mb"], 1.1)


def _standing(results: Results) -> Iterator[Goal]:
    for row in results["freshness"]:
        if row["load"] == 5000:
            bound = row["window_ms"] / 1000 + 0.3
            yield _most(f"p99 s, 5,000 events/s, {row['guarantee']}", row["p99_s"], bound)
    if idle := results["idle"]:
        yield _most("share of a core when idle", idle["of_core"], 0.01, "{:.2%}")


def _two(results: Results) -> Iterator[Goal]:
    cores = max((part["machine"]["cores"] for part in results["parts"]), default=0)
    for one in ours(results, "two-processes", 1000):
        for two in ours(results, "two-processes", 1000, processes=2):
            # On fewer cores, the broker and the sink leave no free core for a second consumer.
            if cores >= _ENOUGH:
                what = "events/s of two processes divided by one"
                yield _least(what, two["median"] / one["median"], 1.7)
            what = "CPU time for each event, two processes divided by one"
            yield _most(what, two["cpu_us"] / one["cpu_us"], 1.1)


def _starting(results: Results) -> Iterator[Goal]:
    if start := results["start"]:
        window = f"{start['window_ms'] / 1000:g} s"
        what = f"s from start to first commit, without the join, with a window of {window}"
        yield _most(what, start["own_s"], 1.5)
        yield _most("s of `dynatomic --help`", start["help_s"], 0.25)


_GOALS: Final[tuple[Callable[[Results], Iterator[Goal]], ...]] = (
    _speed,
    _writing,
    _peers,
    _decoding,
    _memory,
    _standing,
    _two,
    _starting,
)
