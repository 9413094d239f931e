"""A writer whose requests a script answers."""

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dynatomic.dynamodb.answers import (
    Answer,
    Applied,
    Retry,
)
from dynatomic.dynamodb.statements import Change, Step
from dynatomic.dynamodb.write import WindowWrite
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.row import CounterRef
from tests.support.windows import window_of

SECONDS = 10
"""How long a test waits for what must happen; only a failing one waits that long."""


Script = Callable[[Step, Change], Answer]

THROTTLED = Retry("ProvisionedThroughputExceeded")


def applied(_step: Step, _change: Change) -> Answer:
    return Applied()


class Requests:
    """Stands for `Counters.execute`: records requests, answers by a script, holds them."""

    def __init__(self, script: Script = applied) -> None:
        self.script = script
        self.calls: list[tuple[Step, tuple[Change, ...]]] = []
        self.running = 0
        self.held: Callable[[Sequence[Change]], bool] = lambda _: False
        self._changed = threading.Condition()

    def __call__(self, step: Step, batch: Sequence[Change]) -> list[Answer]:
        with self._changed:
            self.calls.append((step, tuple(batch)))
            self.running += 1
            self._changed.notify_all()
            self._wait(lambda: not self.held(batch))
            answers = [self.script(step, change) for change in batch]
            self.running -= 1
            self._changed.notify_all()
        return answers

    @property
    def sent(self) -> list[Change]:
        """Every change of every request, in the order of the requests."""
        return [change for _, batch in self.calls for change in batch]

    def hold(self, which: Callable[[Sequence[Change]], bool] = lambda _: True) -> None:
        with self._changed:
            self.held = which
            self._changed.notify_all()

    def release(self) -> None:
        self.hold(lambda _: False)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            self._wait(condition)

    def _wait(self, condition: Callable[[], bool]) -> None:
        assert self._changed.wait_for(condition, SECONDS)


@contextmanager
def writing(requests: Requests, *, fails: bool = False, **options: Any) -> Iterator[Writer]:
    """Make a writer whose pauses are over at once, and check that no thread of it failed."""
    jumps = itertools.count(0.0, 1000.0)
    writer = Writer(requests, **{"clock": jumps.__next__, **options})
    try:
        yield writer
    finally:
        requests.release()
        writer.close()
    assert (writer.failure is not None) == fails


def wait_for(writer: Writer, condition: Callable[[], bool]) -> None:
    """Wait for a state of the writer's own, which wakes only as many as it has work for."""
    deadline = time.monotonic() + SECONDS
    with writer._changed:
        while not condition():
            assert time.monotonic() < deadline
            writer._changed.wait(0.01)


class Settled:
    """Takes the calls of ``on_complete``."""

    def __init__(self) -> None:
        self._queue: queue.Queue[WindowWrite] = queue.Queue()

    def __call__(self, write: WindowWrite) -> None:
        self._queue.put(write)

    def get(self) -> WindowWrite:
        return self._queue.get(timeout=SECONDS)

    @property
    def more(self) -> int:
        return self._queue.qsize()


def sums(count: int, table: str = "tab", start: int = 0) -> dict[CounterRef, int]:
    return {CounterRef(table, f"k{start + i}", None, "count"): i + 1 for i in range(count)}


def submit(
    writer: Writer, sums: dict[CounterRef, int], on_complete: Callable[[WindowWrite], None]
) -> WindowWrite:
    return writer.submit(window_of(sums), on_complete)


def change(key: str, **counters: int) -> Change:
    return Change("tab", key, None, counters or {"count": 1})
