"""Counts requests to a table as they pass, by outcome. Knows no client."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Literal, Protocol

from dynatomic.dynamodb.answers import APPLIED, Answer, Refused, Retry
from dynatomic.dynamodb.statements import Change, Step
from dynatomic.telemetry.durations import Durations

Outcome = Literal["ok", "throttled", "refused", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "throttled", "refused", "failed")


class Execute(Protocol):
    """Sends one request and returns an answer for each change."""

    def __call__(self, step: Step, batch: Sequence[Change], /) -> list[Answer]:
        """Send one request."""


class Meter:
    """Sends requests through ``execute``, and counts them; safe from any thread.

    ``requests`` is by table and outcome, ``throttles`` counts statements, ``durations`` is by
    outcome.
    """

    def __init__(self, execute: Execute, clock: Callable[[], float] = time.perf_counter) -> None:
        self.requests: Counter[tuple[str, Outcome]] = Counter()
        self.throttles: Counter[str] = Counter()
        self.durations: dict[Outcome, Durations] = {outcome: Durations() for outcome in OUTCOMES}
        self._execute = execute
        self._clock = clock
        self._lock = Lock()

    def __call__(self, step: Step, batch: Sequence[Change], /) -> list[Answer]:
        """Send one request."""
        began = self._clock()
        answers = self._execute(step, batch)
        took = self._clock() - began
        outcome: Outcome = "ok"
        throttled = 0
        if answers.count(APPLIED) != len(answers):
            outcome, throttled = _judge(answers)
        self.durations[outcome].add(took)
        table = batch[0].table
        with self._lock:
            self.requests[table, outcome] += 1
            if throttled:
                self.throttles[table] += throttled
        return answers


def _judge(answers: Sequence[Answer]) -> tuple[Outcome, int]:
    """Return the worst of the answers, and how many were throttled."""
    throttled = sum(isinstance(found, Retry) and found.throttled for found in answers)
    if any(isinstance(found, Refused) for found in answers):
        return "refused", throttled
    if throttled:
        return "throttled", throttled
    failed = any(isinstance(found, Retry) for found in answers)
    return "failed" if failed else "ok", 0
