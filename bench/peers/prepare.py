"""Installs each peer once, in its own folder below ``.peers``.

A folder is complete when its file ``prepared``, which is written last, has the expected content. A
missing tool gives a `bench.peers.peer.Skip`, never an exception. Only the standard library is
imported, because the peers import this package in their own environments.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.peers.peer import Skip

ROOT: Final = Path(__file__).parents[2]
"""Where ``python -m bench.peers...`` finds its module: the directory to run the commands in."""

FOLDER: Final = ROOT / ".peers"
GO_VERSION: Final = "1.26"

_LIMIT_S: Final = 600.0
_LONGEST: Final = 160


def with_our_python(name: str) -> list[str]:
    """Return the command of a peer that needs no library but those that we need, too."""
    return [sys.executable, "-m", f"bench.peers.{name}"]


def in_venv(
    name: str, requirements: Sequence[str], newest_python: tuple[int, int] | None = None
) -> list[str] | Skip:
    """Return the command of a peer in an environment with these requirements.

    ``newest_python`` is the last version that the peer has wheels for, if it is not the newest.
    """
    python = python_up_to(newest_python)
    if isinstance(python, Skip):
        return python
    folder, command = own_folder(name.strip("_")), f"bench.peers.{name}"
    if isinstance(folder, Skip):
        return folder
    own = str(folder / "bin" / "python")
    wanted = "\n".join((python, *requirements)) + "\n"
    if is_prepared(folder, wanted):
        return [own, "-m", command]
    pip = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--only-binary=:all:"]
    return (
        attempt("a virtual environment", [python, "-m", "venv", "--clear", str(folder)])
        or attempt(" ".join(requirements), [own, *pip, *requirements])
        or mark_prepared(folder, wanted, [own, "-m", command])
    )


def with_go() -> list[str] | Skip:
    """Return the command of the Go program, built from what is in ``go/``."""
    go = shutil.which("go")
    if go is None:
        return Skip(f"no go command: install Go {GO_VERSION} or newer")
    folder = own_folder("go")
    if isinstance(folder, Skip):
        return folder
    program, source = folder / "count", Path(__file__).with_name("go")
    # `go build` checks whether the program is older than its source.
    return attempt(
        "the Go program", [go, "build", "-C", str(source), "-o", str(program), "."]
    ) or mark_prepared(folder, f"{go}\n", [str(program)])


def python_up_to(newest: tuple[int, int] | None) -> str | Skip:
    """Return this Python, or one that is no newer than a peer has wheels for."""
    if newest is None or sys.version_info[:2] <= newest:
        return sys.executable
    major, last = newest
    for minor in range(last, 10, -1):
        found = shutil.which(f"python{major}.{minor}")
        if found is not None and not isinstance(attempt(found, [found, "-c", ""]), Skip):
            return found
    return Skip(f"no wheels for this Python: install Python {major}.{last} beside it")


def own_folder(name: str) -> Path | Skip:
    """Make the folder of a peer, where git does not look."""
    folder = FOLDER / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (FOLDER / ".gitignore").write_text("*\n")
    except OSError as error:
        return Skip(f"{folder} was not made: {error.strerror}")
    return folder


def is_prepared(folder: Path, wanted: str) -> bool:
    """Tell whether the folder holds what is wanted."""
    try:
        return (folder / "prepared").read_text() == wanted
    except OSError:
        return False


def mark_prepared(folder: Path, wanted: str, command: list[str]) -> list[str] | Skip:
    """Note what the folder holds now, and return the command."""
    try:
        (folder / "prepared").write_text(wanted)
    except OSError as error:
        return Skip(f"{folder} cannot be written: {error.strerror}")
    return command


def attempt(what: str, command: list[str]) -> Skip | None:
    """Run a command that makes something; return why it could not."""
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return Skip(f"{what} was not made in {_LIMIT_S:.0f} s")
    except OSError as error:
        return Skip(f"{what} was not made: {command[0]}: {error.strerror}")
    if ended.returncode == 0:
        return None
    lines = (ended.stderr or ended.stdout).strip().splitlines() or ["it said nothing"]
    return Skip(f"{what} was not made: {lines[-1].strip()}"[:_LONGEST])
