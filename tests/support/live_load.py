"""A producer that sends events until its block ends, and the sums that the broker confirmed."""

import threading
from collections import Counter
from functools import partial
from typing import Self

from confluent_kafka import KafkaError, Message, Producer

from tests.support.events import Event, Log, avro, ref
from tests.support.stack import Stack


class Load:
    """Produces events to all partitions, some hundred a second, until the block ends.

    ``log`` holds what the broker confirmed; read it after the block.
    """

    def __init__(self, stack: Stack, topic: str, table: str, partitions: int) -> None:
        self.log: Log = Counter()
        self.failed: list[str] = []
        self._topic, self._table, self._partitions = topic, table, partitions
        self._producer = Producer(
            {
                "bootstrap.servers": stack.bootstrap_servers,
                "acks": "all",
                "enable.idempotence": "true",
                "linger.ms": "2",
                "log_level": "0",
            }
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.02):
            for _ in range(4 * self._partitions):
                number += 1
                partition = number % self._partitions
                key = f"{partition}-{number // self._partitions % 10}"
                event = Event(self._table, key, incr=1 + number % 3)
                self._producer.produce(
                    self._topic,
                    avro(event),
                    partition=partition,
                    on_delivery=partial(self._delivered, event),
                )
            self._producer.poll(0)

    def _delivered(self, event: Event, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.log[ref(event)] += event.incr
        else:
            self.failed.append(error.name())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        left = self._producer.flush(30)
        assert left == 0, f"{left} events of the load were not stored"
        assert not self.failed, self.failed[:3]
