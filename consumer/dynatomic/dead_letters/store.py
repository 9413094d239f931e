"""Stores events that cannot be counted in the dead-letter topic, with their bytes and the reason.

A letter keeps the key, the value and the headers of the message, and adds headers (`HEADERS`). A
letter that the topic refuses is sent again until it is stored. Until then the offset of its event
is not committed.

A topic refuses a batch that is larger than its ``max.message.bytes``. Then each letter of the batch
is sent alone, and one that is too large by itself is cut (`letter`), in two steps.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from confluent_kafka import KafkaError

from dynatomic.dead_letters.letter import DeadLetter, own_headers
from dynatomic.dead_letters.letter_producer import LetterProducer, Producer
from dynatomic.kafka.client import PURGED
from dynatomic.kafka.replaceable import ReplaceableClient

log = logging.getLogger(__name__)

RETRY_S = 1.0
CUTS = ((1024, 4096), (256, 256))
"""Bytes of the value and of the key that a letter keeps if it is too large for the topic."""
LETTER_BATCH_BYTES = 16 * 1024
"""A topic with a larger limit takes every batch of letters that are not larger themselves."""

_SMALLEST_NOTE = "which cannot be cut further"
_TOO_LARGE = ("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE")

OnStored = Callable[[], None]
IsWanted = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _PendingLetter:
    """A letter that is not stored yet; ``is_alone`` if no other may be in its batch."""

    letter: DeadLetter
    on_stored: OnStored
    is_wanted: IsWanted
    is_alone: bool = False


class DeadLetters:
    """Stores letters, and reports when each is known to be in the topic.

    One thread owns it and calls `poll` often. ``pending`` and ``pending_bytes`` are the number and
    size of the letters that are not stored yet. ``topic_id`` is the id of the events' topic.
    ``make_single`` returns a producer that sends each message in a batch of its own; without it
    ``producer`` must be one. Both are replaced when no broker accepts their messages.
    """

    def __init__(  # noqa: PLR0913 - its parts
        self,
        producer: ReplaceableClient[Producer],
        topic: str,
        group: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        topic_id: str | None = None,
        make_single: Callable[[], Producer] | None = None,
    ) -> None:
        self._producer = LetterProducer(producer, topic)
        self._make_single = make_single
        self._single: LetterProducer | None = self._producer if make_single is None else None
        self._topic = topic
        self._group = group
        self._clock = clock
        self._topic_id = topic_id
        self._retries: deque[tuple[float, _PendingLetter]] = deque()
        self.pending = 0
        self.pending_bytes = 0
        self.last_error: str | None = None

    def store(
        self, letter: DeadLetter, on_stored: OnStored, is_wanted: IsWanted = lambda: True
    ) -> None:
        """Send a letter; `poll` calls ``on_stored`` when the topic has it.

        A letter that failed is not sent again if ``is_wanted`` returns False, which it does after
        its partition was lost.
        """
        self.pending += 1
        self.pending_bytes += letter.size
        is_alone = self._single is self._producer
        self._send(_PendingLetter(letter, on_stored, is_wanted, is_alone))

    def poll(self, timeout_s: float = 0.0) -> None:
        """Serve delivery reports, and send the letters that failed again.

        Raises DynatomicError if a producer cannot continue.
        """
        now = self._clock()
        while self._retries and self._retries[0][0] <= now:
            _, pending = self._retries.popleft()
            if pending.is_wanted():
                self._send(pending)
            else:
                self._release(pending.letter)
        self._producer.poll(timeout_s)
        if self._single is not None and self._single is not self._producer:
            self._single.poll(0.0)

    def _release(self, letter: DeadLetter) -> None:
        self.pending -= 1
        self.pending_bytes -= letter.size

    def _send(self, pending: _PendingLetter) -> None:
        letter = pending.letter
        own = own_headers(letter, self._group, self._topic_id)

        def delivered(error: KafkaError | None) -> None:
            if error is not None:
                known = self.last_error if error.code() in PURGED else None
                self._failed(pending, known or error.name())
                return
            self._release(letter)
            self.last_error = None
            pending.on_stored()

        producer = self._single_producer() if pending.is_alone else self._producer
        if (cause := producer.send(letter, own, delivered)) is not None:
            self._failed(pending, cause)

    def _single_producer(self) -> LetterProducer:
        if self._single is None:
            assert self._make_single is not None  # noqa: S101 - else the constructor has set it
            self._single = LetterProducer(ReplaceableClient(self._make_single), self._topic)
        return self._single

    def _failed(self, pending: _PendingLetter, cause: str) -> None:
        if cause in _TOO_LARGE and not pending.is_alone:
            # The batch may be too large, and not the letter. This is no trouble yet.
            self._retries.appendleft((0.0, replace(pending, is_alone=True)))
            return
        smaller = _smaller(pending.letter) if cause in _TOO_LARGE else None
        if smaller is not None:
            self.pending_bytes += smaller.size - pending.letter.size
            pending = replace(pending, letter=smaller)
        elif cause in _TOO_LARGE:
            cause = f"{cause}: a letter of {self._size(pending.letter)} bytes, {_SMALLEST_NOTE}"
        if self.last_error is None:
            log.error(
                "dead-letter topic refuses",
                extra={"fields": {"topic": self._topic, "cause": cause, "hint": _hint(cause)}},
            )
        self.last_error = cause
        self._retries.append((self._clock() + RETRY_S, pending))

    def _size(self, letter: DeadLetter) -> int:
        own = own_headers(letter, self._group, self._topic_id)
        headers = sum(len(name) + len(value or b"") for name, value in (*letter.headers, *own))
        return len(letter.key or b"") + len(letter.value or b"") + headers


def _smaller(letter: DeadLetter) -> DeadLetter | None:
    """Return the letter with less of the message, None if it has the least."""
    for head_bytes, key_bytes in CUTS:
        cut = letter.cut(head_bytes, key_bytes)
        if cut.size < letter.size:
            return cut
    return None


def _hint(cause: str) -> str:
    if cause.endswith(_SMALLEST_NOTE):
        return (
            "set max.message.bytes of the dead-letter topic to 16384 or more: it does not take "
            "the smallest letter, and nothing is committed until it does"
        )
    if "SIZE" in cause:
        return "raise max.message.bytes of the dead-letter topic; until then larger letters are cut"
    if "AUTHORIZATION" in cause:
        return "allow Write on the dead-letter topic"
    return (
        "check the dead-letter topic and the brokers; "
        "nothing is committed until the topic accepts letters"
    )


class LetterStore(Protocol):
    """The part of `DeadLetters` that the worker uses."""

    @property
    def pending(self) -> int:
        """How many letters are not known to be in the topic."""

    @property
    def pending_bytes(self) -> int:
        """The size of these letters in bytes."""

    @property
    def last_error(self) -> str | None:
        """Why the topic refuses them."""

    def store(self, letter: DeadLetter, on_stored: OnStored, is_wanted: IsWanted, /) -> None:
        """Send a letter."""

    def poll(self, timeout_s: float = 0.0, /) -> None:
        """Serve delivery reports."""
