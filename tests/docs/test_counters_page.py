"""The page about declared counters shows a file and what `explain` prints for it."""

import re
from pathlib import Path

import pytest

from dynatomic.cli import main as cli

PAGE = (Path(__file__).parents[2] / "docs" / "counters.md").read_text()
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
