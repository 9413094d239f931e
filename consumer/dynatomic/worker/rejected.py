"""Events whose counter the table rejected, on their way to the dead-letter topic.

Only a write shows that the attribute of a counter is not a number. At that time, a window contains
the increments of its events, not their bytes. So the rejected events are read from the topic again.
"""

import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from itertools import groupby, islice
from operator import itemgetter
from threading import Thread
from typing import Any

from dynatomic.dead_letters.letter import DeadLetter, WholeMessage, dead_letter_of
from dynatomic.dynamodb.answers import Rejected
from dynatomic.errors import DynatomicError
from dynatomic.events.row import CounterRef
from dynatomic.kafka.event_reader import EventReader
from dynatomic.worker.in_flight import InFlightWindow, RejectedEvent
from dynatomic.worker.rereading import ReadAgain, Reread

log = logging.getLogger(__name__)

RETRY_S = 1.0
MAX_SLICE_EVENTS = 4_000
"""How many rejected events are read at once, and passed to the dead-letter topic in one turn."""


class RejectedEvents:
    """Reads rejected events again on its own thread, and makes dead letters of them."""

    def __init__(
        self,
        topic: str,
        reader: EventReader,
        read: ReadAgain,
        on_done: Callable[[object], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._reader = reader
        self._read = read
        self._on_done = on_done
        self._clock = clock
        self._no_read_before = 0.0
        self._reading: Future[Reread] | None = None

    def letters(self, partition: int, closing: InFlightWindow) -> list[DeadLetter]:
        """Return the next dead letters of a written window, as soon as their events are read.

        There may be many or large ones, so they are read in slices, one slice of one window at a
        time. A slice may have been read only in part. The window is not done before all are
        returned, also if a read fails.
        """
        write = closing.write
        if write is None or not write.is_complete or not write.rejected:
            return []
        if closing.reread is None:
            self._read_next(partition, closing, write.rejected)
            return []
        if not closing.reread.done():
            return []
        error = closing.reread.exception()
        if isinstance(error, DynatomicError):
            self._no_read_before = self._clock() + RETRY_S
            log.warning("refused events not read yet", extra={"fields": {"cause": str(error)}})
            closing.end_reread(closing.reread_events)
            return []
        if error is not None:
            raise error
        messages, end = closing.reread.result()
        read = bisect_left(closing.reread_events, end, key=itemgetter(0))
        events = closing.reread_events[:read]
        closing.end_reread(closing.reread_events[read:])
        return list(
            rejected_letters(
                self._topic, partition, events, write.rejected, messages, reader=self._reader
            )
        )

    def _read_next(
        self, partition: int, closing: InFlightWindow, rejected: Mapping[CounterRef, Rejected]
    ) -> None:
        """Start to read the next slice, or end if there is none."""
        is_reading = self._reading is not None and not self._reading.done()
        if is_reading or self._clock() < self._no_read_before:
            return
        if closing.letters_pending:
            return  # the letters of the slice before may have as many bytes
        if closing.unread_rejected is None:
            events = closing.window.increments_from(_first_offsets(rejected))
            closing.start_rejected(_by_event(events))
        chunk = closing.reread_events
        if not chunk and closing.unread_rejected is not None:
            chunk = list(islice(closing.unread_rejected, MAX_SLICE_EVENTS))
        if chunk:
            self._reading = self._start(partition, [offset for offset, _ in chunk])
            closing.start_reread(chunk, self._reading)
        else:
            closing.end_rejected()

    def _start(self, partition: int, offsets: Iterable[int]) -> "Future[Reread]":
        # A daemon thread, because the interpreter waits for the threads of an executor at exit.
        future: Future[Reread] = Future()
        future.add_done_callback(self._on_done)

        def read() -> None:
            try:
                future.set_result(self._read(partition, offsets))
            except BaseException as error:  # noqa: BLE001 - `letters` raises it
                future.set_exception(error)

        Thread(target=read, name="read-again", daemon=True).start()
        return future


def _by_event(increments: Iterable[tuple[int, CounterRef, int]]) -> Iterator[RejectedEvent]:
    """Group increments by their event; those of one event stand together."""
    for offset, group in groupby(increments, key=itemgetter(0)):
        yield offset, [(ref, incr) for _, ref, incr in group]


def rejected_letters(  # noqa: PLR0913 - what a letter needs
    topic: str,
    partition: int,
    events: Sequence[RejectedEvent],
    rejected: Mapping[CounterRef, Rejected],
    messages: Mapping[int, Any],
    *,
    reader: EventReader,
) -> Iterator[DeadLetter]:
    """Yield the dead letters of events whose counters the table rejected.

    If the table rejected only some counters of an event, the letter names them, because the others
    are counted. ``messages`` are those that were read again, by offset. If the topic no longer has
    a message, the letter contains what the event adds, without the key and the headers of the
    message.
    """
    for offset, increments in events:
        cause = rejected[increments[0][0]]
        if (message := messages.get(offset)) is not None:
            refused = reader.refused_counters(message, [ref for ref, _ in increments])
            yield dead_letter_of(message, cause.reason, cause.detail, refused)
            continue
        value, is_whole = reader.lost_event(increments)
        what = "the row encoded again" if is_whole else "what it adds"
        detail = f"{cause.detail}; this is {what}, the topic lost the message"
        yield DeadLetter(
            topic,
            partition,
            offset,
            None,
            value,
            (),
            cause.reason,
            detail,
            whole=None if is_whole else WholeMessage.of(None, None, ()),
        )


def _first_offsets(rejected: Mapping[CounterRef, Rejected]) -> dict[CounterRef, int]:
    return {ref: cause.first for ref, cause in rejected.items()}
