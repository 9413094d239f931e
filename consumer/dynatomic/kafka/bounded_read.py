"""Reads events in a separate process, whose memory the operating system limits (RLIMIT_DATA).

librdkafka unpacks a batch as a whole. For gzip it has no limit: 400 MB of one byte take 408 kB on
the wire, and a consumer is killed at the same offset each time that it starts. A batch that is
damaged on the disk of a broker can also abort librdkafka (2.16: an assertion in
rd_slice_narrow_copy, after a wrong checksum). So a batch that may have killed consumers is read
here first. If this process is killed, the batch is the cause, and the events before it are known.
"""

import pickle
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.kafka.child_process import run_child
from dynatomic.kafka.client import consumer_config, new_consumer

MAX_UNPACKED_BYTES = 256 * 1024 * 1024
"""The memory that a batch and its messages may take, in addition to the client itself."""
MAX_EVENTS = 2_000_000
"""How many events of a partition are read: more than a window and the client's queue hold."""
MAX_KEPT_EVENTS, MAX_KEPT_BYTES = 20_000, 32 * 1024 * 1024
READ_S, TOTAL_S = 10.0, 60.0
"""How long one partition, and all together, may take. What is not read in time is not fatal."""

_KILLED = {-6, -7, -9, -11}
_NO_MEMORY = 9
_ONE_BATCH = {"fetch.message.max.bytes": "1", "queued.min.messages": "1"}

StoredEvent = tuple[int, Any, Any, Any, Any, Any]
"""Offset, key, value, headers, timestamp and leader epoch of a message."""


@dataclass(frozen=True, slots=True)
class FatalBatch:
    """A batch that kills the process that reads it, and the events before it.

    ``events`` is None if they are too many to be kept.
    """

    offset: int
    events: tuple[StoredEvent, ...] | None


@dataclass(frozen=True, slots=True)
class _ReadTask:
    """What the child reads: each partition from an offset on, one batch at a time if ``exact``."""

    settings: Settings
    starts: dict[int, int]
    max_events: int
    exact: bool


def fatal_batches(settings: Settings, starts: Mapping[int, int]) -> dict[int, FatalBatch]:
    """Return the first batch of each partition that no process with bounded memory can read.

    ``starts`` has the offset from which each partition is read. A partition is missing if all of
    its next events can be read, or if the brokers give them too slowly.
    """
    left, fatal, deadline = dict(starts), {}, time.monotonic() + TOTAL_S
    while left and time.monotonic() < deadline:
        reached = _read(_ReadTask(settings, left, MAX_EVENTS, exact=False))
        if reached is None:
            break
        partition = reached[0]
        # A fetch response has several batches, so the partition is read again batch by batch.
        start = {partition: left[partition]}
        if (batch := _read(_ReadTask(settings, start, MAX_EVENTS, exact=True))) is not None:
            fatal[partition] = batch[1]
        left = {p: offset for p, offset in left.items() if p > partition}
    return fatal


def is_fatal(settings: Settings, partition: int, offset: int) -> bool:
    """Return whether no process with bounded memory can read the batch at an offset."""
    return _read(_ReadTask(settings, {partition: offset}, 1, exact=True)) is not None


def _read(task: _ReadTask) -> tuple[int, FatalBatch] | None:
    """Return the partition and the batch at which a child was killed, None if it was not."""
    child = run_child("dynatomic.kafka.bounded_read", task)
    if child.returncode not in _KILLED and child.returncode != _NO_MEMORY:
        return None
    events: list[StoredEvent] = []
    partition, offset, is_complete = -1, -1, True
    source = BytesIO(child.stdout)
    while source.tell() < len(child.stdout):
        try:
            partition, offset, more = pickle.load(source)  # noqa: S301 - from our own child
        except EOFError:  # it was killed while it wrote
            break
        is_complete = is_complete and more is not None
        events += more or ()
    if partition < 0:
        return None
    return partition, FatalBatch(offset, tuple(events) if is_complete else None)


def _read_events(
    task: _ReadTask, consumer: Any
) -> Iterator[tuple[int, int, list[StoredEvent] | None]]:
    """Yield a partition, the offset that is read next, and the events since the last yield.

    The events are given if ``exact``, and None once there are too many.
    """
    for partition, start in sorted(task.starts.items()):
        position = start
        yield partition, position, []
        consumer.assign([TopicPartition(task.settings.topic, partition, start)])
        deadline, count, size, is_done = time.monotonic() + READ_S, 0, 0, False
        while not is_done and count < task.max_events and time.monotonic() < deadline:
            events: list[StoredEvent] = []
            for message in consumer.consume(1 if task.exact else 1000, 0.2):
                # It is the end, or an error that the consumer handles itself.
                if message.error() is not None:
                    is_done = True
                    break
                count, position = count + 1, (message.offset() or 0) + 1
                if task.exact:
                    events.append(_stored(message))
                    size += len(message.value() or b"") + len(message.key() or b"")
            is_kept = count <= MAX_KEPT_EVENTS and size <= MAX_KEPT_BYTES
            yield partition, position, events if is_kept else None


def _stored(message: Any) -> StoredEvent:
    return (
        message.offset(),
        message.key(),
        message.value(),
        message.headers(),
        message.timestamp(),
        message.leader_epoch(),
    )


def main() -> int:
    """Read what stdin asks for; write what `_read_events` yields, before the next read."""
    task: _ReadTask = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this
    config = consumer_config(task.settings, eof=True) | (_ONE_BATCH if task.exact else {})
    try:
        consumer = new_consumer(config)
        _limit_memory(MAX_UNPACKED_BYTES)
        for frame in _read_events(task, consumer):
            sys.stdout.buffer.write(pickle.dumps(frame))
            sys.stdout.buffer.flush()
    except (MemoryError, SystemError):  # no memory for the messages of a batch
        return _NO_MEMORY
    except KafkaException:
        return 1
    return 0


def _limit_memory(more_bytes: int) -> None:
    """Limit how much more memory the process may take. Does nothing without /proc."""
    status = Path("/proc/self/status")
    if not status.exists():
        return
    (used_kb,) = [line.split()[1] for line in status.read_text().splitlines() if "VmData" in line]
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = int(used_kb) * 1024 + more_bytes
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


if __name__ == "__main__":
    # The task names its class by the module, not by ``__main__``.
    from dynatomic.kafka.bounded_read import main as run

    sys.exit(run())
