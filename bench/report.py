"""From runs to rows, and from rows to the table that is printed."""

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.measure import Run

_HEADINGS: Final = (
    "workload",
    "consumer",
    "events/s min",
    "median",
    "max",
    "of raw",
    "CPU us/event",
    "with start",
    "requests",
    "events/write",
    "peak MB",
    "start s",
)
_WRITE_HEADINGS: Final = ("written by", "counters/s", "CPU us/counter", "of UpdateItem")


def summary(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return a row for each workload and consumer; medians over its rounds where not said.

    ``of_raw`` is the median of the ratios to the raw run of the same round.
    """
    measured = sorted(runs, key=lambda r: (r.workload, r.window_ms, r.guarantee, r.round))
    raw = {(r.workload, r.round): r for r in measured if r.kind == "raw"}
    rows = []
    for (workload, label), group in groupby(measured, lambda r: (r.workload, r.label)):
        same = list(group)
        speeds = [r.events / r.seconds for r in same]
        beside = [raw[workload, r.round] for r in same]
        writes = [r.events / r.statements for r in same if r.statements]
        rows.append(
            {
                "workload": workload,
                "consumer": label,
                "min": min(speeds),
                "median": median(speeds),
                "max": max(speeds),
                "of_raw": median(
                    b.seconds / r.seconds * r.events / b.events
                    for r, b in zip(same, beside, strict=True)
                ),
                "cpu_us": median(r.cpu_s / r.events for r in same) * 1e6,
                "process_cpu_us": median(r.process_cpu_s / r.events for r in same) * 1e6,
                "requests": median(r.requests for r in same),
                "events_per_write": median(writes) if writes else None,
                "peak_mb": max(r.peak_bytes for r in same) / 1e6,
                "start_s": median(r.start_s for r in same),
            }
        )
    return rows


def write_summary(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return a row for each way of writing: CPU time a counter, medians over the rounds."""
    kinds: dict[str, list[Run]] = {}
    for run in runs:
        kinds.setdefault(run.kind, []).append(run)
    cpu = {kind: median(r.cpu_s / r.events for r in same) for kind, same in kinds.items()}
    return [
        {
            "written_by": "boto3 UpdateItem" if kind == "update-item" else "batches",
            "counters_per_s": median(r.events / r.seconds for r in same),
            "cpu_us": cpu[kind] * 1e6,
            "of_update_item": cpu[kind] / cpu["update-item"],
        }
        for kind, same in kinds.items()
    ]


def tables(rows: Sequence[dict[str, Any]], writes: Sequence[dict[str, Any]]) -> str:
    """Return both tables as text."""
    read = [
        (
            row["workload"],
            row["consumer"],
            *(f"{row[name]:,.0f}" for name in ("min", "median", "max")),
            *(f"{row[name]:.2f}" for name in ("of_raw", "cpu_us", "process_cpu_us")),
            f"{row['requests']:,.0f}" if row["requests"] else "-",
            f"{row['events_per_write']:.1f}" if row["events_per_write"] else "-",
            f"{row['peak_mb']:.0f}",
            f"{row['start_s']:.1f}",
        )
        for row in rows
    ]
    written = [
        (
            row["written_by"],
            f"{row['counters_per_s']:,.0f}",
            f"{row['cpu_us']:.1f}",
            "1" if row["of_update_item"] == 1 else f"1/{1 / row['of_update_item']:.0f}",
        )
        for row in writes
    ]
    return f"{_plain(_HEADINGS, read, 2)}\n\n{_plain(_WRITE_HEADINGS, written, 1)}\n"


def _plain(headings: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """Set columns: the first ``words`` to the left, numbers to the right."""
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
    """Return what the numbers depend on."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": [round(average, 2) for average in os.getloadavg()],
        "versions": {name: version(name) for name in ("confluent-kafka", "boto3", "fastavro")},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(found, platform.processor() or platform.machine())
