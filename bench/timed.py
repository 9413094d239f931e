"""What a measured process looks at: clock, CPU time, memory, and when a topic is read."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer

from dynatomic.kafka.client import PARTITION_EOF


class Moment(NamedTuple):
    """The clock of all processes and the CPU time of this one, both in seconds."""

    clock: float
    cpu: float

    @classmethod
    def now(cls) -> "Moment":
        """Look at both."""
        return cls(time.monotonic(), time.process_time())


def peak_bytes() -> int:
    """Return the largest resident memory of this process.

    On Linux, ru_maxrss includes the memory of the parent at the fork; VmHWM does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(n for n in status.read_text().splitlines() if n.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


@dataclass(frozen=True, slots=True)
class Seen:
    """What a process saw: the first and the last moment, and its largest resident memory.

    Both moments are None for a process that got no event, because others had read all of them.
    """

    first: Moment | None
    last: Moment | None
    peak_bytes: int = field(default_factory=peak_bytes)


class TimedConsumer(Consumer):
    """Records the time of the first event and of the last commit, and calls back when all are read.

    All are read when the process owns at least ``share`` partitions and each is at its end. The
    topic must not grow. With ``share`` 0 it never calls back.
    """

    first: Moment | None = None
    last: Moment | None = None

    def __init__(
        self, config: dict[str, Any], share: int, events: int, all_read: Callable[[], object]
    ) -> None:
        """Make a consumer with librdkafka's configuration, for a topic of that many events."""
        super().__init__(config)
        self._share = share
        self._left = events
        self._all_read: Callable[[], object] | None = all_read if share else None
        self._ended: set[int] = set()

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Any]:
        """Read on."""
        messages = super().consume(num_messages, timeout)
        if self.first is None and any(m.error() is None for m in messages):
            self.first = Moment.now()
        self._left -= len(messages)
        # Only then it may be the last batch. Ends of partitions were counted too.
        last = self._left <= 0 or len(messages) < num_messages
        if self._all_read is not None and last and self._at_end(messages):
            self._all_read()
            self._all_read = None
        return messages

    def _at_end(self, messages: list[Any]) -> bool:
        for message in messages:
            error = message.error()
            if error is not None and error.code() == PARTITION_EOF:
                self._ended.add(message.partition())
        places = self.position(self.assignment())
        return len(places) >= self._share and all(map(self._read, places))

    def _read(self, place: Any) -> bool:
        _, end = self.get_watermark_offsets(place, cached=True)
        return place.partition in self._ended or max(0, place.offset) >= end >= 0

    def commit(self, *args: Any, **kwargs: Any) -> Any:
        """Commit."""
        self.last = Moment.now()
        return super().commit(*args, **kwargs)

    def seen(self) -> Seen:
        """Return the times."""
        return Seen(self.first, self.last if self.first else None)


class StartingConsumer(Consumer):
    """Records the times of a cold start, and calls back when its first events are committed."""

    def __init__(self, config: dict[str, Any], committed: Callable[[], object]) -> None:
        """Make a consumer with librdkafka's configuration."""
        super().__init__(config)
        self._committed = committed
        self.times: dict[str, float] = {}

    def subscribe(self, topics: list[str], *, on_assign: Any, **callbacks: Any) -> None:  # type: ignore[override]
        """Join the group."""

        def assigned(consumer: Any, places: Any) -> None:
            self._note("assigned")
            on_assign(consumer, places)

        self._note("subscribed")
        super().subscribe(topics, on_assign=assigned, **callbacks)

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Any]:
        """Read on."""
        messages = super().consume(num_messages, timeout)
        if any(m.error() is None for m in messages):
            self._note("first")
        return messages

    def commit(self, *args: Any, **kwargs: Any) -> Any:
        """Commit, and call back at the first commit with an event."""
        answer = super().commit(*args, **kwargs)
        if "committed" not in self.times and any(p.offset > 0 for p in kwargs["offsets"]):
            self._note("committed")
            self._committed()
        return answer

    def _note(self, what: str) -> None:
        self.times.setdefault(what, time.monotonic())


class IdleConsumer(Consumer):
    """Takes the CPU time of ``seconds`` in which it has partitions and nothing to read."""

    first: Moment | None = None
    last: Moment | None = None

    def __init__(self, config: dict[str, Any], seconds: float, over: Callable[[], object]) -> None:
        """Make a consumer with librdkafka's configuration; ``over`` is called at the end."""
        super().__init__(config)
        self._seconds = seconds
        self._over = over
        self._settled = float("inf")

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Any]:
        """Read on."""
        messages = super().consume(num_messages, timeout)
        now = Moment.now()
        if self.first is None:
            if self._settled == float("inf") and self.assignment():
                self._settled = now.clock + 1  # the first fetches and commits are not idle time
            elif now.clock >= self._settled:
                self.first = now
        elif self.last is None and now.clock - self.first.clock >= self._seconds:
            self.last = now
            self._over()
        return messages
