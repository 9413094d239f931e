"""Topics of the benchmark: filled once, and found again by their name and number of events."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from bench.child import DEAD_LETTERS
from bench.workloads import Workload
from dynatomic.config.settings import Settings
from dynatomic.errors import DynatomicError, UnavailableError
from dynatomic.kafka.client import (
    admin_config,
    consumer_config,
    new_admin,
    new_consumer,
    new_producer,
    producer_config,
    watermarks,
)
from dynatomic.kafka.topics import create_topics

Say = Callable[[str], None]

_PREFIX: Final = "bench-"
_QUEUE: Final = 1_000_000
_FLUSH_S: Final = 120.0
_LED_S: Final = 60.0
_FILLING: Final = {
    "queue.buffering.max.messages": str(_QUEUE),
    "queue.buffering.max.kbytes": str(1024 * 1024),
    "linger.ms": "50",
}


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that is filled: its number of events and the sum of their increments."""

    workload: Workload
    name: str
    events: int

    @property
    def total(self) -> int:
        """The sum of the increments."""
        return self.workload.total(self.events)


class Topics:
    """Makes the topics that are asked for, unless an earlier run left them on this broker.

    A topic that is only partly filled is deleted on an ``own`` broker only. On another broker,
    another process may be filling it.
    """

    def __init__(self, bootstrap_servers: str, say: Say, *, own: bool = True) -> None:
        """Use this Kafka."""
        self._own = own
        self.bootstrap_servers = bootstrap_servers
        self._say = say
        self._admin = new_admin(admin_config(self._settings(f"{_PREFIX}none")))
        self._made: list[str] = []
        self._known: dict[tuple[Workload, int], Topic] = {}

    def get(self, workload: Workload, events: int) -> Topic:
        """Return a topic with exactly these events. Raises `DynatomicError` if it was not filled.

        A topic that is only partly filled, or that has lost events, is not used.
        """
        if (workload, events) in self._known:
            return self._known[workload, events]
        prefix = f"{_PREFIX}{workload.content()}-{events}-"
        for name in sorted(self._admin.list_topics(timeout=30).topics):
            if name.startswith(prefix):
                if self._held(name) == events:
                    self._known[workload, events] = Topic(workload, name, events)
                    return self._known[workload, events]
                if self._own:
                    self._delete([name])
        topic = self.make(workload, events, f"{prefix}{uuid.uuid4().hex[:8]}")
        self._known[workload, events] = topic
        return topic

    @contextmanager
    def empty(self, workload: Workload) -> Iterator[Topic]:
        """Give the block an empty topic with the workload's partitions, and delete it then."""
        topic = self.make(workload, 0, f"{_PREFIX}{uuid.uuid4().hex}")
        try:
            yield topic
        finally:
            self._made.remove(topic.name)
            self._delete([topic.name])

    def make(self, workload: Workload, events: int, name: str) -> Topic:
        """Make a topic of this name and fill it. Raises `DynatomicError` if it was not filled."""
        started = time.monotonic()
        made = create_topics(self._settings(name), partitions=workload.partitions)
        self._made += [topic.name for topic in made if topic.created]
        fill(self.bootstrap_servers, name, workload, events)
        if (held := self._held(name)) != events:
            raise DynatomicError(f"topic {name!r} holds {held} events of {events}; try again")
        if events:
            self._say(f"{events:,} events stored in {time.monotonic() - started:.0f} s")
        return Topic(workload, name, events)

    def delete(self) -> None:
        """Delete what was made."""
        self._delete(self._made)
        self._made = []

    def _delete(self, names: list[str]) -> None:
        if names:
            for deleted in self._admin.delete_topics(names).values():
                deleted.result(30)

    def _held(self, name: str) -> int:
        """Return the events of a topic. A broker that has just begun may not lead it yet."""
        consumer = new_consumer(consumer_config(self._settings(name)))
        deadline = time.monotonic() + _LED_S
        try:
            while True:
                try:
                    marks = watermarks(consumer, name).values()
                    return sum(each.high - each.low for each in marks)
                except UnavailableError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
        finally:
            consumer.close()

    def _settings(self, name: str) -> Settings:
        return Settings(
            bootstrap_servers=self.bootstrap_servers,
            topic=name,
            group_id="bench",
            dead_letter_topic=DEAD_LETTERS,
        )


def fill(bootstrap_servers: str, topic: str, workload: Workload, events: int) -> None:
    """Send the events to a topic that is there, with the keys and partitions of `Emitter`.

    `Emitter` checks, encodes and confirms each row, which takes ten times as long. Here only
    the number of messages in the topic is checked afterwards.
    """
    settings = Settings(bootstrap_servers=bootstrap_servers, topic=topic)
    producer = new_producer(producer_config(settings) | _FILLING)
    for chunk in workload.messages(events):
        while len(producer) > _QUEUE - len(chunk):
            producer.poll(0.1)
        for value, key in chunk:
            producer.produce(topic, value, key)
        producer.poll(0)
    producer.flush(_FLUSH_S)
