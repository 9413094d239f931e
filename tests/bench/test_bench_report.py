"""What the benchmark plans, stores and reports. Nothing here is run or timed."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bench import plan, plots, report
from bench.parts import NAMES, load
from bench.peers import PEERS
from bench.process import Idle
from bench.workloads import CASES, OTHERS
from tests.support.bench_results import measured, parts_measured, run, written


@pytest.mark.parametrize(
    ("arguments", "rounds", "most"), [([], 3, 31), (["--quick"], 1, 3)], ids=["whole", "quick"]
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
        "payloads       us/event  one by one  times as fast",
        "an id in each      1.00        3.00           3.00",
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
        ("cold start to the first commit, without the join: 0.25 s, including the window of 0.1 s"),
        ("  process to subscribe 0.25 s, join 0.25 s, first event 0.25 s, first commit 0.25 s"),
        "dynatomic --help: 0.25 s",
        "",
        "skipped: Quix Streams, batches of 25: no such wheel",
    ]


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
        # It has its own background, because the page may be dark.
        assert re.search(r'<g id="patch_1">\s*<path [^>]*style="fill: #ffffff', text)
    again = plots.draw(results, tmp_path / "b")
    assert [path.read_bytes() for path in drawn] == [path.read_bytes() for path in again]
    nothing: dict[str, Any] = {"rows": [], "cases": {}, "freshness": []}
    assert plots.draw(nothing, tmp_path / "c") == []
