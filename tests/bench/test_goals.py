"""The goals of the benchmark, and the page that says which are reached."""

import re
from pathlib import Path
from typing import Any

from bench import report
from bench.goals import goals
from bench.page import write
from bench.peers import PEERS
from tests.support.bench_results import measured


def test_goals_are_reached_or_missed_by_the_measured_values() -> None:
    found = {goal.what: (goal.here, goal.wanted, goal.reached) for goal in goals(measured())}
    assert found == {
        "counters written in the CPU time of one boto3 UpdateItem": ("40", "at least 40", True),
        "events/s compared with: one UpdateItem an event": (
            "25.0 times",
            "at least 500.0 times",
            False,
        ),
        "reading payloads compared with decoding one by one: an id in each": (
            "3.00",
            "at least 0.95",
            True,
        ),
        "p99 s, 5,000 events/s, at-least-once": ("1.06", "at most 1.30", True),
        "p99 s, 5,000 events/s, exactly-once": ("1.06", "at most 1.30", True),
        "share of a core when idle": ("0.40%", "at most 1.00%", True),
        "s from start to first commit, without the join, with a window of 0.1 s": (
            *("0.25", "at most 1.50"),
            True,
        ),
        "s of `dynatomic --help`": ("0.25", "at most 0.25", True),
    }


def row(case: str, **changed: Any) -> dict[str, Any]:
    numbers = {"of_raw": 0.5, "cpu_us": 1.5, "median": 100.0, "peak_mb": 250.0, "events": 10}
    names = {"kind": "run", "window_ms": 1000, "guarantee": "at-least-once", "processes": 1}
    return {"case": case, **names, **numbers, **changed}


def test_goals_compare_the_rows_that_they_name() -> None:
    rows = [
        row("10k-zipf", kind="raw", cpu_us=1.25),
        row("10k-zipf", of_raw=0.34),
        row("10k-zipf", window_ms=5000),
        row("10k-zipf", window_ms=5000, guarantee="exactly-once", median=89.0, of_raw=0.1),
        row("increments", window_ms=5000, of_raw=0.44),
        row("1m-uniform", peak_mb=251.0),
        row("backlog-1.5x", peak_mb=200.0, events=1),
        row("backlog-5x", peak_mb=250.0),
        row("two-processes"),
        row("two-processes", processes=2, median=170.0, cpu_us=1.6),
    ]
    nothing: dict[str, Any] = {"writes": [], "decode": [], "freshness": []}
    results = {**nothing, "rows": rows, "idle": None, "start": None}
    found = goals({**results, "parts": [{"machine": {"cores": 4}}]})
    assert [(goal.what, goal.here, goal.reached) for goal in found] == [
        ("events/s divided by raw, windows of 5 s", "0.50", True),
        ("events/s divided by raw, windows of 1 s", "0.34", False),
        ("events/s divided by raw, windows of 5 s, increments 1-1000", "0.44", False),
        ("CPU us for each event, windows of 5 s (raw: 1.25)", "1.50", True),
        ("events/s of exactly-once divided by at-least-once, windows of 5 s", "0.89", False),
        ("peak MB, 1,000,000 distinct counters", "251", False),
        ("peak MB, backlog of 10", "250", True),
        ("peak memory divided by that of 1 events", "1.25", False),
        ("events/s of two processes divided by one", "1.70", True),
        ("CPU time for each event, two processes divided by one", "1.07", True),
    ]
    few = goals({**results, "parts": [{"machine": {"cores": 2}}]})
    assert [goal.what for goal in found if goal not in few] == [
        "events/s of two processes divided by one"
    ]


def test_the_cpu_time_that_the_hypervisor_took_is_a_share_of_what_was_asked_for(
    tmp_path: Path,
) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  10 0 10 1000 0 0 0 5 0 0\ncpu0 10 0 10 1000 0 0 0 5 0 0\n")
    before = report.cpu_time(stat)
    stat.write_text("cpu  40 5 20 5000 9 3 2 55 7 7\ncpu0 0 0 0 0 0 0 0 0 0 0\n")
    assert report.denied(before, stat) == 0.5
    assert report.denied(before, tmp_path / "none") is None
    assert report.denied(report.cpu_time(tmp_path / "none"), stat) is None


def test_the_page_says_what_is_missing_and_which_peers_are_better(tmp_path: Path) -> None:
    results = measured()
    results["parts"][0] |= {"complete": False, "error": "it broke", "denied": 0.125}
    results["parts"][1]["denied"] = 0.25
    page, *drawn = write(results, tmp_path)
    text = page.read_text()
    assert {f"performance/{path.name}" for path in drawn} == {*re.findall(r"\((\S+\.svg)\)", text)}
    assert "- Incomplete: 10k-zipf, 1 rounds. it broke\n" in text
    assert "- During a part, the hypervisor took 12% to 25% of the CPU time" in text
    assert "Not measured here: no such wheel." in text
    ahead = text.partition("better than ours")[2].partition("\n## ")[0]
    go = "4.0 times our events/s; 0.90 us of CPU time for each event, ours 2.00"
    assert f"- *{PEERS[-1].label}*: {go}. {PEERS[-1].about}" in ahead
    assert PEERS[0].label not in ahead
    missed = "one UpdateItem an event | 25.0 times | at least 500.0 times | missed |"
    assert f"| events/s compared with: {missed}\n" in text
    assert "$" not in text
