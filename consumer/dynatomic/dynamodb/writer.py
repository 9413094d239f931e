"""Writes the changes of windows to the tables: request threads and retries.

`table_queue` decides how many requests each table gets at once.
"""

import heapq
import logging
import threading
import time
from collections.abc import Callable, Sequence

from dynatomic.dynamodb.answers import (
    APPLIED,
    Answer,
    Execute,
    Fenced,
    PartiallyRejected,
    Refused,
    Rejected,
    Retry,
    TryStep,
)
from dynatomic.dynamodb.backoff import FIRST_PAUSE_S, LONGEST_PAUSE_S, pause_s
from dynatomic.dynamodb.fence import Fence
from dynatomic.dynamodb.statements import Change, Step, group_changes, next_batches
from dynatomic.dynamodb.table_queue import TableQueue, Task
from dynatomic.dynamodb.write import Remainder, WindowWrite
from dynatomic.events.window import Window
from dynatomic.telemetry.logs import RateLimiter

log = logging.getLogger(__name__)

LOG_INTERVAL_S = 10.0
FIRST_UNKNOWN_PAUSE_S, LONGEST_UNKNOWN_PAUSE_S = 1.0, 30.0
"""After an answer was lost: without a fence each retry may count the window's sum once more."""
REFUSED_PAUSE_S = 5.0

_MAX_COUNTED_ATTEMPTS = 16  # the pause no longer grows by then


