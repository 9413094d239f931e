"""``python -m bench report``: writes docs/performance.md and its plots from the stored parts."""

import argparse
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Any, Final

from bench import goals, parts, plan, plots, report
from bench.peers import PEERS

RESULTS: Final = plan.RESULTS / "full"
"""The default folder of complete runs."""

TEMPLATE: Final = Path(__file__).with_name("performance.md")
_FOLDER: Final = "performance"
_TITLES: Final = {
    "counters": "Throughput against distinct counters",
    "windows": "Throughput and events per write against the length of a window",
    "backlog": "Peak memory against backlog",
    "freshness": "Age of events when visible, against load",
}

Results = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Write the page; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench report", description="Write performance.md and its plots."
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="stored parts (%(default)s)")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where to (%(default)s)")
    given = parser.parse_args(arguments)
    loaded = parts.load(given.results)
    if not loaded:
        print(f"{given.results} has no results: run `make bench` first")
        return 1
    for written in write(parts.merged(loaded), given.docs):
        print(written)
    return 0


def write(results: Results, docs: Path) -> list[Path]:
    """Write the page and the plots into a folder; return the files."""
    drawn = plots.draw(results, docs / _FOLDER)
    page = docs / "performance.md"
    page.write_text(text(results, [path.stem for path in drawn]))
    return [page, *drawn]


def text(results: Results, drawn: Sequence[str]) -> str:
    """Return the page."""
    rows = results["rows"]
    return Template(TEMPLATE.read_text()).substitute(
        machine=_machine(results),
        goals=_goals(results),
        rows=_block(report.read_table([row for row in rows if row["case"] != "peers"])),
        peers=_block(report.read_table([row for row in rows if row["case"] == "peers"])),
        about=_about(results),
        ahead=_ahead(results),
        others=_block(report.other_tables(results)),
        plots="\n\n".join(f"![{_TITLES[name]}]({_FOLDER}/{name}.svg)" for name in drawn),
    )


def _block(table: str) -> str:
    return f"```\n{table}\n```" if table else "Not measured."


def _machine(results: Results) -> str:
    """Describe where and when the parts were measured, and name those that are incomplete."""
    measured = results["parts"]
    machines = sorted({_described(part["machine"]) for part in measured})
    days = sorted({part["machine"]["when"] for part in measured})
    loads = [part["machine"]["load"][0] for part in measured]
    span = datetime.fromisoformat(days[0]).date(), datetime.fromisoformat(days[-1]).date()
    when = f"{span[0]}" if span[0] == span[1] else f"{span[0]} to {span[1]}"
    minutes = sum(part["seconds"] for part in measured) / 60
    count = f"{len(measured)} of {len(parts.NAMES)} parts in {minutes:.0f} minutes"
    load = f"load average at the start of a part {min(loads)} to {max(loads)}"
    denied = [part["denied"] for part in measured if part["denied"] is not None]
    lines = [*machines, f"Measured {when}: {count}, {load}."]
    if any(denied):
        lines.append(
            f"During a part, the hypervisor took {min(denied):.0%} to {max(denied):.0%} of the CPU "
            "time for other machines. CPU times contain a part of it, so ratios are more reliable."
        )
    lines += [
        f"Incomplete: {part['name']}, {part['rounds']} rounds. {part['error']}".strip()
        for part in measured
        if not part["complete"]
    ]
    return "\n".join(f"- {line}" for line in lines)


def _described(machine: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}, {versions}"
    )


def _goals(results: Results) -> str:
    lines = ["| | here | goal | |", "|---|---|---|---|"]
    lines += [
        f"| {goal.what} | {goal.here} | {goal.wanted} | {'reached' if goal.reached else 'missed'} |"
        for goal in goals.goals(results)
    ]
    return "\n".join(lines)


def _about(results: Results) -> str:
    lines = []
    for peer in PEERS:
        why = results["skipped"].get(peer.label)
        missing = f" Not measured here: {why}." if why else ""
        lines.append(f"- *{peer.label}*. {peer.about}{missing}")
    return "\n".join(lines)


def _ahead(results: Results) -> str:
    """List the peers that are better than ours with the same window, with the reason."""
    about = {peer.label: peer.about for peer in PEERS}
    peers = [row for row in results["rows"] if row["kind"] == "peer"]
    lines = []
    for row in goals.ours(results, "peers", 5000):
        found = {peer["consumer"]: _better(peer, row) for peer in peers}
        lines += [f"- *{name}*: {what}. {about[name]}" for name, what in found.items() if what]
        lines = lines or ["- None, neither in events/s nor in CPU time for each event."]
        if less := [peer for peer in peers if peer["peak_mb"] < row["peak_mb"]]:
            names = ", ".join(f"{peer['consumer']} ({peer['peak_mb']:.0f} MB)" for peer in less)
            lines.append(
                f"- Less memory than our {row['peak_mb']:.0f} MB: {names}. Ours keeps the offset "
                "and the row of each event until its window is written, and a cache of payloads."
            )
    return "\n".join(lines) or "Not measured."


def _better(peer: Results, row: Results) -> str:
    found = []
    if peer["median"] > row["median"]:
        found.append(f"{peer['median'] / row['median']:.1f} times our events/s")
    if peer["cpu_us"] < row["cpu_us"]:
        ours = f"{row['cpu_us']:.2f}"
        found.append(f"{peer['cpu_us']:.2f} us of CPU time for each event, ours {ours}")
    return "; ".join(found)
