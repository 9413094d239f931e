"""Server processes, each with a folder and a log, that end with the process that started them."""

import functools
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dynatomic.errors import DynatomicError, UnavailableError

_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 30.0


# Each line adds or removes a process ("+pid", "-pid") or a folder ("dpath", "xpath"). The pipe
# closes when the process at its other end has ended. Then all that is left is killed and deleted.
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
    """A program or a file that a real server needs is missing; the message names it."""


class Reaper:
    """Kills the registered processes and deletes the folders when this process has ended.

    It is another process, because no handler and no finalizer runs when this process is killed.
    """

    def __init__(self) -> None:
        """Start it in a new session, because a Ctrl-C must not end it first."""
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _REAPER],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def add(self, pid: int) -> None:
        """Kill this process when this program has ended."""
        self._send(f"+{pid}")

    def remove(self, pid: int) -> None:
        """Remove a process that has ended."""
        self._send(f"-{pid}")

    def add_folder(self, folder: Path) -> None:
        """Delete this folder when this program has ended."""
        self._send(f"d{folder}")

    def remove_folder(self, folder: Path) -> None:
        """Remove a folder that is deleted."""
        self._send(f"x{folder}")

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()


@functools.cache
def reaper() -> Reaper:
    """Return the reaper of this process."""
    return Reaper()


class Process:
    """A server process with a folder and a log. It is ended by its process id."""

    def __init__(self, name: str) -> None:
        """Create the folder; `launch` starts the process."""
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
        """Send it a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def end(self, *, kill: bool = False) -> None:
        """End it, if it runs: with SIGKILL, or with SIGTERM and after a while SIGKILL."""
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


class Server:
    """A server that runs as one process, and ends with its ``with`` block.

    A subclass starts ``_process`` in its constructor with `_starting`, so that nothing is left of a
    server that does not start.
    """

    def __init__(self, name: str) -> None:
        """Create the folder of the process."""
        self._process = Process(name)

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid

    def close(self) -> None:
        """End it and delete its data."""
        self._process.end(kill=True)
        self._process.delete()

    def tail(self) -> str:
        """Return the end of its log."""
        return self._process.tail()

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """Close the server if the block fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return this server."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
