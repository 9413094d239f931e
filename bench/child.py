"""One measured run, in a process of its own: prints what it saw as one line of JSON.

::

    python -m bench.child raw|run|write|update-item '{"topic": ..., "events": ..., ...}'

``raw`` only consumes. ``run`` is ``dynatomic run``, ended by a SIGTERM of its own when it has
read the last event, so that no window is waited for. Both are timed from the first event that
`consume` returns to the last commit: all is counted by then. ``write`` writes sums without Kafka,
``update-item`` is what most teams write: one boto3 UpdateItem a counter.
"""

import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import boto3
from confluent_kafka import Consumer

from bench.sink import KEYS
from consumer import run as product
from consumer.counters import Counters
from consumer.decoder import Addend
from consumer.kafka import consumer_config
from consumer.limits import BATCH
from consumer.row import CounterRef
from consumer.settings import ProcessingGuarantee, Settings
from consumer.tables import make_client
from consumer.window import Window
from consumer.worker import POLL_S
from consumer.writer import Writer

TABLE: Final = "bench"
_WARM_UP: Final = 50


class Moment(NamedTuple):
    """The clock of all processes and the CPU time of this one, both in seconds."""

    clock: float
    cpu: float

    @classmethod
    def now(cls) -> "Moment":
        """Look at both."""
        return cls(time.monotonic(), time.process_time())


@dataclass(frozen=True, slots=True)
class Plan:
    """What a child does. ``events`` of a run without Kafka are counters written."""

    events: int
    bootstrap_servers: str = ""
    topic: str = ""
    group: str = ""
    window_ms: int = 1000
    guarantee: ProcessingGuarantee = "at-least-once"


def peak_bytes() -> int:
    """Return the largest resident memory of this process.

    On Linux ru_maxrss begins with what the parent had when it forked; VmHWM does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(n for n in status.read_text().splitlines() if n.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


@dataclass(frozen=True, slots=True)
class Seen:
    """What a child saw: the first and the last moment, and its largest resident memory."""

    first: Moment
    last: Moment
    peak_bytes: int = field(default_factory=peak_bytes)


class TimedConsumer(Consumer):
    """Takes the time of the first event and of the last commit, and tells when all are read."""

    first: Moment | None = None
    last: Moment | None = None

    def __init__(self, config: dict[str, Any], events: int, all_read: Callable[[], object]) -> None:
        """Expect that many events in the whole topic."""
        super().__init__(config)
        self._left = events
        self._events = events
        self._all_read: Callable[[], object] | None = all_read

    def consume(self, *args: Any, **kwargs: Any) -> Any:
        """Read on."""
        messages = super().consume(*args, **kwargs)
        if self.first is None and any(m.error() is None for m in messages):
            self.first = Moment.now()
        self._left -= len(messages)
        # Ends of partitions were counted too, so look closely before saying that it was all.
        if self._left <= 0 and self._all_read is not None and self._read() >= self._events:
            self._all_read()
            self._all_read = None
        return messages

    def _read(self) -> int:
        return sum(max(0, place.offset) for place in self.position(self.assignment()))

    def commit(self, *args: Any, **kwargs: Any) -> Any:
        """Commit."""
        self.last = Moment.now()
        return super().commit(*args, **kwargs)

    def seen(self) -> Seen:
        """Return the times."""
        if self.first is None or self.last is None:
            raise RuntimeError("nothing was read, or nothing committed")
        return Seen(self.first, self.last)


def _settings(plan: Plan) -> Settings:
    return Settings(
        bootstrap_servers=plan.bootstrap_servers,
        topic=plan.topic,
        group_id=plan.group,
        tables=(TABLE,),
        window_ms=plan.window_ms,
        processing_guarantee=plan.guarantee,
    )


def raw(plan: Plan) -> Seen:
    """Only consume, with the same configuration and batches."""
    finished = threading.Event()
    config = consumer_config(_settings(plan)) | {"auto.offset.reset": "earliest"}
    consumer = TimedConsumer(config, plan.events, finished.set)
    consumer.subscribe([plan.topic])
    while not finished.is_set():
        consumer.consume(BATCH, POLL_S)
    consumer.commit(offsets=consumer.position(consumer.assignment()), asynchronous=False)
    consumer.close()
    return consumer.seen()


def run(plan: Plan) -> Seen:
    """Do what ``dynatomic run`` does."""
    made: list[TimedConsumer] = []

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def new_consumer(config: dict[str, Any]) -> Consumer:
        made.append(TimedConsumer(config, plan.events, stop))
        return made[-1]

    with patch.object(product, "new_consumer", new_consumer):
        code = product.run(_settings(plan), None, once=False, dry_run=False)
    if code:
        raise RuntimeError("dynatomic run did not finish its windows")
    return made[-1].seen()


def write(plan: Plan) -> Seen:
    """Write as many sums as there are events, a tenth of them a window."""
    counters = Counters(make_client(), {TABLE: KEYS})
    writer = Writer(counters.execute)
    ready = threading.Semaphore(0)
    names = [CounterRef(TABLE, f"key-{i}", None, "count") for i in range(plan.events // 10)]
    window = Window()
    window.add(range(len(names)), [Addend(name, i) for i, name in enumerate(names, 1)])
    first = Moment.now()
    for number in range(11):
        writer.submit(window, lambda _: ready.release())
        ready.acquire()
        if number == 0:  # connections and credentials are there now
            first = Moment.now()
    last = Moment.now()
    writer.close()
    return Seen(first, last)


def update_item(plan: Plan) -> Seen:
    """Write one counter a request with boto3 as it comes."""
    client = boto3.client("dynamodb")
    first = Moment.now()
    for number in range(plan.events + _WARM_UP):
        if number == _WARM_UP:
            first = Moment.now()
        client.update_item(
            TableName=TABLE,
            Key={KEYS.hash_name: {"S": f"key-{number}"}},
            UpdateExpression="ADD #c :n",
            ExpressionAttributeNames={"#c": "count"},
            ExpressionAttributeValues={":n": {"N": "1"}},
        )
    return Seen(first, Moment.now())


KINDS: Final[dict[str, Callable[[Plan], Seen]]] = {
    "raw": raw,
    "run": run,
    "write": write,
    "update-item": update_item,
}


if __name__ == "__main__":
    print(json.dumps(asdict(KINDS[sys.argv[1]](Plan(**json.loads(sys.argv[2]))))))
