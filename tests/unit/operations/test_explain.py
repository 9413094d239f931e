"""`dynatomic explain`: events of a file, and what each adds."""

import json
from pathlib import Path

import pytest

from dynatomic.cli import main as cli

FILE = """
[event]
time = "at"

[[counter]]
name = "daily"
when = "kind == 'a'"
table = "usage"
key = "{id}"
range = "{time|day}"
add = { n = 1, cents = { path = "total", scale = 2 } }
expires = "1d"

[[example]]
event = '{"id":"c","kind":"a","at":"2026-11-29T00:00:00Z","total":1.5}'
gives = [{ counter = "daily", key = "c", add = { n = 1, cents = 150 } }]
"""
EVENTS = (
    '{"id":"x\\u001b[2J","kind":"a","at":"2026-11-29T00:00:00Z","total":-0.5}\n'
    "\n"
    '{"kind":"b"}\r\n'
    '{"kind":"a","at":"2026-11-29T00:00:00Z","total":0}\n'
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "counters.toml").write_text(FILE)
    (tmp_path / "events.jsonl").write_text(EVENTS)
    return str(tmp_path / "counters.toml"), str(tmp_path / "events.jsonl")


def test_each_event_is_explained(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    counters, events = files
    assert cli.main(["explain", "--counters", counters, events]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "event 1: daily:  usage  x?[2J  2026-11-29  n +1  cents -50  expires 2026-12-01T00:00:00Z",
        "event 2: no counter takes it",
        "event 3: dead letter: field-missing: counter daily: id",
        "3 events: 1 counted, 1 dead letter, 1 taken by no counter",
    ]


def test_programs_get_json(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    counters, events = files
    assert cli.main(["explain", "--counters", counters, "-o", "json", "-n", "2", events]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["adds"][0]["amounts"] == {"n": 1, "cents": -50}
    assert second == {"event": 2, "adds": []}


def test_a_wrong_example_ends_with_78(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    counters, events = files
    Path(counters).write_text(FILE.replace("cents = 150", "cents = 151"))
    assert cli.main(["explain", "--counters", counters, events]) == 78
    assert "example 1: the event does not give" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["explain", "--counters", files[0], "none.jsonl"]) == 1
    assert "cannot read none.jsonl: No such file" in capsys.readouterr().err
