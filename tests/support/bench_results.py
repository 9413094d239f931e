"""Results of a benchmark that was never run, for the tests of its reports."""

from dataclasses import asdict, replace
from typing import Any

from bench import plan, report
from bench.freshness import Freshness
from bench.measure import Run
from bench.parts import Part, merged
from bench.peers import PEERS
from bench.process import Idle, Start
from bench.workloads import CASES


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
