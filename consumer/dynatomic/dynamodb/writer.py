"""Brings the changes of windows into the tables: request threads, retries, and who waits.

Each table has its own limit of requests at once: it is halved when the table is crowded
(throttled, slow, failing) and grows by one with each limit's worth of good answers. A throttled
table therefore never holds the threads that another one could use.

A refused statement costs a write unit, too: where most items of late were missing, as when keys
hold the hour and it has just begun, a table is sent INSERT before UPDATE.
"""

import heapq
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dynatomic.dynamodb.answers import (
    APPLIED,
    Answer,
    Fenced,
    PartiallyRejected,
    Refused,
    Rejected,
    Retry,
    TryStep,
)
from dynatomic.dynamodb.fence import Fence
from dynatomic.dynamodb.statements import Change, Step, group_changes, next_batches
from dynatomic.dynamodb.write import Remainder, WindowWrite
from dynatomic.events.window import Window
from dynatomic.telemetry.logs import RateLimiter

log = logging.getLogger(__name__)

LOG_INTERVAL_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0
REFUSED_PAUSE_S = 5.0

RECENT_CHANGES = 100
"""About how many changes of a table tell what the next ones will find."""

INSERT_FIRST_ABOVE = 0.5
"""The share of missing items where UPDATE first takes as many statements as INSERT first."""


class Execute(Protocol):
    """Sends one request and returns an answer for each change (`counters.Counters.execute`)."""

    def __call__(self, step: Step, batch: Sequence[Change], /) -> list[Answer]:
        """Send one request."""


@dataclass(slots=True)
class _Task:
    write: WindowWrite
    table: str
    step: Step
    batch: tuple[Change, ...]
    attempts: int = 0
    is_first_step: bool = False  # no other step was tried before


@dataclass(slots=True)
class _Table:
    limit: float
    should_log: RateLimiter
    running: int = 0
    missing_share: float = 0.0  # the share of items, of late
    ready: deque[_Task] = field(default_factory=deque)

    def record_missing(
        self, opened: Step, known: int, follow: Mapping[Step, Sequence[Change]]
    ) -> None:
        """Take in how many items of a batch were missing, by what is to follow of it."""
        missing = len(follow.get(Step.INSERT, ()))
        if opened is Step.INSERT:
            missing = known - sum(map(len, follow.values()))
        self.missing_share += (missing - known * self.missing_share) / RECENT_CHANGES


