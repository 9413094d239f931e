"""A server process with a folder and a log, which never outlives the process that started it."""

import functools
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dynatomic.errors import DynatomicError, UnavailableError

_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 30.0


# One line a change: "+pid" and "-pid" of processes to kill, "rm path" of folders to delete,
# when the pipe closes, that is, when the process that holds its other end is gone.
_REAPER: Final = """
import os, shutil, signal, sys
pids, folders = set(), set()
for line in sys.stdin:
    word, value = line[:1], line[1:].strip()
    {"+": pids.add, "-": pids.discard, "d": folders.add, "x": folders.discard}[word](value)
for pid in pids:
    try:
        os.kill(int(pid), signal.SIGKILL)
    except ProcessLookupError:
        pass
for folder in folders:
    shutil.rmtree(folder, ignore_errors=True)
"""


class MissingError(DynatomicError):
    """Something that a real server needs is not on this machine; the message says what."""


class Reaper:
    """Kills the processes and deletes the folders told to it once this process is gone.

    A handler or a finalizer cannot do that when this process is killed; another process can.
    """

    def __init__(self) -> None:
        """Start it, in a session of its own: a Ctrl-C here must not end it first."""
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _REAPER],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def add(self, pid: int) -> None:
        """Kill this process in the end."""
        self._tell(f"+{pid}")

    def remove(self, pid: int) -> None:
        """Forget this process: it has ended."""
        self._tell(f"-{pid}")

    def add_folder(self, folder: Path) -> None:
        """Delete this folder in the end."""
        self._tell(f"d{folder}")

    def remove_folder(self, folder: Path) -> None:
        """Forget this folder: it is deleted."""
        self._tell(f"x{folder}")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()


@functools.cache
def reaper() -> Reaper:
    """Return the one of this process."""
    return Reaper()


class Process:
    """A server process with a folder and a log, ended by its id."""

    def __init__(self, name: str) -> None:
        """Make the folder; `launch` starts the process."""
        self.folder = Path(tempfile.mkdtemp(prefix=f"dynatomic-{name}-"))
        self.log = self.folder / f"{name}.log"
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        reaper().add_folder(self.folder)

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process else None

    def launch(self, command: list[str], is_ready: Callable[[], bool]) -> None:
        """Start it and wait until it is ready.

        Raises `UnavailableError` with the end of its log if it ends or is not ready in time.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        reaper().add(self._process.pid)
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready():
            if (code := self._process.poll()) is not None:
                raise UnavailableError(
                    f"{self._name} ended at start with {code}; its log ends:\n{self.tail()}"
                )
            if time.monotonic() > deadline:
                self.end(kill=True)
                raise UnavailableError(
                    f"{self._name} is not ready in time; its log ends:\n{self.tail()}"
                )
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Send it a signal; nothing if it is not up."""
        if self._process is not None:
            self._process.send_signal(number)

    def end(self, *, kill: bool = False) -> None:
        """End it, with SIGKILL at once or after SIGTERM had its time; nothing if it is not up."""
        process, self._process = self._process, None
        if process is None:
            return
        if not kill:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        else:
            process.kill()
        process.wait()
        reaper().remove(process.pid)

    def delete(self) -> None:
        """Delete its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        reaper().remove_folder(self.folder)

    def tail(self, lines: int = 40) -> str:
        """Return the end of its log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
