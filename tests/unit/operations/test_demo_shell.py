"""The shell of the demo: its settings, what runs beside it, and Ctrl-C."""

import os
import signal
import sys
from pathlib import Path
from threading import Event

import pytest

from dynatomic.operations.demo_shell import shell_beside


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a shell that interrupts the demo, as Ctrl-C does, and writes down what it was given."""
    program, seen = tmp_path / "shell", tmp_path / "seen"
    program.write_text(
        f'#!/bin/sh\nkill -INT {os.getpid()}\necho "$DYNATOMIC_TOPIC $PATH" > {seen}\n'
    )
    program.chmod(0o700)
    monkeypatch.setenv("SHELL", str(program))
    return seen


def test_the_shell_has_the_settings_and_the_demo_survives_an_interrupt(shell: Path) -> None:
    before, turns = signal.getsignal(signal.SIGINT), []

    def work(ended: Event) -> None:
        turns.append(ended.wait(60))

    shell_beside({"DYNATOMIC_TOPIC": "events"}, work)
    topic, path = shell.read_text().split(maxsplit=1)
    assert topic == "events"
    assert path.startswith(str(Path(sys.executable).parent))
    assert turns == [True]
    assert signal.getsignal(signal.SIGINT) == before


def test_an_error_beside_the_shell_is_raised(shell: Path) -> None:
    def work(_ended: Event) -> None:
        raise ValueError("the consumer ended")

    with pytest.raises(ValueError, match="the consumer ended"):
        shell_beside({}, work)
    assert shell.exists()
