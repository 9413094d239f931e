"""One measured run in a separate process. It prints its result as one line of JSON.

::

    python -m bench.child KIND '{"topic": ..., "events": ..., ...}'

``raw`` only consumes. ``run`` is ``dynatomic run``. It sends itself SIGTERM when it has read the
last event, so it does not wait for the end of a window. The time of both is from the first event
that `consume` returns to the last commit. With ``share`` 0 the parent ends it. The consumers of
``idle`` and ``start`` are in `bench.timed`.

Without Kafka: ``write`` writes sums in batches, ``update-item`` sends one boto3 UpdateItem for each
counter, and ``decode`` reads payloads as the product does, and one by one.
"""

import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar
from unittest.mock import patch

import boto3
from confluent_kafka import Consumer

from bench.declared import Format, counters_file
from bench.judge import KEYS
from bench.timed import (
    IdleConsumer,
    Moment,
    Seen,
    StartingConsumer,
    TimedConsumer,
    peak_bytes,
)
from bench.workloads import TABLE, Workload
from dynatomic.config.settings import ProcessingGuarantee, Settings
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.decoded import UnitIncrement
from dynatomic.events.decoder import Decoder
from dynatomic.events.payload import PayloadReader
from dynatomic.events.row import CounterRef
from dynatomic.events.schema import load_writer_schema
from dynatomic.events.window import Window
from dynatomic.kafka.client import consumer_config
from dynatomic.service import build
from dynatomic.service import run as product
from dynatomic.worker.limits import Limits
from dynatomic.worker.loop import POLL_S, Worker

DEAD_LETTERS: Final = "bench.dlq"
_WARM_UP: Final = 50
_Consumer = TypeVar("_Consumer", bound=Consumer)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a child does. ``events`` are the topic's; without Kafka, counters or payloads.

    ``share`` is the number of partitions that it must own before it may end, ``seconds`` how long
    it stays idle. ``workload`` names the fields of the `Workload` to decode.
    """

    events: int = 0
    bootstrap_servers: str = ""
    topic: str = ""
    group: str = ""
    share: int = 1
    window_ms: int = 1000
    guarantee: ProcessingGuarantee = "at-least-once"
    writer_schema: str = ""
    event_format: Format = "row"
    seconds: float = 0.0
    workload: dict[str, Any] | None = None


def _settings(plan: Plan, counters: Path | None = None) -> Settings:
    return Settings(
        bootstrap_servers=plan.bootstrap_servers,
        topic=plan.topic,
        group_id=plan.group,
        tables=() if counters else (TABLE,),
        counters=counters,
        dead_letter_topic=DEAD_LETTERS,
        window_ms=plan.window_ms,
        processing_guarantee=plan.guarantee,
        writer_schema=Path(plan.writer_schema) if plan.writer_schema else None,
    )


def raw(plan: Plan) -> Seen:
    """Only consume, with the same configuration and batches."""
    finished = threading.Event()
    settings = _settings(plan)
    batch = Limits(settings, plan.share).poll_messages()
    config = consumer_config(settings) | {"auto.offset.reset": "earliest"}
    consumer = TimedConsumer(config, plan.share, plan.events, finished.set)
    consumer.subscribe([plan.topic])
    while not finished.is_set():
        consumer.consume(batch, POLL_S)
    consumer.commit(offsets=consumer.position(consumer.assignment()), asynchronous=False)
    consumer.close()
    return consumer.seen()


def run(plan: Plan) -> Seen:
    """Do what ``dynatomic run`` does."""
    return _run(
        lambda: _product(plan),
        lambda config: TimedConsumer(config, plan.share, plan.events, _stop),
    ).seen()


def idle(plan: Plan) -> Seen:
    """Do what ``dynatomic run`` does while there is nothing to do."""
    consumer = _run(
        lambda: _product(plan),
        lambda config: IdleConsumer(config, plan.seconds, _stop),
    )
    return Seen(consumer.first, consumer.last)


def start(plan: Plan) -> dict[str, float]:
    """Do what ``dynatomic run`` does until its first commit, the reading of its flags included."""
    from dynatomic.cli import main as cli  # noqa: PLC0415 -- the import is a part of the measured time

    flags = {
        "bootstrap-servers": plan.bootstrap_servers,
        "topic": plan.topic,
        "group-id": plan.group,
        "table": TABLE,
        "dead-letter-topic": DEAD_LETTERS,
        "window-ms": plan.window_ms,
    }
    argv = ["run", *(f"--{name}={value}" for name, value in flags.items())]
    made = _run(lambda: cli.main(argv), lambda config: StartingConsumer(config, _stop))
    return made.times


def _product(plan: Plan) -> int:
    with ExitStack() as stack:
        counters = None
        if plan.event_format != "row":
            folder = Path(stack.enter_context(TemporaryDirectory()))
            counters = counters_file(plan.event_format, folder, stack)
        return product.run(_settings(plan, counters), None, once=False, dry_run=False)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _run(call: Callable[[], int], make: Callable[[dict[str, Any]], _Consumer]) -> _Consumer:
    """Call what runs the consumer, with the worker's client made here; return the client."""
    made: list[_Consumer] = []

    def new_consumer(config: dict[str, Any]) -> Consumer:
        made.append(make(config))
        return made[-1]

    def worker(settings: Settings, **parts: Any) -> Worker:
        return Worker(settings, **(parts | {"make_consumer": new_consumer}))

    # Only the consumer of the worker. Others check properties and request offsets.
    with patch.object(build, "Worker", worker):
        code = call()
    if code:
        raise RuntimeError("dynatomic run did not finish its windows")
    return made[-1]


