"""Child processes of the tests: the command line and other programs, with their output in files."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.support.process import reaper

REPOSITORY: Final = Path(__file__).parents[2]
PYTHONPATH: Final = f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'consumer'}"


def uncovered() -> dict[str, str]:
    """Return this process's environment without what makes children measure coverage."""
    return {n: v for n, v in os.environ.items() if not n.startswith("COVERAGE")}


class Child:
    """A ``python -m dynatomic`` in the background, with its output in files."""

    def __init__(self, name: str, command: list[str], env: Mapping[str, str], folder: Path) -> None:
        """Start it."""
        self.name = name
        self._stdout = folder / f"{name}.stdout"
        self._stderr = folder / f"{name}.stderr"
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(env),
                cwd=REPOSITORY,
                start_new_session=True,
            )
        reaper().add(self.pid)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    @property
    def stdout(self) -> str:
        """What it printed to standard output so far."""
        return self._stdout.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it printed to standard error so far."""
        return self._stderr.read_text(errors="replace")

    def logs(self) -> str:
        """Return both outputs."""
        return f"{self.stdout[-10_000:]}\n--- standard error\n{self.stderr[-20_000:]}"

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        """Wait for its end and return the exit code; fails the test if it does not end."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.name} still runs after {seconds} s")
        reaper().remove(self.pid)
        return code

    def wait_for(self, text: str, seconds: float = 30) -> None:
        """Wait until it printed this; fails the test if it ends or does not in time."""
        deadline = time.monotonic() + seconds
        while text not in self.stdout + self.stderr:
            ended = self.returncode is not None and text not in self.stdout + self.stderr
            if ended or time.monotonic() > deadline:
                pytest.fail(f"{self.name} (exit code {self.returncode}) did not print {text!r}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it with SIGKILL and wait for that; nothing if it has ended."""
        self._process.kill()
        self.wait()


class Spawn:
    """Starts children; those that still run at the end of the test are killed."""

    def __init__(self, folder: Path) -> None:
        """Keep the outputs in this folder."""
        self.children: list[Child] = []
        self._folder = folder

    def __call__(self, *arguments: str, env: Mapping[str, str]) -> Child:
        """Run ``python -m dynatomic ARGUMENTS`` with exactly this environment."""
        return self.command([sys.executable, "-m", "dynatomic", *arguments], env=env)

    def command(self, command: list[str], env: Mapping[str, str]) -> Child:
        """Run any command with exactly this environment."""
        child = Child(f"child-{len(self.children)}", command, env, self._folder)
        self.children.append(child)
        return child


def one_line(child: Child, code: int, *parts: str) -> None:
    """Check the exit code, and that the error is one line with these parts."""
    assert child.wait(30) == code, child.logs()
    assert not child.stdout
    errors = [line for line in child.stderr.splitlines() if line.startswith("dynatomic: error:")]
    assert len(errors) == 1, child.logs()
    assert "Traceback" not in child.stderr
    for part in parts:
        assert part in errors[0]
