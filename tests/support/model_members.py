"""Members of the model's group: their requests are sent in turns, and can be held on the way."""

from collections.abc import Sequence
from threading import Condition
from typing import TYPE_CHECKING, Any, cast

from confluent_kafka import KafkaError, KafkaException

from dynatomic.dynamodb.writer import Writer
from tests.support.clients import Recorder
from tests.support.member import Member

if TYPE_CHECKING:
    from tests.support.model_world import ModelWorld


class _NeverWaits(Condition):
    """Ends the writer's loop where a thread of it would wait."""

    def __init__(self, writer: "Stepped") -> None:
        super().__init__()
        self._writer = writer

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - Condition's signature
        """Let `Writer._next_task` return."""
        self._writer._closed = True
        return False


class Stepped(Writer):
    """The real writer without its threads: `work` runs their loop until there is nothing to do.

    A request can be held before it is applied or before it is answered, as one on a thread of a
    stopped process or of a slow network is; it counts as running until it is released.
    """

    def __init__(self, world: "ModelWorld", *args: Any, **named: Any) -> None:
        self._world = world
        self._now: list[Any] = []
        self.dead = False
        super().__init__(*args, **named)
        self._changed = _NeverWaits(self)

    def _run(self) -> None:
        """Be what its threads run: nothing."""

    def work(self, *tasks: Any) -> None:
        """Send these requests, which were held, and then all that may be sent now."""
        self._now = list(tasks)
        if not self.dead and self.failure is None:
            self._closed = False
            super()._run()
            self._closed = False

    def _pick_task(self) -> Any:
        if self._now:
            self._world.order = None
            return self._now.pop()
        while sum(table.running for table in self._tables.values()) < self._max_requests:
            if (task := super()._pick_task()) is None:
                return None
            self._world.check_sent(self, task.write)
            self._world.order = self._world.next_order()
            if self._world.order != "hold":
                return task
            self._world.on_the_way.append((self, task))
        return None

    def land(self, task: Any) -> None:
        """Let a request that was held arrive; a process that is gone takes no answer."""
        if self.dead:
            self._world.order = None
            self._execute(task.step, task.batch)
        else:
            self.work(task)

    def _take_answers(self, task: Any, answers: Sequence[Any]) -> bool:
        if self._world.order == "hold answer":
            self._world.unanswered.append((self, task, answers))
            return False
        return super()._take_answers(task, answers)

    def take_answer(self, task: Any, answers: Sequence[Any]) -> None:
        """Let an answer that was held arrive."""
        if self.dead or self.failure is not None:
            return
        if super()._take_answers(task, answers):
            task.write.on_complete(task.write)
        self.work()


class SteppedMember(Member):
    """A member whose requests are sent when it has its turn, on the thread of the test."""

    stopped = False

    def quiet(self) -> None:
        """Send what may be sent."""
        cast("Stepped", self.writer).work()
        for partition in self.worker.partitions.values():
            closing = partition.closing
            if closing is not None and closing.reread is not None:
                closing.reread.exception(10.0)

    def end(self) -> None:
        """End its process: no further request, though one on the way may land."""
        self.alive = False
        cast("Stepped", self.writer).dead = True

    def kill(self) -> None:
        """End it as SIGKILL would."""
        self.end()
        self.world.broker.kill(self.consumer)


class ThreadedMember(SteppedMember):
    """A member with the real threads, which run while its loop does, and nothing is waited for."""

    def turn(self) -> None:
        """Tick; only at the end wait for what the threads do."""
        self.worker.tick(0.0)
        if cast("ModelWorld", self.world).patient:
            self.quiet()

    def quiet(self) -> None:
        """Return when nothing moves any more."""
        Member.quiet(self)

    def end(self) -> None:
        """End its process."""
        self.alive = False
        with self.writer._changed:
            self.writer._closed = True
            self.writer._changed.notify_all()


class Asking(Recorder):
    """A consumer that gets no committed offsets while the world holds them."""

    def committed(self, partitions: Any, timeout: float = -1) -> Any:
        if cast("ModelWorld", self.world).lookups_held:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return super().committed(partitions, timeout)
