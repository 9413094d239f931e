"""What came of the rounds, for people and as JSON."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dynatomic.config.settings import ProcessingGuarantee
from tests.chaos.judge import Verdict
from tests.chaos.members import Member
from tests.chaos.plan import Plan


@dataclass
class Result:
    """One round. ``hits`` is how often each fault really struck."""

    plan: Plan
    backend: str
    hits: Counter[str] = field(default_factory=Counter)
    events: int = 0
    counters: int = 0
    letters: int = 0
    high: int = 0
    wrong: list[str] = field(default_factory=list)
    exits: Counter[int | None] = field(default_factory=Counter)
    fences: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    folder: str = ""

    def take(self, verdict: Verdict, guarantee: ProcessingGuarantee) -> None:
        """Take the verdict over."""
        self.events, self.counters = verdict.events, verdict.counters
        self.letters, self.high = verdict.letters, len(verdict.high)
        self.wrong = verdict.wrong(guarantee)

    def line(self) -> str:
        """Return the round in a line; in several where something is wrong."""
        plan = self.plan
        told = ", ".join(f"{name} {self.hits[name]}" for name in plan.faults)
        text = (
            f"round {plan.seed} {self.backend} {plan.protocol} {plan.guarantee}: {told}; "
            f"{self.events} events, {self.counters} counters, {self.high} higher, "
            f"fences {self.fences['events']}, exits {dict(self.exits)}, {self.seconds:.1f} s"
        )
        if not self.wrong:
            return text
        first = "\n  ".join(self.wrong[:20])
        return f"{text}\n  WRONG ({len(self.wrong)}), logs in {self.folder}; {plan}\n  {first}"


def fences(members: Iterable[Member]) -> Counter[str]:
    """Return, from the logs, what the fences refused: lines, items and events."""
    found: Counter[str] = Counter()
    for member in members:
        for line in member.text().splitlines():
            if line.startswith("{") and '"event": "fence refused"' in line:
                if not (told := _fields(line)):
                    continue
                found["lines"] += 1
                found["items"] += told.get("items", 0)
                found["events"] += told.get("events", 0)
    return found


def _fields(line: str) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(line)
    except ValueError:  # the member was killed in the middle of it, or its disk was full
        return {}
    return told


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """Return the figures of a whole run."""
    hits: Counter[str] = Counter()
    rounds: Counter[str] = Counter()
    exits: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for result in results:
        hits.update(result.hits)
        rounds.update(result.plan.faults)
        exits.update({str(code): n for code, n in result.exits.items()})
        refused.update(result.fences)
    return {
        "rounds": len(results),
        "rounds_by_fault": dict(sorted(rounds.items())),
        "hits_by_fault": dict(sorted(hits.items())),
        "events": sum(r.events for r in results),
        "counters": sum(r.counters for r in results),
        "dead_letters": sum(r.letters for r in results),
        "processes": sum(exits.values()),
        "exits": dict(sorted(exits.items())),
        "suppressed": dict(refused),
        "rounds_wrong": [r.plan.seed for r in results if r.wrong],
        "differences": sum(len(r.wrong) for r in results),
        "counters_higher": sum(r.high for r in results),
        "seconds": round(sum(r.seconds for r in results), 1),
    }


def as_json(results: Sequence[Result], head: dict[str, Any]) -> str:
    """Return the whole run."""
    rounds = [{**vars(result), "plan": asdict(result.plan)} for result in results]
    return json.dumps({**head, **summary(results), "each": rounds}, indent=1)


def markdown(results: Sequence[Result], head: dict[str, Any]) -> str:
    """Return the run as a table for the documentation."""
    total = summary(results)
    lines = [f"| {name.replace('_', ' ')} | {value} |" for name, value in head.items()]
    single = ("rounds", "events", "counters", "dead_letters", "processes", "suppressed")
    lines += [f"| {name.replace('_', ' ')} | {total[name]} |" for name in single]
    lines += [f"| differences | {total['differences']} |", f"| seconds | {total['seconds']} |"]
    faults = [
        f"| {name} | {count} | {total['hits_by_fault'].get(name, 0)} |"
        for name, count in total["rounds_by_fault"].items()
    ]
    table = ["| fault | rounds | hits |", "|---|---|---|", *faults]
    return "\n".join(["| run | |", "|---|---|", *lines, "", *table]) + "\n"
