"""Running a command line in this process, and what it prints."""

import tomllib
from typing import Any

import pytest

from dynatomic.cli import main as cli


def shown(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    assert cli.main(["config", "show", *flags]) == 0
    return tomllib.loads(capsys.readouterr().out)


def failed(capsys: pytest.CaptureFixture[str], code: int, *argv: str) -> str:
    """Run a command line that fails with one line, and a hint if it is misused."""
    assert cli.main(argv) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0].startswith("dynatomic: error: ")
    if code == 2:
        assert lines[1].startswith("Try 'dynatomic ")
        assert lines[1].endswith(" --help'.")
    assert len(lines) == (2 if code == 2 else 1)
    return lines[0]
