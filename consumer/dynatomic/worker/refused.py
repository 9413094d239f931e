"""Events that the table refused, on their way to the dead-letter topic.

That a counter's attribute is no number shows only when it is written, and by then a window holds
what an event adds, not its bytes. So the few refused ones are read from the topic a second time.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from threading import Thread
from typing import Any, Protocol

from confluent_kafka import KafkaException, TopicPartition

from dynatomic.dead_letters.letter import DeadLetter, dead_letter_of
from dynatomic.dynamodb.answers import Rejected
from dynatomic.errors import DynatomicError, UnavailableError
from dynatomic.events.row import CounterRef, Row
from dynatomic.events.schema import encode
from dynatomic.events.window import Window
from dynatomic.kafka.client import PARTITION_EOF
from dynatomic.worker.partition import InFlightWindow

log = logging.getLogger(__name__)

RETRY_S = 1.0

ReadAgain = Callable[[int, Iterable[int]], dict[int, Any]]
"""Takes a partition and offsets, and returns the messages there by offset."""


class RejectedEvents:
    """Reads refused events again on a thread of its own, and turns them into letters."""

    def __init__(
        self,
        topic: str,
        read: ReadAgain,
        on_done: Callable[[object], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._read = read
        self._on_done = on_done
        self._clock = clock
        self._not_before = 0.0

    def letters(self, number: int, closing: InFlightWindow) -> list[DeadLetter]:
        """Return the letters of a written window once its refused events are read, else none.

        Until they are returned the window is not settled, whatever goes wrong on the way.
        """
        write = closing.write
        if write is None or not write.is_complete or not write.rejected:
            return []
        if closing.reread is None:
            if self._clock() < self._not_before:
                return []
            offsets = closing.window.increments_from(_from(write.rejected))
            closing.reread = self._start(number, offsets)
            return []
        if not closing.reread.done():
            return []
        reread, closing.reread = closing.reread, None
        error = reread.exception()
        if isinstance(error, DynatomicError):
            self._not_before = self._clock() + RETRY_S
            log.warning("refused events not read yet", extra={"fields": {"cause": str(error)}})
            return []
        if error is not None:
            raise error
        found, rejected = reread.result(), dict(write.rejected)
        write.rejected.clear()
        return list(rejected_letters(self._topic, number, closing.window, rejected, found))

    def _start(self, number: int, offsets: Iterable[int]) -> "Future[dict[int, Any]]":
        # A thread of its own, that does not outlive the process: an executor's would.
        future: Future[dict[int, Any]] = Future()
        future.add_done_callback(self._on_done)

        def read() -> None:
            try:
                future.set_result(self._read(number, offsets))
            except BaseException as error:  # noqa: BLE001 - `letters` raises it
                future.set_exception(error)

        Thread(target=read, name="read-again", daemon=True).start()
        return future


def rejected_letters(
    topic: str,
    partition: int,
    window: Window,
    rejected: Mapping[CounterRef, Rejected],
    messages: Mapping[int, Any],
) -> Iterator[DeadLetter]:
    """Yield the letters of a window's events whose counters the table refused.

    ``messages`` are those read again, by offset. Where the topic no longer has one, the letter
    holds the row written anew, without the key and the headers that the message had.
    """
    for offset, (ref, incr) in window.increments_from(_from(rejected)).items():
        why = rejected[ref]
        if (message := messages.get(offset)) is not None:
            yield dead_letter_of(message, why.reason, why.detail)
        else:
            value = encode(Row(ref.table, ref.key, ref.range, ref.name, incr))
            detail = f"{why.detail}; the topic no longer has the message, this is the row anew"
            yield DeadLetter(topic, partition, offset, None, value, (), why.reason, detail)


def _from(rejected: Mapping[CounterRef, Rejected]) -> dict[CounterRef, int]:
    return {ref: why.first for ref, why in rejected.items()}


class MessageReader(Protocol):
    """What is used of ``confluent_kafka.Consumer`` to read again."""

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read these partitions."""

    def consume(self, num_messages: int, timeout: float) -> list[Any]:
        """Return messages."""

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        """Return the first offset and the end."""

    def close(self) -> None:
        """End it."""


def read_again(  # noqa: PLR0913 - two are for tests
    make_reader: Callable[[], MessageReader],
    topic: str,
    partition: int,
    offsets: Iterable[int],
    timeout_s: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
) -> dict[int, Any]:
    """Return the messages at some offsets, by offset; what the topic no longer has is missing.

    Windows keep what a message adds, not its bytes; the few that the table refuses are read a
    second time. Raises UnavailableError if the broker does not give them in time.
    """
    wanted = set(offsets)
    found: dict[int, Any] = {}
    last, deadline = max(wanted), clock() + timeout_s
    reader = make_reader()
    try:
        low, high = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=10.0)
        start = max(low, min(wanted))
        if start > last or start >= high:
            return found
        position = -1
        reader.assign([TopicPartition(topic, partition, start)])
        while position < last:
            if clock() > deadline:
                raise UnavailableError(
                    f"partition {partition} of {topic} could not be read again; try again"
                )
            for message in reader.consume(1000, timeout=0.2):
                error = message.error()
                if error is None:
                    deadline = clock() + timeout_s  # it bounds a standstill, not a long range
                    position = message.offset()
                    if position in wanted:
                        found[position] = message
                elif error.code() == PARTITION_EOF:
                    position = last
    except KafkaException as error:
        raise UnavailableError(
            f"partition {partition} of {topic}: {error.args[0].str()}; try again"
        ) from None
    finally:
        reader.close()
    return found
