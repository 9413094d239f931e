"""What the consumer waits for at the moment, seconds after it begins, long before it is a stall.

A stall makes the probes fail, so it needs a minute. A wait only informs people, so it may come and
go: on the page, in the status, as a metric, and in the log when it begins and when it has ended.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from dynatomic.worker.causes import Cause, Stall

log = logging.getLogger(__name__)

WAIT_AFTER_S = 3.0
"""After how many seconds without progress something is a wait."""

ENDED_AFTER_S = 5.0
"""How long a cause must be absent before its wait has ended: a throttled table often lets a few
writes through."""

# These are logged where they happen, and end only by a restart or a command.
_LOGGED_ELSEWHERE = {Cause.PARTITION_STOPPED, Cause.TOPIC_MISSING}


@dataclass(frozen=True, slots=True)
class _Wait:
    stall: Stall
    since: float
    seen_at: float


class WaitMonitor:
    """Keeps the waits by cause. ``current`` has the longest one of each cause, the oldest first.

    The loop calls `update`; any thread may read ``current``.
    """

    def __init__(self) -> None:
        self.current: tuple[Stall, ...] = ()
        self._waits: dict[Cause, _Wait] = {}

    def update(self, stalls: Iterable[Stall], owned: Iterable[int], now: float) -> None:
        """Take what waits now. Waits of partitions that are not owned any more end silently."""
        partitions = {None, *owned}
        for stall in sorted(stalls, key=lambda stall: stall.seconds):
            known = self._waits.get(stall.cause)
            since = now - stall.seconds
            if known is None:
                self._log("waiting", stall, stall.seconds)
            else:
                since = min(since, known.since)
            self._waits[stall.cause] = _Wait(stall, since, now)
        for cause, wait in list(self._waits.items()):
            is_owned = wait.stall.partition in partitions
            if not is_owned or now - wait.seen_at >= ENDED_AFTER_S:
                del self._waits[cause]
                if is_owned:
                    self._log("recovered", wait.stall, wait.seen_at - wait.since)
        waits = sorted(self._waits.values(), key=lambda wait: wait.since)
        self.current = tuple(replace(w.stall, seconds=now - w.since) for w in waits)

    @staticmethod
    def _log(event: str, stall: Stall, seconds: float) -> None:
        if stall.cause in _LOGGED_ELSEWHERE:
            return
        fields = {
            "seconds": round(seconds),
            "why": stall.cause.word,
            "cause": stall.detail,
            "partition": stall.partition,
        }
        if event == "waiting":
            log.warning("waiting", extra={"fields": fields})
        else:
            log.info("recovered", extra={"fields": fields})
