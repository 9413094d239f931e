"""Runs the worker under a load that needs much memory, in a separate process with a hard limit.

Usage: ``python -m tests.support.memory_load LOAD LIMIT_MB WINDOW_MAX_BYTES``. The limit is set by
the operating system (RLIMIT_DATA). It prints the events, and the peak of resident memory in MB.
"""

import json
import re
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

from confluent_kafka import Message, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.letter import DeadLetter
from dynatomic.dynamodb.answers import APPLIED, Answer, Rejected, Retry
from dynatomic.dynamodb.statements import Change, Step, request_body
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.decoder import Decoder
from dynatomic.events.row import KeySchema, Reason, Row
from dynatomic.events.schema import encode
from dynatomic.kafka.event_reader import RowReader
from dynatomic.kafka.topic_identity import TopicIdCheck
from dynatomic.worker.limits import reread_bytes
from dynatomic.worker.loop import Worker
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.rereading import read_again

TOPIC, KEYS = "row-events", {"hits": KeySchema("pk")}
BUSY_S = 4.0
"""How long DynamoDB, or the dead-letter topic, accepts nothing, so that the memory fills up."""


def long_names(number: int) -> bytes:
    """Return an event with a unique name of nearly the largest size."""
    return encode(Row("hits", f"{number:02000}"))


def short_names(number: int) -> bytes:
    """Return an event with a unique name."""
    return encode(Row("hits", f"customer-{number}"))


def bad(number: int) -> bytes:
    """Return an event that cannot be decoded."""
    return b"\xff" * 10_000 + str(number).encode()


def many_counters(number: int) -> bytes:
    """Return an event of an item with many counters; no two items have the same ones."""
    item, counter = divmod(number, 200)
    return encode(Row("hits", f"item-{item}", counter=f"counter-{item}-{counter:0100}"))


LOADS: dict[str, tuple[Callable[[int], bytes], int]] = {
    "long-names": (long_names, 150_000),
    "short-names": (short_names, 400_000),
    "rejected": (short_names, 120_000),
    "rejected-large": (short_names, 5_000),
    "dead-letters": (bad, 40_000),
    "templates": (many_counters, 200_000),
}

KEY_BYTES = {"rejected-large": 80_000}
"""The size of the Kafka keys, which a window does not hold."""
QUEUE_BYTES = 16 * 1024 * 1024


class Source:
    """A consumer of one partition whose messages are made when they are read."""

    def __init__(self, payload: Callable[[int], bytes], events: int, key_bytes: int) -> None:
        self._payload = payload
        self._events = events
        self._key_bytes = key_bytes
        self._next = 0
        self._is_paused = False
        self.committed_offset = 0

    def consume(self, count: int, timeout: float) -> list[Message]:
        """Return the next messages; not more than librdkafka has in its queue."""
        if self._is_paused or self._next >= self._events:
            time.sleep(min(timeout, 0.01))
            return []
        if self._key_bytes:
            count = min(count, QUEUE_BYTES // self._key_bytes)
        start, self._next = self._next, min(self._events, self._next + count)
        return [self._message(offset) for offset in range(start, self._next)]

    def _message(self, offset: int) -> Message:
        key = bytes(self._key_bytes) or None
        return Message(TOPIC, 0, offset, key, self._payload(offset), None, None, (1, 1))

    def commit(self, offsets: Sequence[TopicPartition], *, asynchronous: bool) -> None:
        """Take a commit, which is not answered."""
        assert asynchronous
        self.committed_offset = offsets[0].offset

    def pause(self, _partitions: object) -> None:
        """Read nothing."""
        self._is_paused = True

    def resume(self, _partitions: object) -> None:
        """Read on."""
        self._is_paused = False

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Read from an offset."""
        self._next = max(0, partitions[0].offset)

    def get_watermark_offsets(self, _partition: object, timeout: float) -> tuple[int, int]:
        """Return the first offset and the end offset."""
        assert timeout > 0
        return 0, self._events

    def close(self) -> None:
        """Do nothing."""


class Letters:
    """A dead-letter topic that takes nothing for a while, then some hundreds in each poll."""

    last_error: str | None = None

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._held: deque[tuple[DeadLetter, Callable[[], None]]] = deque()
        self.pending_bytes = self.stored = 0

    @property
    def pending(self) -> int:
        """How many are not stored."""
        return len(self._held)

    def store(self, letter: DeadLetter, on_stored: Callable[[], None], _wanted: object) -> None:
        """Take a letter."""
        self._held.append((letter, on_stored))
        self.pending_bytes += letter.size

    def poll(self, _timeout_s: float = 0.0) -> None:
        """Store some."""
        if time.monotonic() - self._began < BUSY_S:
            return
        for _ in range(min(500, len(self._held))):
            letter, on_stored = self._held.popleft()
            self.pending_bytes -= letter.size
            self.stored += 1
            on_stored()


def executor(load: str) -> Callable[[Step, Sequence[Change]], list[Answer]]:
    """Return what answers for DynamoDB."""
    began = time.monotonic()

    def execute(step: Step, batch: Sequence[Change]) -> list[Answer]:
        if not step.alone:
            request_body(step, KEYS, batch)
        if time.monotonic() - began < BUSY_S and load != "templates":
            return [Retry("ThrottlingError")] * len(batch)
        if load.startswith("rejected"):
            return [Rejected(Reason.REFUSED, "the counter is no number")] * len(batch)
        return [APPLIED] * len(batch)

    return execute


def run(load: str, window_max_bytes: int) -> Iterator[tuple[str, float]]:
    """Run a load to its end; yield what was measured."""
    payload, events = LOADS[load]
    key_bytes = KEY_BYTES.get(load, 0)
    source, letters = Source(payload, events, key_bytes), Letters()
    settings = Settings(
        topic=TOPIC,
        group_id="g",
        tables=("hits",),
        dead_letter_max_ratio=1.0,
        window_max_bytes=window_max_bytes,
    )
    answer: Future[str | None] = Future()
    answer.set_result(None)
    writer = Writer(executor(load))
    worker = Worker(
        settings,
        make_consumer=lambda _config: source,
        config={},
        reader=RowReader(Decoder(KEYS)),
        writer=writer,
        letters=cast("Any", letters),
        read_again=lambda partition, offsets: read_again(
            lambda: Source(payload, events, key_bytes),
            TOPIC,
            partition,
            offsets,
            max_bytes=reread_bytes(settings),
        ),
        offsets=Offsets(TOPIC, "g", commits=False),
        topic_id_check=TopicIdCheck(TOPIC, None, lambda: answer),
    )
    worker.assign([TopicPartition(TOPIC, 0, 0)])
    longest_s = 0.0
    while worker.partitions[0].committed_offset < events:
        started = time.monotonic()
        worker.tick()
        longest_s = max(longest_s, time.monotonic() - started)
    writer.close()
    counts = worker.event_counts[0]
    yield "events", counts.counted + counts.dead_letters
    yield "longest_tick_s", round(longest_s, 3)


def main() -> None:
    """Run one load under a limit."""
    load, limit_mb, window_max_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_DATA, (limit_mb * 1_000_000,) * 2)
    measured = dict(run(load, window_max_bytes))
    # ru_maxrss would begin with the memory of the process that started this one.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    peak_mb = int(peak) / 1000
    print(json.dumps({"load": load, "peak_mb": round(peak_mb), **measured}))  # noqa: T201


if __name__ == "__main__":
    main()
