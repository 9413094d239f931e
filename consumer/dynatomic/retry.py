"""Repeating a request to a server until a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

from dynatomic.errors import UnavailableError

PAUSE_S = 0.2


T = TypeVar("T")


def until(deadline: float, ask: Callable[[], T]) -> T:
    """Return what ``ask`` returns; call it again after each UnavailableError, until ``deadline``.

    ``deadline`` is a time of `time.monotonic`. After it, the UnavailableError is raised.
    """
    while True:
        try:
            return ask()
        except UnavailableError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(PAUSE_S)