class Writer:
    """Writes windows with up to ``max_requests`` requests at once, until they are complete.

    It never gives up: a throttled or broken table is tried again until the window is cancelled.
    ``on_complete`` is called on a request thread, once for each window, never for a cancelled
    one. ``failure`` is an exception that ended a request thread: a defect, for the loop to raise.
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
        self._tables: dict[str, TableQueue] = {}
        self._delayed: list[tuple[float, int, Task]] = []
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
        self, window: Window, on_complete: Callable[[WindowWrite], None], fence: str | None = None
    ) -> WindowWrite:
        """Start to write the sums of a closed window.

        ``fence`` is the attribute that makes each item take them only once.
        """
        write = WindowWrite(window, on_complete)
        condition = Fence(fence, window.first, window.last) if fence else None
        grouped = group_changes(window.sums, condition, window.expires_s)
        with self._changed:
            for table, changes in grouped.items():
                parts = write.first_parts(changes)
                self._add_tasks(write, table, self._first_step, parts)
            self._wake()
        if not grouped:
            on_complete(write)
        return write

    def write_held_back(self, write: WindowWrite) -> None:
        """Write what a complete window held back until its rejected events were stored."""
        with self._changed:
            held_back, write.held_back = write.held_back, []
            for change in write.first_parts(held_back):
                self._add_tasks(write, change.table, Step.UPDATE_ITEM, [change], Step.UPDATE_ITEM)
            self._wake()

    def cancel(self, write: WindowWrite) -> None:
        """Send nothing more of a window; a request already on its way cannot be called back."""
        with self._changed:
            write.cancelled = True

    def close(self) -> None:
        """Stop after the requests in flight; what waits is not sent any more."""
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
        changes: Sequence[Change],
        previous_step: Step | None = None,
    ) -> None:
        for batch in [(c,) for c in changes] if step.alone else next_batches(changes):
            write.open_tasks += 1
            task = Task(write, table, step, batch, previous_step=previous_step)
            self._table(table).ready.append(task)

    def _wake(self) -> None:
        """Wake as many threads as there are tasks, and one that waits until the next is due."""
        ready = sum(len(table.ready) for table in self._tables.values())
        self._changed.notify(ready + bool(self._delayed))

    def _table(self, name: str) -> TableQueue:
        if name not in self._tables:
            should_log = RateLimiter(LOG_INTERVAL_S, self._clock)
            self._tables[name] = TableQueue(float(self._max_requests), should_log)
        return self._tables[name]

    def _run(self) -> None:
        try:
            while (task := self._next_task()) is not None:
                answers: list[Answer | Remainder] = []
                outcomes = self._execute(task.step, task.batch)
                for change, answer in zip(task.batch, outcomes, strict=True):
                    if isinstance(answer, Fenced):
                        task.write.record_hidden(change, answer)
                        answers.append(task.write.remainder_above(change, answer.offset))
                    else:
                        answers.append(answer)
                with self._changed:
                    is_complete = self._take_answers(task, answers)
                    self._wake()
                if is_complete:
                    task.write.on_complete(task.write)
        except BaseException as error:  # noqa: BLE001 - the loop raises it
            self.failure = error

    def _next_task(self) -> Task | None:
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

    def _pick_task(self) -> Task | None:
        for name, table in self._tables.items():
            if (task := table.next_task()) is not None:
                self._tables[name] = self._tables.pop(name)  # the next table has its turn
                return task
        return None

    def _take_answers(self, task: Task, answers: Sequence[Answer | Remainder]) -> bool:
        """Apply the answers to the state; return whether they complete the window."""
        write, table = task.write, self._table(task.table)
        table.running -= 1
        write.requests += 1
        finished = 0
        again: list[Change] = []
        follow: dict[Step, list[Change]] = {}
        cause: Retry | Refused | None = None
        for change, answer in zip(task.batch, answers, strict=True):
            if answer is APPLIED:
                finished += len(change.sums)
                continue
            match answer:
                case TryStep(step):
                    follow.setdefault(step, []).append(change)
                case Remainder(rest) if rest is not None:
                    follow.setdefault(self._first_step, []).append(rest)
                case Retry() | Refused():
                    again.append(change)
                    cause = answer
                case Rejected() | PartiallyRejected():
                    write.reject(change, answer)
        if task.is_first_step:
            table.record_missing(task.step, len(task.batch) - len(again), follow)
        for step, changes in follow.items():
            self._add_tasks(write, task.table, task.step_after(step), changes, task.step)
        self._add_later_parts(task, answers)
        if again and cause:
            self._retry(task, tuple(again), cause)
        else:
            write.waits_by_table.pop(task.table, None)
            table.raise_limit(self._max_requests)
        with write.lock:
            write.finished_counters += finished
        write.open_tasks -= 1
        return write.is_complete and not write.cancelled

    def _add_later_parts(self, task: Task, answers: Sequence[Answer | Remainder]) -> None:
        if not task.write.later_parts:
            return
        answered = zip(task.batch, answers, strict=True)
        parts = [task.write.next_part(change) for change, answer in answered if answer == APPLIED]
        later = [part for part in parts if part is not None]
        self._add_tasks(task.write, task.table, self._first_step, later, task.step)

    def _retry(self, task: Task, again: tuple[Change, ...], cause: Retry | Refused) -> None:
        write, table = task.write, self._table(task.table)
        is_refused = isinstance(cause, Refused)
        if is_refused:
            wait_s = REFUSED_PAUSE_S
        else:
            table.halve_limit()
            first_s, longest_s = FIRST_PAUSE_S, LONGEST_PAUSE_S
            if isinstance(cause, Retry) and cause.is_unknown and not _is_fenced(again):
                first_s, longest_s = FIRST_UNKNOWN_PAUSE_S, LONGEST_UNKNOWN_PAUSE_S
            wait_s = pause_s(task.attempts, first_s, longest_s)
        if table.should_log():
            log.warning(
                "table waits",
                extra={
                    "fields": {"table": task.table, "cause": cause.cause, "refused": is_refused}
                },
            )
        write.waits_by_table[task.table] = cause
        write.open_tasks += 1
        self._sequence += 1
        attempts = min(task.attempts + 1, _MAX_COUNTED_ATTEMPTS)
        later = Task(write, task.table, task.step, again, attempts, task.previous_step)
        heapq.heappush(self._delayed, (self._clock() + wait_s, self._sequence, later))


def _is_fenced(changes: Sequence[Change]) -> bool:
    return all(change.fence is not None for change in changes)
