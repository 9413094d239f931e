"""Faults that need to be inside the consumer's process: small wraps around the real code.

A twist is a name and, after a colon, a number: ``kill-before-commit:3``. Several are separated by
spaces. They are applied in the forked process before the command runs.
"""

import itertools
import logging
import os
import signal
import time
from collections.abc import Callable, Collection
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

from confluent_kafka import KafkaError, TopicPartition

import dynatomic.service.run
from dynatomic.dynamodb.client import make_client
from dynatomic.worker.health import ProgressMonitor
from dynatomic.worker.loop import Worker
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.partition import Partition

HOUR_S: Final = 3600.0
STALL_AT: Final = 25


def apply(text: str) -> None:
    """Apply the twists that are named."""
    for each in text.split():
        name, _, number = each.partition(":")
        TWISTS[name](float(number or 0))


def _put(owner: object, name: str, what: object) -> None:
    setattr(owner, name, what)


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def read_timeout(seconds: float) -> None:
    """Give up on DynamoDB's answers sooner than after the usual 5 s."""
    _put(dynatomic.service.run, "make_client", partial(make_client, read_timeout_s=seconds))


def kill_before_commit(number: float) -> None:
    """End by SIGKILL where the n-th commit would be sent: all is written, nothing committed."""
    count, real = itertools.count(1), Offsets.commit

    def commit(self: Offsets, client: Any, partitions: Collection[Partition], *, now: bool) -> None:
        if any(p.committable_offset > p.sent_offset for p in partitions) and next(count) >= number:
            _kill_self()
        real(self, client, partitions, now=now)

    _put(Offsets, "commit", commit)


def kill_after_commit(number: float) -> None:
    """End by SIGKILL right after the n-th commit was handed to the client."""
    count, real = itertools.count(1), Offsets.commit

    def commit(self: Offsets, client: Any, partitions: Collection[Partition], *, now: bool) -> None:
        before = [p.sent_offset for p in partitions]
        real(self, client, partitions, now=now)
        if before != [p.sent_offset for p in partitions] and next(count) >= number:
            _kill_self()

    _put(Offsets, "commit", commit)


def commit_fails_for_one(every: float) -> None:
    """Let each n-th commit reach the broker for all partitions but one, and say so."""
    count, real_commit, real_answered = itertools.count(1), Offsets.commit, Offsets.on_commit_result
    failed: list[TopicPartition] = []

    def commit(self: Offsets, client: Any, partitions: Collection[Partition], *, now: bool) -> None:
        def send(*, offsets: list[TopicPartition], asynchronous: bool) -> None:
            if len(offsets) > 1 and next(count) % max(1, int(every)) == 0:
                failed.append(offsets.pop())
            client.commit(offsets=offsets, asynchronous=asynchronous)

        real_commit(self, SimpleNamespace(commit=send), partitions, now=now)

    def answered(
        self: Offsets, error: KafkaError | None, places: list[Any], partitions: dict[int, Partition]
    ) -> None:
        problem = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
        lost = [
            SimpleNamespace(partition=p.partition, offset=p.offset, error=problem) for p in failed
        ]
        failed.clear()
        answers: list[Any] = [*places, *lost]
        real_answered(self, error, answers, partitions)

    _put(Offsets, "commit", commit)
    _put(Offsets, "on_commit_result", answered)


def _raises_at(real: Callable[..., Any], number: float, *, after: bool = False) -> Any:
    count = itertools.count(1)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not after and next(count) == number:
            raise RuntimeError("raised by the fault campaign")
        result = real(*args, **kwargs)
        if after and next(count) == number:
            raise RuntimeError("raised by the fault campaign")
        return result

    return wrapped


def assign_raises(number: float) -> None:
    """Raise in the n-th assignment callback."""
    _put(Worker, "_on_assign", _raises_at(Worker._on_assign, number))


def revoke_raises(number: float) -> None:
    """Raise after the n-th revocation callback did its work."""
    real = Worker._on_revoke
    _put(Worker, "_on_revoke", _raises_at(real, number, after=True))


def on_commit_raises(number: float) -> None:
    """Raise in the n-th commit callback."""
    _put(Worker, "_on_commit", _raises_at(Worker._on_commit, number))


def watch_raises(number: float) -> None:
    """Raise where progress is watched, at the n-th turn of the loop."""
    _put(ProgressMonitor, "check", _raises_at(ProgressMonitor.check, number))


def loop_stalls(seconds: float) -> None:
    """Let the loop stand still once, when windows have been read."""
    count, real = itertools.count(1), ProgressMonitor.check

    def look(*args: Any, **kwargs: Any) -> None:
        if next(count) == STALL_AT:
            time.sleep(seconds)
        real(*args, **kwargs)

    _put(ProgressMonitor, "check", look)


def logging_raises(number: float) -> None:
    """Let the n-th log line raise out of the logging call, and each one after it."""
    count = itertools.count(1)

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            del record
            if next(count) >= number:
                raise OSError("raised by the fault campaign")

    logging.getLogger("dynatomic").addHandler(Broken())


def clock_jumps(seconds: float) -> None:
    """Let the wall clock jump an hour forth, and back, each time after this many seconds.

    Python's `time.time` only: the monotonic clock never jumps, and librdkafka has its own calls.
    """
    real, start = time.time, time.monotonic()

    def jumping() -> float:
        jumped = int((time.monotonic() - start) / seconds) % 2
        return real() + HOUR_S * jumped

    time.time = jumping


TWISTS: Final[dict[str, Callable[[float], None]]] = {
    "read-timeout": read_timeout,
    "kill-before-commit": kill_before_commit,
    "kill-after-commit": kill_after_commit,
    "commit-fails-for-one": commit_fails_for_one,
    "assign-raises": assign_raises,
    "revoke-raises": revoke_raises,
    "on-commit-raises": on_commit_raises,
    "watch-raises": watch_raises,
    "loop-stalls": loop_stalls,
    "logging-raises": logging_raises,
    "clock-jumps": clock_jumps,
}
