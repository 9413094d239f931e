"""The figures that the campaign takes from logs: a member may be killed in the middle of a line."""

import json
from pathlib import Path

from tests.chaos.members import Member
from tests.chaos.report import fences


def line(event: str, **fields: int) -> str:
    return json.dumps({"level": "info", "event": event, **fields})


def test_only_whole_lines_of_our_own_are_read(tmp_path: Path) -> None:
    refused = line("fence refused", partition=1, items=2, events=30)
    lines = [
        '%4|1763971467.1|FAIL|dynatomic#consumer-1| [thrd:main]: "event": "fence refused"',
        refused,
        line("window written", items=5, events=70),
        refused[:-9],  # killed here; the next one continues after it
        refused,
        refused[:30] + refused,
        "{",
        refused[: len(refused) // 2],
    ]
    members = [Member("a", tmp_path / "a"), Member("b", tmp_path / "never started")]
    members[0].log.write_text("\n".join(lines))
    assert fences(members) == {"lines": 2, "items": 4, "events": 60}
