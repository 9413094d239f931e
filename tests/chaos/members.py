"""Starting, stopping and killing consumer processes from the runner."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from dynatomic.errors import UnavailableError
from tests.support.children import REPOSITORY, uncovered
from tests.support.process import reaper

_START_S = 30.0


class Member:
    """One consumer process. ``code`` is its exit code once it has ended, negative for a signal."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self.pid = 0
        self.code: int | None = None
        self.started = threading.Event()
        self.ended = threading.Event()

    def signal(self, number: int) -> None:
        """Send a signal; nothing if it has ended."""
        if not self.started.wait(_START_S):
            raise UnavailableError(f"{self.name} was not started")
        assert self.pid > 0  # 0 would be this process and all of its group
        # The id cannot belong to another process before its end was reported.
        if not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def text(self) -> str:
        """Return what it logged so far."""
        return self.log.read_text(errors="replace") if self.log.is_file() else ""


class Nursery:
    """The process that forks the consumers (`tests.chaos.member`)."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.member"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            # Other tests measure what is covered: a dozen consumers at once, each three times as
            # slow, are past their time-outs.
            env=uncovered(),
            start_new_session=True,
        )
        reaper().add(self._process.pid)
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._members: dict[int, tuple[Member, Callable[[Member], None]]] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(
        self,
        member: Member,
        argv: list[str],
        env: Mapping[str, str],
        twist: str,
        on_end: Callable[[Member], None],
    ) -> None:
        """Start a member; ``on_end`` is called, on another thread, when it has ended."""
        wanted = {"argv": argv, "env": dict(env), "log": str(member.log), "twist": twist}
        with self._lock:
            number = next(self._numbers)
            self._members[number] = member, on_end
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"id": number, **wanted}).encode() + b"\n")
            self._process.stdin.flush()
        if not member.started.wait(_START_S):
            raise UnavailableError("the process that forks the consumers does not answer")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            member, on_end = self._members[message["id"]]
            if "pid" in message:
                member.pid = message["pid"]
                reaper().add(member.pid)
                member.started.set()
                continue
            reaper().remove(member.pid)
            del self._members[message["id"]]
            member.code = message["code"]
            member.ended.set()
            on_end(member)

    def close(self) -> None:
        """Kill all that still run, and end."""
        for member, _ in list(self._members.values()):
            member.signal(9)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        reaper().remove(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
