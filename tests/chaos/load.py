"""What is produced in a round, and the log of what the broker acknowledged.

Nothing of the product is used here: the log is what the counters are judged by.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple, Self
from zlib import crc32

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tests.chaos import declared
from tests.support.events import Event, Log, avro, ref

TICK_S: Final = 0.02
TEXT_KEY: Final = "text"
"""The item whose ``count`` is no number: what is added to it becomes dead letters."""

_COUNTERS: Final = (None, "hits", "bytes")
_FLUSH_S: Final = 60.0
_UNKNOWN_OFFSET: Final = -1


class Stored(NamedTuple):
    """One acknowledged message; ``event`` is None for a bad row."""

    topic: str
    partition: int
    offset: int
    event: Event | None
    value: bytes


@dataclass
class Shape:
    """What kind of events a round has. Increments go from ``least`` up."""

    plain: str
    ranged: str
    partitions: int
    keyed: bool = True
    least: int = 0
    rate: int = 400  # events a second
    hot: int = 5
    cold: int = 60
    bad: float = 0.01
    declared: bool = False
    """Events are JSON, counted by a counters file."""


def events(shape: Shape, random_: random.Random) -> Iterator[tuple[int, bytes, Event | None]]:
    """Yield endless rows: the partition, the payload, and what it counts (None: a bad row)."""
    number = 0
    while True:
        number += 1
        spread = random_.random()
        if spread < shape.bad:
            yield random_.randrange(shape.partitions), *_bad(shape, number)
            continue
        hot = random_.random() < 0.5
        key = f"h{random_.randrange(shape.hot)}" if hot else f"c{random_.randrange(shape.cold)}"
        incr = random_.choice((1, 1, random_.randint(shape.least, 1000)))
        name = random_.choice(_COUNTERS)
        if random_.random() < 0.3:
            event = Event(shape.ranged, key, f"r{random_.randrange(4)}", name, incr)
        else:
            event = Event(shape.plain, key, None, name, incr)
        anywhere = random_.randrange(shape.partitions)
        partition = crc32(key.encode()) % shape.partitions if shape.keyed else anywhere
        yield partition, declared.payload(event, number) if shape.declared else avro(event), event


def _bad(shape: Shape, number: int) -> tuple[bytes, None]:
    """Return a bad row of one of three kinds, different from all others."""
    text = Event(shape.plain, TEXT_KEY, None, "count", number)
    if shape.declared:
        missing = declared.payload(Event(shape.plain, "k"), number).replace(b'"incr"', b'"no incr"')
        return (b"{bad %d" % number, missing, declared.payload(text, number))[number % 3], None
    match number % 3:
        case 0:
            return b"\xff\xff bad %d" % number, None
        case 1:
            return avro(Event("not-listed", f"k{number}")), None
        case _:
            return avro(text), None


@dataclass
class Load:
    """Produces while the block runs. ``stored`` is complete after `flush` or the block."""

    servers: str
    topic: str
    shape: Shape
    random_: random.Random
    stored: list[Stored] = field(default_factory=list)
    is_idempotent: bool = True
    """Not where brokers lose events: an idempotent producer ends for good there. The log may then
    have a row twice, so the log says what counts."""
    failed: list[str] = field(default_factory=list)
    """Errors of rows whose outcome is unknown: they may be in the topic."""

    def __post_init__(self) -> None:
        self._producer = self._new_producer()
        self.sent: dict[bytes, Event | None] = {}
        self.produced: Counter[bytes] = Counter()
        """How often each payload was produced, acknowledged or not."""
        self._rows = events(self.shape, self.random_)
        self._stop = threading.Event()
        self._go = threading.Event()
        self._go.set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _new_producer(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self.servers,
                "acks": "all",
                "enable.idempotence": "true" if self.is_idempotent else "false",
                "linger.ms": "2",
                "log_level": "0",
                "topic.metadata.refresh.interval.ms": "1000",
                "reconnect.backoff.max.ms": "500",
            }
        )

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            self._go.wait()
            with self._lock:
                self.some(max(1, int(self.shape.rate * TICK_S)))

    def some(self, count: int) -> None:
        """Produce that many rows."""
        for _ in range(count):
            partition, value, event = next(self._rows)
            key = event.key.encode() if event and self.shape.keyed else None
            self.sent[value] = event
            self.produced[value] += 1
            delivered = partial(self._delivered, event, value)
            if not self._produce(value, key, partition, delivered):
                # An idempotent producer ends for good where a broker has lost its last events.
                self._producer.flush(_FLUSH_S)
                self._producer = self._new_producer()
        self._producer.poll(0)

    def _produce(
        self, value: bytes, key: bytes | None, partition: int, delivered: Callable[..., None]
    ) -> bool:
        """Return whether the producer took it."""
        try:
            self._producer.produce(
                self.topic, value, key, partition=partition, on_delivery=delivered
            )
        except KafkaException:
            return False
        return True

    def _delivered(
        self, event: Event | None, value: bytes, error: KafkaError | None, message: Message
    ) -> None:
        if error is not None:
            self.failed.append(error.name())
            return
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        if offset is None:  # sent twice after a change of the leader: the broker has it already
            offset = _UNKNOWN_OFFSET
        self.stored.append(Stored(topic, partition, offset, event, value))

    def next_event(self) -> tuple[int, bytes, Event]:
        """Return a good row that the load will not produce: its partition, payload and event."""
        with self._lock:
            while True:
                partition, value, event = next(self._rows)
                if event is not None:
                    return partition, value, event

    def add(self, row: Stored) -> None:
        """Add a row that another producer stored."""
        with self._lock:
            self.sent[row.value] = row.event
            self.stored.append(row)

    def pause(self) -> None:
        """Stop for a while; all that was produced is acknowledged when this returns."""
        self._go.clear()
        self.flush()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._go.set()

    def flush(self) -> None:
        """Wait until all is acknowledged."""
        with self._lock:
            left = self._producer.flush(_FLUSH_S)
        assert left == 0, f"{left} rows were not stored within {_FLUSH_S:g} s"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._go.set()
        self._thread.join()
        self.flush()


def log_of(stored: list[Stored]) -> Log:
    """Return what the counters must hold."""
    log: Log = Counter()
    for row in stored:
        if row.event is not None:
            log[ref(row.event)] += row.event.incr
    return log


def ends_of(stored: list[Stored], topic: str) -> dict[int, int]:
    """Return the end offsets of the partitions that hold something."""
    ends: dict[int, int] = {}
    for row in stored:
        if row.topic == topic:
            ends[row.partition] = max(ends.get(row.partition, 0), row.offset + 1)
    return ends
