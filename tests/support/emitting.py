"""Rows and a producer for the tests of the emitter."""

import io
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import fastavro
import pytest
from confluent_kafka import KafkaError

from dynatomic.events.row import Row
from dynatomic.events.schema import schema
from dynatomic.kafka.emitter import Emitter
from tests.support.brokers import Broker
from tests.support.names import unique

ROWS = [
    Row("page-views", "home"),
    Row("page-views", "home", incr=5),
    Row("page-views", "a/b"),
    Row("page-views", "a", range="b", counter="bytes", incr=-7),
    Row("page-views", "žluťoučký kůň", range="\N{SNOWMAN}"),
]


class Producer:
    """A producer that does what the test says, where the real one cannot be made to."""

    def __init__(
        self, room: int = 1000, fate: Callable[[], KafkaError | None] = lambda: None
    ) -> None:
        self.room = room
        self.fate = fate
        self.taken = 0
        self.values: list[bytes] = []
        self.polls = 0
        self.lost = 0  # never reported
        self.raises: Exception | None = None
        self._waiting: list[Any] = []
        self._lock = threading.Lock()

    def produce(self, _topic: str, value: bytes, _key: bytes, *, on_delivery: Any) -> None:
        with self._lock:
            if len(self._waiting) >= self.room:
                raise BufferError("Local: Queue full")
            self.taken += 1
            self.values.append(value)
            self._waiting.append(on_delivery)

    def has_taken(self, count: int) -> bool:
        return self.taken == count

    def poll(self, _timeout: float) -> int:
        self.polls += 1
        return self._report()

    def flush(self, _timeout: float) -> int:
        if self.raises is not None:
            error, self.raises = self.raises, None
            raise error
        self._report()
        return 0

    def purge(self) -> None:
        self._waiting.clear()

    def _report(self) -> int:
        with self._lock:
            due, self._waiting = self._waiting, []
        for on_delivery in due:
            on_delivery(self.fate(), Delivered())
        return len(due)


class Delivered:
    """A message in a delivery report."""

    def partition(self) -> int:
        return 3


def read(broker: Broker, topic: str, count: int) -> list[Any]:
    """Read that many messages from the beginning."""
    consumer = broker.consumer({"group.id": unique("group"), "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    found: list[Any] = []
    try:
        for _ in range(300):
            found += [m for m in consumer.consume(count, 0.1) if m.error() is None]
            if len(found) >= count:
                return found
    finally:
        consumer.close()
    pytest.fail(f"{len(found)} of {count} messages after 30 s")


def emitter(broker: Broker, topic: str, sum_ms: float | None = None) -> Emitter:
    if broker.bootstrap_servers is None:
        fake: Any = broker.producer()
        return Emitter(topic=topic, producer=fake, sum_ms=sum_ms)
    return Emitter(broker.bootstrap_servers, topic=topic, sum_ms=sum_ms)


def decoded(value: bytes) -> Row:
    """Return the row of a payload."""
    found: Any = fastavro.schemaless_reader(io.BytesIO(value), schema(), None)
    return Row(**found)


def total_of(values: Iterable[bytes]) -> Counter[tuple[Any, ...]]:
    """Return the sum of the payloads for each counter."""
    sums: Counter[tuple[Any, ...]] = Counter()
    for row in map(decoded, values):
        sums[row[:4]] += row.incr
    return sums
