"""Makes rows of runs, and text tables of rows."""

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.measure import Run

_READ: Final = (
    "case",
    "consumer",
    "events",
    "events/s min",
    "median",
    "max",
    "of raw",
    "CPU us/event",
    "with start",
    "CPU us/write",
    "requests",
    "events/write",
    "peak MB",
    "start s",
)
_WRITE: Final = ("written by", "counters/s", "CPU us/counter", "of UpdateItem")
_DECODE: Final = ("payloads", "us/event", "one by one", "times as fast")
_FRESH: Final = (
    *("events/s", "window s", "guarantee", "p50 s", "p99 s", "max s"),
    *("events/write", "CPU us/event", "CPU of a core"),
)


def grouped(runs: Iterable[Run]) -> dict[tuple[str, str], list[Run]]:
    """Return the runs of each case and label, in the order of their first run."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.case, run.label), []).append(run)
    return groups


def summary(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return a row for each case and consumer. A value is the median of the rounds, if not named.

    ``of_raw`` is the median of the ratios of events/s to the raw run of the same round.
    """
    raw = {(run.case, run.round): run for run in runs if run.kind == "raw"}
    rows = []
    order = list(dict.fromkeys(run.case for run in runs))
    groups = sorted(grouped(runs).items(), key=lambda group: order.index(group[0][0]))
    for (case, label), same in groups:
        speeds = [run.events / run.seconds for run in same]
        beside = [raw[case, run.round] for run in same]
        wrote = [run for run in same if run.statements]
        rows.append(
            {
                "case": case,
                "consumer": label,
                "kind": same[0].kind,
                "window_ms": same[0].window_ms,
                "guarantee": same[0].guarantee,
                "processes": same[0].processes,
                "events": same[0].events,
                "min": min(speeds),
                "median": median(speeds),
                "max": max(speeds),
                "of_raw": median(
                    b.seconds / r.seconds * r.events / b.events
                    for r, b in zip(same, beside, strict=True)
                ),
                "cpu_us": median(run.cpu_s / run.events for run in same) * 1e6,
                "process_cpu_us": median(run.process_cpu_s / run.events for run in same) * 1e6,
                "write_us": _median(run.cpu_s / run.statements * 1e6 for run in wrote),
                "requests": median(run.requests for run in same),
                "events_per_write": _median(run.events / run.statements for run in wrote),
                "peak_mb": max(run.peak_bytes for run in same) / 1e6,
                "start_s": median(run.start_s for run in same),
            }
        )
    return rows


