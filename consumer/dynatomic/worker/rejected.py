"""Events whose counter the table rejected, on their way to the dead-letter topic.

That the attribute of a counter is not a number shows only when it is written. By then a window
holds what an event adds, not its bytes. So the few rejected events are read from the topic again.
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
from dynatomic.worker.in_flight import InFlightWindow

log = logging.getLogger(__name__)

RETRY_S = 1.0

ReadAgain = Callable[[int, Iterable[int]], Mapping[int, Any]]
"""Takes a partition and offsets, and returns the messages there by offset."""


class RejectedEvents:
    """Reads rejected events again on a thread of its own, and turns them into dead letters."""

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
        self._no_read_before = 0.0

    def letters(self, partition: int, closing: InFlightWindow) -> list[DeadLetter]:
        """Return the dead letters of a written window once its rejected events are read, else none.

        The window is not done before they are returned, whatever fails in between.
        """
        write = closing.write
        if write is None or not write.is_complete or not write.rejected:
            return []
        if closing.reread is None:
            if self._clock() < self._no_read_before:
                return []
            offsets = closing.window.increments_from(_first_offsets(write.rejected))
            closing.start_reread(self._start(partition, offsets))
            return []
        if not closing.reread.done():
            return []
        reread = closing.reread
        closing.end_reread()
        error = reread.exception()
        if isinstance(error, DynatomicError):
            self._no_read_before = self._clock() + RETRY_S
            log.warning("refused events not read yet", extra={"fields": {"cause": str(error)}})
            return []
        if error is not None:
            raise error
        messages, rejected = reread.result(), dict(write.rejected)
        write.rejected.clear()
        return list(rejected_letters(self._topic, partition, closing.window, rejected, messages))

    def _start(self, partition: int, offsets: Iterable[int]) -> "Future[Mapping[int, Any]]":
        # A daemon thread, because the threads of an executor would outlive the end of the process.
        future: Future[Mapping[int, Any]] = Future()
        future.add_done_callback(self._on_done)

        def read() -> None:
            try:
                future.set_result(self._read(partition, offsets))
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
    """Yield the dead letters of the events of a window whose counters the table rejected.

    ``messages`` are those that were read again, by offset. Where the topic no longer has one, the
    letter holds the row encoded again, without the key and the headers that the message had.
    """
    for offset, (ref, incr) in window.increments_from(_first_offsets(rejected)).items():
        cause = rejected[ref]
        if (message := messages.get(offset)) is not None:
            yield dead_letter_of(message, cause.reason, cause.detail)
        else:
            value = encode(Row(ref.table, ref.key, ref.range, ref.name, incr))
            detail = f"{cause.detail}; the topic no longer has the message, this is the row anew"
            yield DeadLetter(topic, partition, offset, None, value, (), cause.reason, detail)


def _first_offsets(rejected: Mapping[CounterRef, Rejected]) -> dict[CounterRef, int]:
    return {ref: cause.first for ref, cause in rejected.items()}


class MessageReader(Protocol):
    """The part of ``confluent_kafka.Consumer`` that reads again."""

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read these partitions."""

    def consume(self, num_messages: int, timeout: float) -> list[Any]:
        """Return messages."""

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        """Return the first offset and the end offset."""

    def close(self) -> None:
        """Close the client."""


def read_again(  # noqa: PLR0913 - two are for tests
    make_reader: Callable[[], MessageReader],
    topic: str,
    partition: int,
    offsets: Iterable[int],
    timeout_s: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
) -> dict[int, Any]:
    """Return the messages at some offsets, by offset, as far as the topic still has them.

    Raises UnavailableError if the broker gives nothing for ``timeout_s`` seconds.
    """
    wanted = set(offsets)
    messages: dict[int, Any] = {}
    last, deadline = max(wanted), clock() + timeout_s
    reader = make_reader()
    try:
        low, high = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=10.0)
        start = max(low, min(wanted))
        if start > last or start >= high:
            return messages
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
                    # The deadline bounds a standstill, not the reading of a long range.
                    deadline = clock() + timeout_s
                    position = message.offset()
                    if position in wanted:
                        messages[position] = message
                elif error.code() == PARTITION_EOF:
                    position = last
    except KafkaException as error:
        raise UnavailableError(
            f"partition {partition} of {topic}: {error.args[0].str()}; try again"
        ) from None
    finally:
        reader.close()
    return messages
