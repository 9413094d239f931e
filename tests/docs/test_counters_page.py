"""The page about declared counters shows a file and what `explain` prints for it."""

import json
import re
from pathlib import Path

import pytest

from dynatomic.cli import main as cli
from dynatomic.counting.counting import Counting
from dynatomic.counting.file import loads
from dynatomic.counting.records import Record
from dynatomic.operations.demo_workloads import COUNTERS_FILE, api_events

PAGE = (Path(__file__).parents[2] / "docs" / "counters.md").read_text()
README = (Path(__file__).parents[2] / "README.md").read_text()
EVENTS = (
    '{"time":"2026-11-29T00:50:59Z","tenant":{"id":"c-7"},"http":{"status":200,"bytes_out":512}}\n'
    '{"time":"2026-11-29T00:50:59Z","tenant":{},"http":{"status":200,"bytes_out":512}}\n'
)


def test_the_command_prints_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (shown,) = re.findall(r"```\n\$ dynatomic (explain .*?)\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "counters.toml").write_text(file)
    (tmp_path / "events.jsonl").write_text(EVENTS)
    monkeypatch.chdir(tmp_path)
    assert cli.main(shown[0].split()) == 0
    assert capsys.readouterr().out == shown[1]


def test_the_file_on_the_first_page_counts_what_its_comment_says() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    counting = Counting(loads(text))
    event = {"customer": "c-7", "status": 200, "bytes": 512}
    (found,) = counting.additions(Record(json.dumps(event).encode(), timestamp_ms=0))
    assert found.key == "c-7"
    assert found.range == "day#1970-01-01"
    assert found.amounts == (("requests", 1), ("bytes", 512))
    assert counting.additions(Record(b'{"customer": "c-7", "status": 503}', timestamp_ms=0)) == []


def test_the_file_of_the_demo_counts_its_events() -> None:
    counting = Counting(loads(COUNTERS_FILE))
    for event in api_events(200, 1):
        found = counting.additions(Record(json.dumps(event).encode(), timestamp_ms=0))
        expected = ["customer-day"] if int(event["status"]) < 500 else []
        assert [a.counter for a in found] == [*expected, "endpoint-month"]