class Writer:
    """Writes windows with up to ``max_requests`` requests at once, until they are settled.

    It never gives up: a throttled or broken table is tried again until the window is cancelled.
    ``on_settled`` is called on a request thread, once a window, never for a cancelled one.
    ``failure`` holds an exception that ended a request thread: a defect, for the loop to raise.
    """

    def __init__(
        self,
        execute: Execute,
        *,
        max_requests: int = 8,
        first_step: Step = Step.UPDATE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._execute = execute
        self._max_requests = max_requests
        self._first_step = first_step
        self._clock = clock
        self._tables: dict[str, _Table] = {}
        self._delayed: list[tuple[float, int, _Task]] = []
        self._sequence = 0
        self._changed = threading.Condition()
        self._closed = False
        self.failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._run, name=f"writer-{i}", daemon=True)
            for i in range(max_requests)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, window: Window, on_settled: Callable[[WindowWrite], None], fence: str | None = None
    ) -> WindowWrite:
        """Start to write the sums of a window that is full.

        ``fence`` is the attribute that makes each item take them only once.
        """
        write = WindowWrite(window, on_settled)
        condition = Fence(fence, window.first, window.last) if fence else None
        grouped = group_changes(window.sums, condition)
        with self._changed:
            for table, items in grouped.items():
                self._add_tasks(write, table, self._first_step, items, opens=True)
            self._wake()
        if not grouped:
            on_settled(write)
        return write

    def write_held_back(self, write: WindowWrite) -> None:
        """Write what a settled window held back until its rejected events were stored."""
        with self._changed:
            held, write.held_back = write.held_back, []
            for change in held:
                self._add_tasks(write, change.table, Step.UPDATE_ITEM, [change])
            self._wake()

    def cancel(self, write: WindowWrite) -> None:
        """Send nothing more of a window; a request already on its way cannot be called back."""
        with self._changed:
            write.cancelled = True

    def close(self) -> None:
        """Stop after the requests that are on their way; what waits is not sent any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _add_tasks(
        self,
        write: WindowWrite,
        table: str,
        step: Step,
        items: Sequence[Change],
        *,
        opens: bool = False,
    ) -> None:
        for batch in [(c,) for c in items] if step.alone else next_batches(items):
            write.open_tasks += 1
            self._table(table).ready.append(_Task(write, table, step, batch, is_first_step=opens))

    def _wake(self) -> None:
        """Wake as many threads as there are tasks, and one that waits until the next is due."""
        ready = sum(len(table.ready) for table in self._tables.values())
        self._changed.notify(ready + bool(self._delayed))

    def _table(self, name: str) -> _Table:
        if name not in self._tables:
            self._tables[name] = _Table(
                float(self._max_requests), RateLimiter(LOG_INTERVAL_S, self._clock)
            )
        return self._tables[name]

    def _run(self) -> None:
        try:
            while (task := self._next_task()) is not None:
                answers = [
                    task.write.remainder_above(change, found.offset)
                    if isinstance(found, Fenced)
                    else found
                    for change, found in zip(
                        task.batch, self._execute(task.step, task.batch), strict=True
                    )
                ]
                with self._changed:
                    settled = self._take_answers(task, answers)
                    self._wake()
                if settled:
                    task.write.on_complete(task.write)
        except BaseException as error:  # noqa: BLE001 - the loop raises it
            self.failure = error

    def _next_task(self) -> _Task | None:
        with self._changed:
            while not self._closed:
                now = self._clock()
                while self._delayed and self._delayed[0][0] <= now:
                    due = heapq.heappop(self._delayed)[2]
                    self._table(due.table).ready.append(due)
                if (task := self._pick_task()) is not None:
                    return task
                pause = self._delayed[0][0] - now if self._delayed else None
                self._changed.wait(pause)
            return None

    def _pick_task(self) -> _Task | None:
        for name, table in list(self._tables.items()):
            while table.ready and table.running < int(table.limit):
                task = table.ready.popleft()
                if task.write.cancelled:
                    continue
                if (
                    task.is_first_step
                    and task.step is Step.UPDATE
                    and table.missing_share > INSERT_FIRST_ABOVE
                ):
                    task.step = Step.INSERT
                table.running += 1
                self._tables[name] = self._tables.pop(name)  # the next table has its turn
                return task
        return None

    def _take_answers(self, task: _Task, answers: Sequence[Answer | Remainder]) -> bool:
        """Take the answers in; return whether the window is settled by them."""
        write, table = task.write, self._table(task.table)
        table.running -= 1
        write.requests += 1
        again: list[Change] = []
        follow: dict[Step, list[Change]] = {}
        cause: Retry | Refused | None = None
        for change, answered in zip(task.batch, answers, strict=True):
            if answered is APPLIED:
                continue
            match answered:
                case TryStep(step):
                    follow.setdefault(step, []).append(change)
                case Remainder(rest) if rest is not None:
                    follow.setdefault(self._first_step, []).append(rest)
                case Retry() | Refused():
                    again.append(change)
                    cause = answered
                case Rejected() | PartiallyRejected():
                    write.reject(change, answered)
        if task.is_first_step:
            table.record_missing(task.step, len(task.batch) - len(again), follow)
        for step, items in follow.items():
            self._add_tasks(write, task.table, step, items)
        if again and cause:
            self._retry(task, tuple(again), cause)
        else:
            write.waits_by_table.pop(task.table, None)
            table.limit = min(self._max_requests, table.limit + 1 / table.limit)
        write.open_tasks -= 1
        return write.is_complete and not write.cancelled

    def _retry(self, task: _Task, again: tuple[Change, ...], cause: Retry | Refused) -> None:
        write, table = task.write, self._table(task.table)
        refused = isinstance(cause, Refused)
        if refused:
            pause = REFUSED_PAUSE_S
        else:
            table.limit = max(1.0, table.limit / 2)
            ceiling = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**task.attempts)
            pause = random.uniform(ceiling / 2, ceiling)  # noqa: S311 - jitter, not a secret
        if table.should_log():
            log.warning(
                "table waits",
                extra={"fields": {"table": task.table, "cause": cause.cause, "refused": refused}},
            )
        write.waits_by_table[task.table] = cause
        write.open_tasks += 1
        self._sequence += 1
        attempts = min(task.attempts + 1, 16)
        later = _Task(
            write, task.table, task.step, again, attempts, is_first_step=task.is_first_step
        )
        heapq.heappush(self._delayed, (self._clock() + pause, self._sequence, later))


class WindowWriter(Protocol):
    """What the worker uses of `Writer`."""

    failure: BaseException | None

    def submit(
        self, window: Window, on_settled: Callable[[WindowWrite], None], /, fence: str | None
    ) -> WindowWrite:
        """Start to write."""

    def write_held_back(self, write: WindowWrite, /) -> None:
        """Write what was held back."""

    def cancel(self, write: WindowWrite, /) -> None:
        """Send nothing more of it."""
