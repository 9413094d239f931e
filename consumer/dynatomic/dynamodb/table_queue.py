"""The queue of one table, and its limit of concurrent requests. Not thread-safe.

The limit of requests is halved when the table is throttled, slow or failing, and grows by one
after as many good answers as the limit. A throttled table therefore never occupies the threads
that another table could use.

A refused statement costs a write unit, too. While most items of a table are missing, as after the
start of an hour that is part of the keys, the table is sent INSERT before UPDATE.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dynatomic.dynamodb.statements import Change, Step
from dynatomic.dynamodb.write import WindowWrite
from dynatomic.telemetry.logs import RateLimiter

RECENT_CHANGES = 100
"""The number of recent changes in the moving average of missing items."""

INSERT_FIRST_ABOVE = 0.5
"""The share of missing items at which UPDATE first and INSERT first cost as many statements."""


@dataclass(slots=True)
class Task:
    """One request to send: a batch of changes, or one change."""

    write: WindowWrite
    table: str
    step: Step
    batch: tuple[Change, ...]
    attempts: int = 0
    previous_step: Step | None = None

    @property
    def is_first_step(self) -> bool:
        """Whether no other step was tried before."""
        return self.previous_step is None

    def step_after(self, step: Step) -> Step:
        """Return the step to take if the answer asks for ``step``.

        An item that exists for INSERT and is missing for UPDATE is not sent INSERT again: the
        endpoint does not return items, or the keys of the table changed. UpdateItem finds out.
        """
        if step is Step.INSERT and self.previous_step is Step.INSERT:
            return Step.UPDATE_ITEM
        return step


@dataclass(slots=True)
class TableQueue:
    """The tasks of one table that may be sent now, and the limit of requests in flight."""

    limit: float
    should_log: RateLimiter
    running: int = 0
    missing_share: float = 0.0  # moving average over `RECENT_CHANGES`
    ready: deque[Task] = field(default_factory=deque)

    def next_task(self) -> Task | None:
        """Start the next task, or return None if the table gets no other request now."""
        while self.ready and self.running < int(self.limit):
            task = self.ready.popleft()
            if task.write.cancelled:
                continue
            if (
                task.is_first_step
                and task.step is Step.UPDATE
                and self.missing_share > INSERT_FIRST_ABOVE
            ):
                task.step = Step.INSERT
            self.running += 1
            return task
        return None

    def raise_limit(self, max_requests: int) -> None:
        """Allow a little more after a good answer."""
        self.limit = min(max_requests, self.limit + 1 / self.limit)

    def halve_limit(self) -> None:
        """Allow half as many requests at once, but never none."""
        self.limit = max(1.0, self.limit / 2)

    def record_missing(
        self, first_step: Step, answered: int, follow: Mapping[Step, Sequence[Change]]
    ) -> None:
        """Record how many items of a batch were missing, by the steps that follow."""
        missing = len(follow.get(Step.INSERT, ()))
        if first_step is Step.INSERT:
            missing = answered - sum(map(len, follow.values()))
        self.missing_share += (missing - answered * self.missing_share) / RECENT_CHANGES