def write(plan: Plan) -> Seen:
    """Write as many sums as there are events, a tenth of them a window."""
    counters = Counters(make_client(), {TABLE: KEYS})
    writer = Writer(counters.execute)
    ready = threading.Semaphore(0)
    names = [CounterRef(TABLE, f"key-{i}", None, "count") for i in range(plan.events // 10)]
    window = Window()
    window.add(range(len(names)), [UnitIncrement(name, i) for i, name in enumerate(names, 1)])
    first = Moment.now()
    for number in range(11):
        writer.submit(window, lambda _: ready.release())
        ready.acquire()
        if number == 0:  # now the connections and the credentials exist
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


def decode(plan: Plan) -> dict[str, float]:
    """Read payloads as the product does, and one by one, as it does without a memo.

    Returns the CPU seconds of both. They alternate after each batch, so a busy machine slows down
    both.
    """
    schema = _writer_schema(plan)
    decoder, reader = (
        Decoder({TABLE: KEYS}, writer_schema=schema),
        PayloadReader({TABLE: KEYS}, writer_schema=schema),
    )

    def each(payload: bytes) -> tuple[CounterRef, int]:
        names, incr, _ = reader.read(payload)
        return reader.resolve(names, incr), incr

    workload = Workload(**(plan.workload or {}))
    batches = [[value for value, _ in chunk] for chunk in workload.messages(plan.events)]
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)  # as in `dynatomic.service.run`
    found = {"decode": 0.0, "decode-each": 0.0}
    for batch in batches:
        began = time.process_time()
        decoder.decode(batch)
        between = time.process_time()
        for payload in batch:
            each(payload)
        found["decode"] += between - began
        found["decode-each"] += time.process_time() - between
    return found | {"peak_bytes": peak_bytes()}


def _writer_schema(plan: Plan) -> Any:
    return load_writer_schema(Path(plan.writer_schema) if plan.writer_schema else None)


KINDS: Final[dict[str, Callable[[Plan], Seen | dict[str, float]]]] = {
    "raw": raw,
    "run": run,
    "idle": idle,
    "start": start,
    "write": write,
    "update-item": update_item,
    "decode": decode,
}


if __name__ == "__main__":
    seen = KINDS[sys.argv[1]](Plan(**json.loads(sys.argv[2])))
    print(json.dumps(asdict(seen) if isinstance(seen, Seen) else seen))
