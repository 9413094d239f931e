"""One worker of the group on the fakes, moved by turns."""

import time
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from dynatomic.dead_letters.store import DeadLetters
from dynatomic.dynamodb.writer import Writer
from dynatomic.service.status import Status
from dynatomic.worker.loop import Worker
from dynatomic.worker.offsets import Offsets
from tests.support.clients import LIMIT_S, Recorder

if TYPE_CHECKING:
    from tests.support.harness import World

WAITS = 50_000


class Wake:
    """In the place of the worker's event: to wait is to let time pass once nothing else moves."""

    def __init__(self, member: "Member") -> None:
        self._member = member
        self._waits = 0

    def set(self) -> None:
        """Do nothing: `wait` looks for itself."""

    def clear(self) -> None:
        """Do nothing."""

    def wait(self, timeout: float) -> None:
        """Let the threads do what they can, then let the time-out pass."""
        self._waits += 1
        assert self._waits < WAITS, "it waits without a bound"
        self._member.quiet()
        self._member.world.clock.advance(timeout)


@dataclass(eq=False)
class Member:
    """One worker of the group, and its parts."""

    world: "World"
    worker: Worker
    writer: Writer
    letters: DeadLetters
    offsets: Offsets
    alive: bool = True
    status: Status | None = None

    @property
    def consumer(self) -> Recorder:
        """The worker's consumer."""
        return cast("Recorder", self.worker.consumer)

    @property
    def owned(self) -> list[int]:
        """The partitions that it has."""
        return sorted(self.worker.partitions)

    @property
    def events_held(self) -> int:
        """The events in all its windows."""
        return sum(len(w) for w in self._windows())

    @property
    def counters_held(self) -> int:
        """The counters in all its windows."""
        return sum(len(w.sums) for w in self._windows())

    def _windows(self) -> Iterator[Any]:
        for partition in self.worker.partitions.values():
            yield partition.filling.window
            if partition.closing is not None:
                yield partition.closing.window

    def turn(self) -> None:
        """Tick once, and let the threads do what they can without time passing."""
        self.worker.tick(0.0)
        self.quiet()

    def quiet(self) -> None:
        """Return when nothing moves but what the gate holds or what waits for its time."""
        deadline = time.monotonic() + LIMIT_S
        changed = self.writer._changed
        with changed:
            while self._writing():
                changed.wait(0.002)
                assert time.monotonic() < deadline, "the writer is stuck"
        closing = [p.closing for p in self.worker.partitions.values()]
        rereads = [c.reread for c in closing if c is not None and c.reread is not None]
        assert not wait(rereads, LIMIT_S).not_done, "reading again is stuck"

    def _writing(self) -> bool:
        writer = self.writer
        if writer.failure is not None:
            return False
        tables = list(writer._tables.values())
        running = sum(table.running for table in tables)
        held = min(running, self.world.gate.held)
        ready = running < writer._max_requests and any(
            table.running < int(table.limit) and any(not t.write.cancelled for t in table.ready)
            for table in tables
        )
        due = bool(writer._delayed) and writer._delayed[0][0] <= self.world.clock()
        return ready or running > held or (due and running < writer._max_requests)

    def kill(self) -> None:
        """End it as SIGKILL would: no callback, no commit, no further request."""
        self.alive = False
        self.world.broker.kill(self.consumer)
        with self.writer._changed:
            self.writer._closed = True
            self.writer._changed.notify_all()

    def expire(self) -> None:
        """Let the group drop it, as if it had not polled for too long."""
        self.world.broker.expire(self.consumer)
