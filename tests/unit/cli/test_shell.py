"""What the shells complete, and the manual page: asked of the shells and of man's own readers."""

import os
import pty
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynatomic.cli.app import app
from dynatomic.cli.main import main
from dynatomic.cli.man import EXIT_CODES, commands, page
from dynatomic.config.catalogue import SETTINGS
from tests.support.children import REPOSITORY
from tests.support.needed import needs

PATHS = [path for path, _ in commands(app, "dynatomic")]


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Write what `dynatomic completion` prints into a file."""
    assert main(["completion", shell]) == 0
    path = folder / f"completion.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def output(*command: str, input_: str = "") -> str:
    done = subprocess.run(command, input=input_, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def bash(path: Path, words: str) -> list[str]:
    """Return what bash offers for a line that is typed so far."""
    ask = f"""
        source {path}
        COMP_WORDS=({words} "") COMP_CWORD={len(words.split())}
        $(complete -p dynatomic | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return output(needs("bash"), "--norc", "-c", ask).split()


def fish(path: Path, line: str) -> list[str]:
    found = output(
        needs("fish"), "--no-config", "-c", f"source {path}; complete -C '{line}'"
    ).splitlines()
    return [each.split("\t")[0] for each in found]


def test_bash_completes_commands_flags_and_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script("bash", tmp_path, capsys)
    assert set(bash(path, "dynatomic")) == {each.split()[1] for each in PATHS}
    assert {"show", "check"} <= set(bash(path, "dynatomic config"))
    assert bash(path, "dynatomic run --processing-guarantee") == ["at-least-once", "exactly-once"]


def test_fish_completes_commands_flags_and_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script("fish", tmp_path, capsys)
    assert {each.split()[1] for each in PATHS} <= set(fish(path, "dynatomic "))
    assert fish(path, "dynatomic run --processing-guar") == ["--processing-guarantee"]
    found = fish(path, "dynatomic run --processing-guarantee ")
    assert found == ["at-least-once", "exactly-once"]


class Typed:
    """An interactive zsh on its own terminal."""

    def __init__(self, folder: Path) -> None:
        self._seen = ""
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [needs("zsh"), "-f", "-i"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb"},
            start_new_session=True,
        )
        os.close(slave)
        os.set_blocking(self._master, False)

    def type(self, text: str, until: str, seconds: float = 20) -> None:
        """Type this, and read until that is seen."""
        os.write(self._master, text.encode())
        self._seen, deadline = "", time.monotonic() + seconds
        while until not in self._seen:
            assert time.monotonic() < deadline, f"no {until!r} in {self._seen!r}"
            try:
                self._seen += os.read(self._master, 4096).decode()
            except BlockingIOError:
                time.sleep(0.01)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


@pytest.fixture
def zsh(tmp_path: Path) -> Iterator[Typed]:
    made = Typed(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("way", ["fpath=({folder} $fpath)", "later=1"], ids=["file", "source"])
def test_zsh_completes_commands_flags_and_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], zsh: Typed, way: str
) -> None:
    path = script("zsh", tmp_path, capsys).rename(tmp_path / "_dynatomic")
    load = "autoload -U compinit; compinit -D -u"
    source = f"(( later )) && source {path}; echo re''ady\n"
    zsh.type(f"{way.format(folder=tmp_path)}; {load}; {source}", "ready")
    zsh.type("dynatomic veri\t", "verify")
    zsh.type("\x15dynatomic run --processing-guar\t", "--processing-guarantee")
    zsh.type("\x15dynatomic run --processing-guarantee ex\t", "exactly-once")


def test_the_page_has_every_command_flag_and_exit_code() -> None:
    raw = "\n".join(page(app, "dynatomic 1.2.3"))
    assert "--" not in raw, "troff makes hyphens of these, which cannot be pasted"
    text = raw.replace(r"\-", "-")
    for path in PATHS:
        assert f'.SS "{path}' in text
    for setting in SETTINGS:
        assert rf"\fB{setting.flags[0]}\fR" in text
        assert setting.env in text
    settings = (REPOSITORY / "docs" / "reference" / "settings.md").read_text()
    for flag in re.findall(r"`(--[a-z-]+)", settings):
        assert rf"\fB{flag}\fR" in text, flag
    assert set(EXIT_CODES) == {0, 1, 2, 75, 78, 130, 143}
    assert "dynatomic 1.2.3" in text.splitlines()[0]


def test_the_page_is_one_that_man_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["man"]) == 0
    text = capsys.readouterr().out
    lint = [needs("mandoc"), "-T", "lint", "-W", "error"]
    output(*lint, input_=text)
    shown = output(needs("mandoc"), "-T", "ascii", input_=text)
    plain = re.sub(r".\x08", "", shown)
    assert "dynatomic run [OPTIONS]" in plain
    assert "Time to sum events before a write, in milliseconds." in plain
    assert "--processing-guarantee" in plain


@pytest.mark.parametrize("text", [".start", "'start", 'a "quoted" \\word'])
def test_text_is_never_taken_for_a_request(text: str) -> None:
    from cyclopts import App  # noqa: PLC0415

    made = App(name="x", help=text)
    lines = "\n".join(page(made, "x"))
    shown = output(needs("mandoc"), "-T", "ascii", input_=lines)
    assert text in re.sub(r".\x08", "", shown)
