"""``python -m bench.emitting``: what a row costs its producer, and what sums before sending save.

Two Markdown tables, measured with a real Kafka. The first compares `Emitter` with bare ``produce``
as fast as they go, in turns; CPU time is that of the whole process with librdkafka's threads, the
best of the rounds. The second emits a zipf workload at a steady rate, and lets a consumer count
each topic.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from confluent_kafka import Producer

from bench.sink import Sink
from dynatomic import Emitter, Row
from dynatomic.config.settings import Settings
from dynatomic.events.encoder import Encoder
from dynatomic.events.samples import samples
from dynatomic.kafka.client import producer_config
from dynatomic.testing.embedded import environment
from tests.support.brokers import create_kafka_topic
from tests.support.kafka_server import KafkaServer

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE, COUNTERS, PARTITIONS, ROUNDS = "bench", 10_000, 4, 8
RATE, TICK_S = 50_000, 0.01
MODES: Final[dict[str, float | None]] = {
    "each row": None,
    "`sum_ms=100`": 100,
    "`sum_ms=1000`": 1000,
}


def rows_of(count: int) -> list[Row]:
    """Return rows of a zipf distribution."""
    return list(samples(table=TABLE, count=count, rows=COUNTERS, distribution="zipf"))


def bare(servers: str, topic: str, rows: list[Row]) -> float:
    """Produce encoded rows without anything else; return CPU seconds."""
    encoder = Encoder()
    messages = [encoder.message(row) for row in rows]
    producer = Producer(producer_config(Settings(bootstrap_servers=servers, topic=topic)))
    producer.list_topics(topic, timeout=10)
    before = time.process_time()
    for number, (value, key) in enumerate(messages):
        while True:
            try:
                producer.produce(topic, value, key)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 256 == 0:
            producer.poll(0)
    producer.flush(60)
    return time.process_time() - before


def emitted(servers: str, topic: str, rows: list[Row], sum_ms: float | None) -> float:
    """Emit the rows as fast as possible; return CPU seconds."""
    with Emitter(servers, topic=topic, sum_ms=sum_ms) as emit:
        emit.confirm(Row(TABLE, "connected", incr=0))
        before = time.process_time()
        for row in rows:
            emit(row)
        emit.flush()
        return time.process_time() - before


def called(emit: Emitter, rows: list[Row]) -> float:
    """Call an Emitter with rows; return the CPU seconds of this thread."""
    before = time.thread_time()
    for row in rows:
        emit(row)
    return time.thread_time() - before


def speed(servers: str, count: int) -> list[str]:
    """Return the table of CPU time for one row."""
    rows = rows_of(count)
    ways: dict[str, Callable[[str], float]] = {
        "bare `produce`, rows encoded before": lambda topic: bare(servers, topic, rows),
        "`Emitter`": lambda topic: emitted(servers, topic, rows, None),
        "`Emitter(sum_ms=100)`": lambda topic: emitted(servers, topic, rows, 100),
    }
    best = dict.fromkeys(ways, float("inf"))
    for number in range(ROUNDS):
        for index, (name, way) in enumerate(ways.items()):
            topic = f"speed-{number}-{index}"
            create_kafka_topic(servers, topic, PARTITIONS)
            best[name] = min(best[name], way(topic))
    # The call alone: what is sent, and how often, depends on the rate.
    emit = Emitter(servers, sum_ms=60_000)
    for row in rows:
        emit(row)
    best["`Emitter(sum_ms=...)`, the call alone"] = min(called(emit, rows) for _ in range(ROUNDS))
    emit._sums = None  # noqa: SLF001 - nothing of it is sent
    emit.close()
    lines = (f"| {name} | {seconds / count * 1e6:.2f} us |" for name, seconds in best.items())
    return ["| one row | CPU time |", "|---|---:|", *lines]


@dataclass(frozen=True, slots=True)
class Load:
    """What a steady load cost: messages, their bytes on the broker's disk, CPU seconds."""

    messages: int
    log_bytes: int
    producer_s: float
    consumer_s: float


def steady(servers: str, logs: Path, sink: Sink, rows: list[Row], name: str) -> Load:
    """Emit rows at the rate into a topic of their own, and count it once."""
    topic = f"steady-{list(MODES).index(name)}"
    create_topics(servers, topic)
    with Emitter(servers, topic=topic, sum_ms=MODES[name]) as emit:
        emit.confirm(Row(TABLE, "connected", incr=0))
        before, start, size = time.process_time(), time.monotonic(), int(RATE * TICK_S)
        for tick in range(0, len(rows), size):
            for row in rows[tick : tick + size]:
                emit(row)
            time.sleep(max(0.0, start + (tick + size) / RATE - time.monotonic()))
        emit.flush()
        producer_s = time.process_time() - before
        messages = emit.confirmed - 1
    log_bytes = sum(path.stat().st_size for path in logs.glob(f"{topic}-*/*.log"))
    sink.take()
    consumer_s = counted(servers, sink, topic)
    if sink.take().added != len(rows):
        raise SystemExit(f"{name}: the sum differs")
    return Load(messages, log_bytes, producer_s, consumer_s)


def create_topics(servers: str, topic: str) -> None:
    """Create a topic and its dead-letter topic."""
    create_kafka_topic(servers, topic, PARTITIONS)
    create_kafka_topic(servers, f"{topic}.dlq", 1)


def counted(servers: str, sink: Sink, topic: str) -> float:
    """Return the CPU seconds of a consumer that counts a topic once."""
    command = [sys.executable, "-m", "dynatomic", "run", "--once", "--table", TABLE]
    command += ["--topic", topic, "--group-id", topic, "--http", "off"]
    process = subprocess.Popen(command, env=environment(servers, sink.endpoint_url))
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the consumer of {topic} failed")
    return usage.ru_utime + usage.ru_stime


def loads(servers: str, logs: Path, seconds: int) -> list[str]:
    """Return the table of the steady loads."""
    rows = rows_of(RATE * seconds)
    lines = []
    with Sink() as sink:
        create_topics(servers, "none")
        empty_s = counted(servers, sink, "none")
        for name in MODES:
            load = steady(servers, logs, sink, rows, name)
            cells = (
                name,
                f"{load.messages:,}",
                f"{len(rows) / load.messages:.1f}",
                f"{load.log_bytes / len(rows):.1f}",
                f"{load.producer_s / len(rows) * 1e6:.2f} us",
                f"{(load.consumer_s - empty_s) / len(rows) * 1e6:.2f} us",
            )
            lines.append(f"| {' | '.join(cells)} |")
    head = ("", "messages", "rows a message", "broker bytes a row", "producer CPU a row")
    return [
        f"| {' | '.join(head)} | consumer CPU a row |",
        "|---|---:|---:|---:|---:|---:|",
        *lines,
    ]


def main() -> int:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000, help="rows of each round")
    parser.add_argument("--seconds", type=int, default=20, help="seconds of each steady load")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        KafkaServer(jvm=(), settings={"log.dirs": folder}) as kafka,
    ):
        print("\n".join(speed(kafka.bootstrap_servers, options.rows)), flush=True)
        if options.seconds:
            print("\n".join(["", *loads(kafka.bootstrap_servers, Path(folder), options.seconds)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