def write_summary(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return a row for each way of writing: CPU time for each counter, medians of the rounds."""
    groups = {label: same for (_, label), same in grouped(runs).items()}
    if "boto3 UpdateItem" not in groups:
        return []
    cpu = {label: median(r.cpu_s / r.events for r in same) for label, same in groups.items()}
    return [
        {
            "written_by": label,
            "counters_per_s": median(r.events / r.seconds for r in same),
            "cpu_us": cpu[label] * 1e6,
            "of_update_item": cpu[label] / cpu["boto3 UpdateItem"],
        }
        for label, same in groups.items()
    ]


def decode_summary(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return a row for each kind of payload: us of CPU time for each event, medians."""
    rows = []
    for label in dict.fromkeys(run.label for run in runs):
        ours, each = (
            {r.round: r.cpu_s / r.events * 1e6 for r in runs if (r.kind, r.label) == (kind, label)}
            for kind in ("decode", "decode-each")
        )
        both = ours.keys() & each.keys()  # a last round may be incomplete
        if not both:
            continue
        rows.append(
            {
                "payloads": label,
                "cpu_us": median(ours.values()),
                "each_us": median(each.values()),
                "times": median(each[turn] / ours[turn] for turn in both),
            }
        )
    return rows


def tables(results: dict[str, Any]) -> str:
    """Return all results as text."""
    parts = [read_table(results["rows"]), other_tables(results)]
    return "\n\n".join(filter(None, parts)) + "\n"


def read_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of the runs that read a topic."""
    return _plain(_READ, [*map(_read, rows)], 2) if rows else ""


def other_tables(results: dict[str, Any]) -> str:
    """Return the tables of the other measurements."""
    parts = [
        _plain(_WRITE, [*map(_written, results["writes"])], 1) if results["writes"] else "",
        _plain(_DECODE, [*map(_decoded, results["decode"])], 1) if results["decode"] else "",
        _plain(_FRESH, [*map(_fresh, results["freshness"])], 0) if results["freshness"] else "",
        *_lines(results),
    ]
    return "\n\n".join(filter(None, parts))


def _read(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["case"],
        row["consumer"],
        *(f"{row[name]:,.0f}" for name in ("events", "min", "median", "max")),
        f"{row['of_raw']:.{3 if row['of_raw'] < 0.1 else 2}f}",
        *(f"{row[name]:.2f}" for name in ("cpu_us", "process_cpu_us")),
        f"{row['write_us']:,.0f}" if row["write_us"] else "-",
        f"{row['requests']:,.0f}" if row["requests"] else "-",
        f"{row['events_per_write']:,.1f}" if row["events_per_write"] else "-",
        f"{row['peak_mb']:.0f}",
        f"{row['start_s']:.1f}",
    )


def _written(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["written_by"],
        f"{row['counters_per_s']:,.0f}",
        f"{row['cpu_us']:.1f}",
        "1" if row["of_update_item"] == 1 else f"1/{1 / row['of_update_item']:.0f}",
    )


def _decoded(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["payloads"],
        f"{row['cpu_us']:.2f}",
        f"{row['each_us']:.2f}",
        f"{row['times']:.2f}",
    )


def _fresh(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['load']:,}",
        f"{row['window_ms'] / 1000:g}",
        row["guarantee"],
        *(f"{row[name]:.2f}" for name in ("p50_s", "p99_s", "max_s")),
        f"{row['events_per_write']:.1f}",
        f"{row['cpu_us']:.1f}",
        f"{row['of_core']:.0%}",
    )


def _lines(results: dict[str, Any]) -> list[str]:
    idle, start = results["idle"], results["start"]
    lines = []
    if idle:
        lines.append(
            f"idle for {idle['seconds']:.0f} s: {idle['of_core']:.2%} of a core, "
            f"{idle['peak_bytes'] / 1e6:.0f} MB"
        )
    if start:
        lines.append(
            f"cold start to the first commit, without the join: {start['own_s']:.2f} s, "
            f"including the window of {start['window_ms'] / 1000:g} s\n"
            f"  process to subscribe {start['imports_s']:.2f} s, join {start['join_s']:.2f} s, "
            f"first event {start['read_s']:.2f} s, first commit {start['write_s']:.2f} s\n"
            f"dynatomic --help: {start['help_s']:.2f} s"
        )
    lines += [f"skipped: {label}: {why}" for label, why in results["skipped"].items()]
    return lines


def _median(values: Iterable[float]) -> float | None:
    present = list(values)
    return median(present) if present else None


def _plain(headings: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """Align columns: the first ``words`` columns to the left, the others to the right."""
    lines = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def machine() -> dict[str, Any]:
    """Return a description of this machine."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": [round(average, 2) for average in os.getloadavg()],
        "versions": {name: version(name) for name in ("confluent-kafka", "boto3", "fastavro")},
    }


def cpu_time(stat: Path = Path("/proc/stat")) -> tuple[int, int] | None:
    """Return the CPU ticks that the hypervisor took from this machine, and the ticks it asked for.

    Both count from the start of the machine. None where the system does not report them.
    Source: proc_stat(5).
    """
    if not stat.exists():
        return None
    ticks = [int(each) for each in stat.read_text().split(maxsplit=9)[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks
    return steal, user + nice + system + irq + softirq + steal


def denied(before: tuple[int, int] | None, stat: Path = Path("/proc/stat")) -> float | None:
    """Return the share of the CPU time since ``before`` that the hypervisor took."""
    now = cpu_time(stat)
    if now is None or before is None:
        return None
    return (now[0] - before[0]) / max(1, now[1] - before[1])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
