"""What the benchmark plans, stores and reports. Nothing here is run or timed."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bench import plan, plots, report
from bench.freshness import Freshness
from bench.goals import goals
from bench.measure import Run
from bench.page import write
from bench.parts import NAMES, Part, load, merged
from bench.peers import PEERS
from bench.process import Idle, Start
from bench.workloads import CASES, OTHERS


@pytest.mark.parametrize(
    ("arguments", "rounds", "most"), [([], 3, 30), (["--quick"], 1, 3)], ids=["whole", "quick"]
)
def test_the_plan_fits_into_its_time(arguments: list[str], rounds: int, most: int) -> None:
    first, *rest = plan.text(plan.options(arguments)).splitlines()
    found = re.fullmatch(rf"{rounds} rounds of each, about (\d+) min:", first)
    assert found
    assert int(found[1]) <= most
    assert [line.split()[0] for line in rest] == [*(c.name for c in CASES), *OTHERS]


def test_only_what_is_named_is_run() -> None:
    options = plan.options(["--only", "idle", "10k-zipf", "--rounds", "5", "--quick"])
    assert [case.name for case in options.cases] == ["10k-zipf"]
    assert options.others == ("idle",)
    assert options.size == replace(plan.QUICK, rounds=5)
    assert options.results == plan.RESULTS / "quick"


def test_the_ordinary_case_has_what_is_promised() -> None:
    size, backlog = plan.Size(), max(case.share for case in CASES)
    assert size.rounds >= 3
    assert backlog * size.events == 10_000_000
    assert 5_000 in {load for load, *_ in size.loads}
    paced = {window_ms for load, _, window_ms in size.loads if load == plots.PACED}
    assert paced == {500, 1000, 5000}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--rounds", "0"], "must be at least 1"),
        (["--only", "nothing"], "invalid choice: 'nothing'"),
        (["--keep", "x", "--bootstrap-servers", "y"], "not allowed with"),
    ],
)
def test_the_command_refuses_nonsense(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        plan.options(arguments)
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


def run(kind: str, window_ms: int, number: int, seconds: float) -> Run:
    ours = kind == "run"
    return Run(
        case="10k-zipf",
        kind=kind,
        label=f"{window_ms / 1000:g} s, exactly-once" if ours else "raw consume()",
        round=number,
        events=1_000_000,
        start_s=0.5,
        seconds=seconds,
        cpu_s=2.0 if ours else 1.0,
        process_cpu_s=2.5,
        peak_bytes=number * 50_000_000,
        requests=800 if ours else 0,
        statements=20_000 if ours else 0,
        window_ms=window_ms,
        guarantee="exactly-once" if ours else "",
    )


def test_a_ratio_is_to_the_raw_run_of_the_same_round() -> None:
    runs = [
        *(run("raw", 0, n, s) for n, s in enumerate((1.0, 2.0, 4.0), start=1)),
        *(run("run", 1000, n, s) for n, s in enumerate((4.0, 4.0, 5.0), start=1)),
    ]
    raw, ours = report.summary(runs)
    assert (raw["min"], raw["median"], raw["max"], raw["of_raw"]) == (250_000, 500_000, 1e6, 1)
    assert (ours["min"], ours["median"], ours["max"]) == (200_000, 250_000, 250_000)
    assert ours["of_raw"] == 0.5  # of 0.25, 0.5 and 0.8
    assert (raw["events_per_write"], ours["events_per_write"]) == (None, 50)
    assert (raw["write_us"], ours["write_us"]) == (None, 100)
    assert (raw["cpu_us"], ours["cpu_us"], ours["process_cpu_us"]) == (1, 2, 2.5)
    assert (ours["peak_mb"], ours["consumer"]) == (150, "1 s, exactly-once")


def written(kind: str, label: str, events: int, cpu_s: float) -> Run:
    made = replace(run("run", 0, 1, 1.0), case="write", kind=kind, label=label, events=events)
    return replace(made, cpu_s=cpu_s)


def parts_measured() -> list[Part]:
    """Return a part of every kind."""
    peer = replace(run("run", 5000, 1, 50.0), kind="peer", label=PEERS[0].label, guarantee="")
    go = replace(peer, label=PEERS[-1].label, seconds=0.5, cpu_s=0.9)
    zipf = [run("raw", 0, 1, 1.0), run("run", 1000, 1, 2.5), run("run", 5000, 1, 2.0)]
    read = [
        replace(run(kind, 0, 1, 1.0), case="decode", label="an id in each", cpu_s=cpu)
        for kind, cpu in (("decode", 1.0), ("decode-each", 3.0))
    ]
    fresh = [Freshness(*load, 90, 4.5, 0.5, 1.0625, 1.25, 12.0, 0.07) for load in plan.STEADY]
    cases = {case.name: asdict(case) for case in CASES}

    def part(name: str, **found: Any) -> Part:
        return Part(name, {"rounds": 1}, cases.get(name), report.machine(), complete=True, **found)

    def of_case(name: str, runs: list[Run], **found: Any) -> Part:
        return part(name, runs=[replace(each, case=name) for each in runs], **found)

    ours = replace(run("run", 5000, 1, 2.0), guarantee="at-least-once", label="5 s, at-least-once")
    return [
        of_case("10k-zipf", zipf),
        of_case("1m-uniform", zipf[:2]),
        of_case("backlog-5x", zipf),
        of_case("peers", [zipf[0], ours, peer, go], skipped={PEERS[2].label: "no such wheel"}),
        part("decode", runs=read),
        part(
            "write",
            runs=[
                written("write", "batches", 1_000_000, 20.0),
                written("update-item", "boto3 UpdateItem", 1000, 0.8),
            ],
        ),
        part("freshness", freshness=fresh),
        part("idle", idle=Idle(20.0, 0.004, 64_000_000)),
        part("start", start=Start(5, 100, *[0.25] * 6)),
    ]


def measured() -> dict[str, Any]:
    return merged(parts_measured())


def test_the_tables_render() -> None:
    results = measured()
    results |= {"rows": results["rows"][:3], "freshness": results["freshness"][:1]}
    assert report.tables(results).splitlines() == [
        (
            "case      consumer              events  events/s min     median        max  of raw"
            "  CPU us/event  with start  CPU us/write  requests  events/write  peak MB  start s"
        ),
        (
            "10k-zipf  raw consume()      1,000,000     1,000,000  1,000,000  1,000,000    1.00"
            "          1.00        2.50             -         -             -       50      0.5"
        ),
        (
            "10k-zipf  1 s, exactly-once  1,000,000       400,000    400,000    400,000    0.40"
            "          2.00        2.50           100       800          50.0       50      0.5"
        ),
        (
            "10k-zipf  5 s, exactly-once  1,000,000       500,000    500,000    500,000    0.50"
            "          2.00        2.50           100       800          50.0       50      0.5"
        ),
        "",
        "written by        counters/s  CPU us/counter  of UpdateItem",
        "batches            1,000,000            20.0           1/40",
        "boto3 UpdateItem       1,000           800.0              1",
        "",
        "payloads       us/event  each by itself  times as fast",
        "an id in each      1.00            3.00           3.00",
        "",
        (
            "events/s  window s      guarantee  p50 s  p99 s  max s  events/write  CPU us/event"
            "  CPU of a core"
        ),
        (
            "   1,000         1  at-least-once   0.50   1.06   1.25           4.5          12.0"
            "             7%"
        ),
        "",
        "idle for 20 s: 0.40% of a core, 64 MB",
        "",
        ("cold start to the first commit, without the join: 0.25 s, of which 0.1 s are the window"),
        ("  process to subscribe 0.25 s, join 0.25 s, first event 0.25 s, first commit 0.25 s"),
        "dynatomic --help: 0.25 s",
        "",
        "skipped: Quix Streams, batches of 25: no such wheel",
    ]


def test_goals_are_reached_and_missed_by_their_own_numbers() -> None:
    found = {goal.what: (goal.here, goal.wanted, goal.reached) for goal in goals(measured())}
    assert found == {
        "counters written with the CPU time of one boto3 UpdateItem": ("40", "at least 40", True),
        "our events/s beside one UpdateItem an event": (
            "25.0 times",
            "at least 500.0 times",
            False,
        ),
        "reading payloads, an id in each, beside each by itself": (
            "3.00",
            "at least 0.95",
            True,
        ),
        "p99 s, 5,000 events/s, at-least-once": ("1.06", "at most 1.30", True),
        "p99 s, 5,000 events/s, exactly-once": ("1.06", "at most 1.30", True),
        "CPU of a core when idle": ("0.40%", "at most 1.00%", True),
        "s from start to first commit, without the join, window of 0.1 s included": (
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
        ("events/s of raw, 5 s windows", "0.50", True),
        ("events/s of raw, 1 s windows", "0.34", False),
        ("events/s of raw, 5 s windows, increments 1-1000", "0.44", False),
        ("CPU us an event, 5 s windows (raw takes 1.25)", "1.50", True),
        ("events/s of exactly-once beside at-least-once, 5 s windows", "0.89", False),
        ("peak MB, 1,000,000 distinct counters", "251", False),
        ("peak MB, backlog of 10", "250", True),
        ("peak memory beside that with 1", "1.25", False),
        ("events/s of two processes beside one", "1.70", True),
        ("CPU an event of two processes beside one", "1.07", True),
    ]
    few = goals({**results, "parts": [{"machine": {"cores": 2}}]})
    assert [goal.what for goal in found if goal not in few] == [
        "events/s of two processes beside one"
    ]


def test_what_the_hypervisor_gave_to_others_is_a_share_of_what_was_asked_for(
    tmp_path: Path,
) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  10 0 10 1000 0 0 0 5 0 0\ncpu0 10 0 10 1000 0 0 0 5 0 0\n")
    before = report.cpu_time(stat)
    stat.write_text("cpu  40 5 20 5000 9 3 2 55 7 7\ncpu0 0 0 0 0 0 0 0 0 0 0\n")
    assert report.denied(before, stat) == 0.5
    assert report.denied(before, tmp_path / "none") is None
    assert report.denied(report.cpu_time(tmp_path / "none"), stat) is None


def test_the_page_says_what_is_missing_and_who_is_ahead(tmp_path: Path) -> None:
    results = measured()
    results["parts"][0] |= {"complete": False, "error": "it broke", "denied": 0.125}
    results["parts"][1]["denied"] = 0.25
    page, *drawn = write(results, tmp_path)
    text = page.read_text()
    assert {f"performance/{path.name}" for path in drawn} == {*re.findall(r"\((\S+\.svg)\)", text)}
    assert "- Not whole: 10k-zipf, 1 rounds. it broke\n" in text
    assert "- The hypervisor gave 12% to 25% of the CPU time" in text
    assert "Not measured here: no such wheel." in text
    ahead = text.partition("ahead of ours")[2].partition("\n## ")[0]
    go = "4.0 times our events/s; 0.90 us of CPU an event, ours 2.00"
    assert f"- *{PEERS[-1].label}*: {go}. {PEERS[-1].about}" in ahead
    assert PEERS[0].label not in ahead
    missed = "one UpdateItem an event | 25.0 times | at least 500.0 times | missed |"
    assert f"| our events/s beside {missed}\n" in text
    assert "$" not in text


def test_parts_are_stored_loaded_and_taken_for_done(tmp_path: Path) -> None:
    stored = parts_measured()
    for part in reversed(stored):
        part.store(tmp_path)
    loaded = load(tmp_path)
    assert [part.name for part in loaded] == sorted((p.name for p in stored), key=NAMES.index)
    assert {part.name: part for part in loaded}.keys() == {part.name for part in stored}
    same = json.loads(json.dumps([asdict(part) for part in loaded]))
    by_name = sorted(stored, key=lambda part: NAMES.index(part.name))
    assert same == json.loads(json.dumps([asdict(part) for part in by_name]))
    assert all(now.covers(then) for now, then in zip(loaded, by_name, strict=True))
    first, then = loaded[0], by_name[0]
    assert not first.covers(replace(then, size={"rounds": 2}))
    assert not replace(first, complete=False).covers(then)
    assert load(tmp_path, ["idle"])[0].idle == Idle(20.0, 0.004, 64_000_000)


def test_an_interrupted_round_has_tables_too() -> None:
    batches = [written("write", "batches", 1000, 1.0)]
    assert report.write_summary(batches) == []
    assert report.decode_summary([replace(run("decode", 0, 1, 1.0), case="decode")]) == []


def test_stored_results_are_drawn_the_same_again(tmp_path: Path) -> None:
    results = json.loads(json.dumps(measured()))
    drawn = plots.draw(results, tmp_path / "a")
    assert [path.name for path in drawn] == [f"{name}.svg" for name in plots.FIGURES]
    for path in drawn:
        text = path.read_text()
        peer = [] if path.stem in {"freshness", "backlog"} else [PEERS[0].label]
        labels = ["exactly-once", *peer]
        assert all(label in text for label in labels)
        # A ground of its own: pages may be dark.
        assert re.search(r'<g id="patch_1">\s*<path [^>]*style="fill: #ffffff', text)
    again = plots.draw(results, tmp_path / "b")
    assert [path.read_bytes() for path in drawn] == [path.read_bytes() for path in again]
    nothing: dict[str, Any] = {"rows": [], "cases": {}, "freshness": []}
    assert plots.draw(nothing, tmp_path / "c") == []
