"""Asking a server again until a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

from dynatomic.errors import UnavailableError

PAUSE_S = 0.2


T = TypeVar("T")


def until(deadline: float, ask: Callable[[], T]) -> T:
    """Return what ``ask`` returns, asking again while it raises UnavailableError in time."""
    while True:
        try:
            return ask()
        except UnavailableError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(PAUSE_S)
