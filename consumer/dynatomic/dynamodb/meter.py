"""Counts the requests to each table by outcome. Knows no client."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Literal

from dynatomic.dynamodb.answers import APPLIED, Answer, Execute, Refused, Retry
from dynatomic.dynamodb.statements import Change, Step
from dynatomic.telemetry.durations import Durations

Outcome = Literal["ok", "throttled", "refused", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "throttled", "refused", "failed")


class Meter:
    """Sends requests through ``execute`` and counts them. Thread-safe.

    ``requests`` has the requests by table and outcome, ``durations`` their seconds by the same,
    ``throttles`` the throttled statements by table. ``unknown`` has the requests by table of which
    at least one statement may be in the table or not: its answer was lost, or was a server error.
    ``in_flight`` has the requests by table that have no answer yet.
    """

    def __init__(self, execute: Execute, clock: Callable[[], float] = time.perf_counter) -> None:
        self.requests: Counter[tuple[str, Outcome]] = Counter()
        self.throttles: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.in_flight: Counter[str] = Counter()
        self.durations: dict[tuple[str, Outcome], Durations] = defaultdict(Durations)
        self._execute = execute
        self._clock = clock
        self._lock = Lock()

    def __call__(self, step: Step, batch: Sequence[Change], /) -> list[Answer]:
        """Send one request."""
        table = batch[0].table
        with self._lock:
            self.in_flight[table] += 1
        start = self._clock()
        try:
            answers = self._execute(step, batch)
        finally:
            with self._lock:
                self.in_flight[table] -= 1
        duration = self._clock() - start
        outcome: Outcome = "ok"
        throttled, is_unknown = 0, False
        if answers.count(APPLIED) != len(answers):
            outcome, throttled = _worst_outcome(answers)
            is_unknown = any(isinstance(answer, Retry) and answer.is_unknown for answer in answers)
        with self._lock:
            durations = self.durations[table, outcome]
            self.requests[table, outcome] += 1
            if throttled:
                self.throttles[table] += throttled
            if is_unknown:
                self.unknown[table] += 1
        durations.add(duration)
        return answers


def _worst_outcome(answers: Sequence[Answer]) -> tuple[Outcome, int]:
    """Return the worst outcome of the answers, and how many statements were throttled."""
    throttled = sum(isinstance(answer, Retry) and answer.throttled for answer in answers)
    if any(isinstance(answer, Refused) for answer in answers):
        return "refused", throttled
    if throttled:
        return "throttled", throttled
    failed = any(isinstance(answer, Retry) for answer in answers)
    return "failed" if failed else "ok", 0
