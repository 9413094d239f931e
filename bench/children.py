"""Child processes: started, read to their end, and gone when this process is."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from bench.sink import ROOT
from dynatomic.errors import DynatomicError
from tests.support.process import reaper

_LAST: Final = 3000
"""Characters of what a failed child said that are shown."""


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Start a child for the block; it is killed after it, or when this process is killed."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        reaper().add(child.pid)
        try:
            yield child
        finally:
            child.kill()  # it does nothing if the child has ended
            reaper().remove(child.pid)


def output(child: subprocess.Popen[str], name: str, seconds: float) -> str:
    """Return all that a child prints until its end.

    Raises `DynatomicError` if it fails, or does not end within the given seconds.
    """
    try:
        printed, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise DynatomicError(f"{name} did not end in {seconds:.0f} s") from None
    if child.returncode != 0:
        raise DynatomicError(f"{name} ended with {child.returncode}:\n{errors[-_LAST:]}")
    return printed
