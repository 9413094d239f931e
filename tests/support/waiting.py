"""Waiting for a condition, with a bound."""

import subprocess
import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 45) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not {what} after {seconds} s"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)],  # noqa: S607 - ps is in another place on a Mac
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    # Its new parent may leave a process that has ended unburied: that is not ours to do.
    return state.strip() in ("", "Z", "Zs")
