"""Repeating a request to a server until a deadline, and saying that it is waited for."""

import logging
import math
import time
from collections.abc import Callable
from typing import TypeVar

from dynatomic.errors import UnavailableError

log = logging.getLogger(__name__)

PAUSE_S = 0.2
NOTICE_AFTER_S, NOTICE_INTERVAL_S = 2.0, 5.0


T = TypeVar("T")


class WaitNotice:
    """Logs that a server has not answered yet: after `NOTICE_AFTER_S`, then at intervals.

    ``server`` names it with its address; ``limit_s`` is how long it is waited for, in seconds.
    """

    def __init__(
        self, server: str, limit_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._server = server
        self._limit_s = limit_s
        self._clock = clock
        self._started = clock()
        self._next = self._started + NOTICE_AFTER_S

    def check(self) -> None:
        """Log the line if it is due."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + NOTICE_INTERVAL_S
        seconds, limit = round(now - self._started), math.ceil(self._limit_s)
        log.warning(
            "waiting for a server",
            extra={
                "fields": {"server": self._server, "seconds": seconds, "limit_seconds": limit},
                "sentence": f"waiting for {self._server}, {seconds} of {limit} s",
            },
        )


def until(deadline: float, ask: Callable[[], T], server: str) -> T:
    """Return what ``ask`` returns; call it again after each UnavailableError, until ``deadline``.

    ``deadline`` is a time of `time.monotonic`. After it, the UnavailableError is raised. ``server``
    is what a `WaitNotice` names.
    """
    notice = WaitNotice(server, max(0.0, deadline - time.monotonic()))
    while True:
        try:
            return ask()
        except UnavailableError:
            if time.monotonic() >= deadline:
                raise
            notice.check()
            time.sleep(PAUSE_S)
