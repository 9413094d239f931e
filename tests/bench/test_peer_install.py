"""How the peers of the benchmark are installed, and what is said where they cannot be."""

import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from bench.peers import Skip, prepare
from tests.support.peers import peer


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that peers are installed in, in place of the real one."""
    monkeypatch.setattr(prepare, "FOLDER", tmp_path / "peers")
    return tmp_path / "peers"


class FakePython:
    """A Python whose ``venv`` copies itself and whose ``pip`` does what the test says."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "python"
        self._log = folder / "calls"
        self._pip = folder / "pip"
        self.install("exit 0")
        self.path.write_text(
            "#!/bin/sh\n"
            f'echo "$2" >> {self._log}\n'
            'if [ "$2" = venv ]; then mkdir -p "$4/bin" && cp "$0" "$4/bin/python"; exit; fi\n'
            f". {self._pip}\n"
        )
        self.path.chmod(0o755)

    def install(self, script: str) -> None:
        self._pip.write_text(f"{script}\n")

    def calls(self) -> list[str]:
        """Return what it was called for since the last time."""
        called = self._log.read_text().split() if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return called


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePython:
    fake = FakePython(tmp_path)
    monkeypatch.setattr(sys, "executable", str(fake.path))
    return fake


def is_a_line(skipped: object) -> str:
    assert isinstance(skipped, Skip)
    assert 0 < len(skipped.reason) < 200
    assert skipped.reason.splitlines() == [skipped.reason]
    return skipped.reason


def test_a_peer_is_installed_once_and_again_for_other_requirements(
    folder: Path, python: FakePython
) -> None:
    command = [str(folder / "quix" / "bin" / "python"), "-m", "bench.peers.quix"]
    assert prepare.in_venv("quix", ["a==1"]) == command
    assert python.calls() == ["venv", "pip"]
    assert prepare.in_venv("quix", ["a==1"]) == command
    assert python.calls() == []
    assert prepare.in_venv("quix", ["a==2"]) == command
    assert python.calls() == ["venv", "pip"]
    assert (folder / ".gitignore").read_text() == "*\n"


def test_what_pip_does_not_find_is_a_line_and_is_tried_again(
    folder: Path, python: FakePython
) -> None:
    python.install("echo noise >&2; echo 'ERROR: No matching distribution for a' >&2; exit 1")
    line = is_a_line(prepare.in_venv("quix", ["a==1"]))
    assert line == "a==1 was not made: ERROR: No matching distribution for a"
    assert not (folder / "quix" / "prepared").exists()
    python.install("exit 0")
    assert isinstance(prepare.in_venv("quix", ["a==1"]), list)


def test_what_takes_too_long_is_a_line(
    folder: Path, python: FakePython, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "_LIMIT_S", 0.2)
    python.install("exec sleep 60")
    assert "was not made in" in is_a_line(prepare.in_venv("quix", ["a==1"]))
    assert not (folder / "quix" / "prepared").exists()


@pytest.mark.usefixtures("folder")
def test_a_python_that_is_too_new_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    line = is_a_line(prepare.in_venv("bytewax_", ["a"], newest_python=(3, 10)))
    assert line == "no wheels for this Python: install Python 3.10 beside it"


def test_an_older_python_takes_the_place_of_one_that_is_too_new(
    folder: Path, python: FakePython, monkeypatch: pytest.MonkeyPatch
) -> None:
    python.path.rename(python.path.with_name("python3.12"))
    monkeypatch.setenv("PATH", f"{python.path.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    command = prepare.in_venv("bytewax_", ["a"], newest_python=(3, 12))
    own = str(folder / "bytewax" / "bin" / "python")
    assert command == [own, "-m", "bench.peers.bytewax_"]


@pytest.mark.usefixtures("folder")
def test_no_go_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert is_a_line(peer("go").prepare()).startswith("no go command")


@pytest.mark.usefixtures("folder")
def test_no_java_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert is_a_line(peer("flink").prepare()).startswith("no java command: install Java 17")


@pytest.mark.usefixtures("folder")
def test_a_java_that_flink_does_not_run_on_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"25.0.1\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "is Java 25: install Java 17" in is_a_line(peer("flink").prepare())


def test_a_go_that_does_not_build_is_a_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho 'go: module not found' >&2; exit 1\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert is_a_line(peer("go").prepare()) == "the Go program was not made: go: module not found"
    assert not (folder / "go" / "prepared").exists()


@pytest.mark.parametrize(
    "prepared", [partial(prepare.in_venv, "quix", ["a"]), prepare.with_go], ids=["venv", "go"]
)
def test_a_folder_that_cannot_be_made_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: Callable[[], object]
) -> None:
    if prepared is prepare.with_go and shutil.which("go") is None:
        pytest.skip("no go command")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(prepare, "FOLDER", tmp_path / "file")
    assert "was not made: " in is_a_line(prepared())
