"""What was measured, a file a part: a crash loses a run, and parts measured apart are merged.

A part is a case of `bench.workloads.CASES` or one of `OTHERS`. Its file is
replaced after each run.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from bench import report
from bench.freshness import Freshness
from bench.measure import Run
from bench.process import Idle, Start
from bench.workloads import CASES, OTHERS

NAMES = (*(case.name for case in CASES), *OTHERS)
"""All parts, in the order of the plan."""


@dataclass(slots=True)
class Part:
    """What one part gave: its runs, or what else it measures.

    ``size`` and ``case`` describe what is to be measured. It is ``complete`` when all of it is
    measured. ``seconds`` is the duration with the preparation of topics, ``denied`` the result of
    `report.denied`, and ``error`` the error that ended it.
    """

    name: str
    size: dict[str, Any]
    case: dict[str, Any] | None
    machine: dict[str, Any]
    complete: bool = False
    seconds: float = 0.0
    denied: float | None = None
    error: str = ""
    runs: list[Run] = field(default_factory=list)
    freshness: list[Freshness] = field(default_factory=list)
    idle: Idle | None = None
    start: Start | None = None
    skipped: dict[str, str] = field(default_factory=dict)

    def store(self, folder: Path) -> None:
        """Write its file; another process sees the old one or the new one, never a half."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
        written = folder / f"{self.name}.tmp"
        written.write_text(json.dumps(asdict(self), indent=1) + "\n")
        written.replace(folder / f"{self.name}.json")

    def covers(self, other: "Part") -> bool:
        """Tell whether it has all that another part is going to measure."""
        asked = json.loads(json.dumps([other.size, other.case]))  # JSON has no tuples
        return self.complete and [self.size, self.case] == asked

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that `store` wrote."""
        content = json.loads(path.read_text())
        content["runs"] = [Run(**each) for each in content["runs"]]
        content["freshness"] = [Freshness(**each) for each in content["freshness"]]
        content["idle"] = content["idle"] and Idle(**content["idle"])
        content["start"] = content["start"] and Start(**content["start"])
        return cls(**content)


def load(folder: Path, names: Sequence[str] = NAMES) -> list[Part]:
    """Return the parts that a folder has, in the order of the plan."""
    paths = (folder / f"{name}.json" for name in names)
    return [Part.load(path) for path in paths if path.exists()]


def merged(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the rows of all tables, and where each comes from; the input of tables and plots."""
    runs = [run for part in parts for run in part.runs]
    apart = {name: [run for run in runs if run.case == name] for name in ("write", "decode")}
    return {
        "parts": [
            {
                "name": part.name,
                "machine": part.machine,
                "seconds": part.seconds,
                "denied": part.denied,
                "rounds": max((run.round for run in part.runs), default=0),
                "complete": part.complete,
                "error": part.error,
            }
            for part in parts
        ],
        "cases": {part.name: part.case for part in parts if part.case},
        "rows": report.summary([run for run in runs if run.case not in apart]),
        "writes": report.write_summary(apart["write"]),
        "decode": report.decode_summary(apart["decode"]),
        "freshness": [asdict(each) for part in parts for each in part.freshness],
        "idle": next((asdict(part.idle) for part in parts if part.idle), None),
        "start": next((asdict(part.start) for part in parts if part.start), None),
        "skipped": {label: why for part in parts for label, why in part.skipped.items()},
    }
