"""Stores events that cannot be counted in the dead-letter topic, with their bytes and the reason.

A letter keeps the key, the value and the headers of the message, and adds headers (`HEADERS`). A
letter that the topic refuses is sent again until it is stored. Until then the offset of its event
is not committed. A letter that is too large for the topic is cut (`letter`).
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException

from dynatomic.dead_letters.letter import DeadLetter, own_headers
from dynatomic.errors import DynatomicError
from dynatomic.kafka.client import PURGED
from dynatomic.kafka.replaceable import ReplaceableClient

log = logging.getLogger(__name__)

RETRY_S = 1.0
PURGE_S = 1.0
MIN_HEAD_BYTES = 1024
"""Bytes that a letter keeps of a value if it is too large for the topic."""
LETTER_BATCH_BYTES = 16 * 1024
"""A topic refuses a batch that is larger than its limit, also one of small letters."""

_TOO_LARGE = ("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE")

_NOT_DELIVERED_IN_TIME = KafkaError._MSG_TIMED_OUT  # noqa: SLF001 - after delivery.timeout.ms

OnStored = Callable[[], None]
IsWanted = Callable[[], bool]


class Producer(Protocol):
    """The methods of ``confluent_kafka.Producer`` that `DeadLetters` calls."""

    @property
    def produce(self) -> Callable[..., None]:
        """Queue a message."""

    @property
    def purge(self) -> Callable[..., None]:
        """Discard the messages that are not sent."""

    def poll(self, timeout: float) -> int:
        """Serve delivery reports."""

    def flush(self, timeout: float) -> int:
        """Serve delivery reports until none is left; return how many messages remain."""


class DeadLetters:
    """Stores letters, and reports when each is known to be in the topic.

    One thread owns it and calls `poll` often. ``pending`` and ``pending_bytes`` are the number and
    size of the letters that are not stored yet. ``topic_id`` is the id of the events' topic. The
    producer is replaced when no broker accepts its messages.
    """

    def __init__(
        self,
        producer: ReplaceableClient[Producer],
        topic: str,
        group: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        topic_id: str | None = None,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._group = group
        self._clock = clock
        self._topic_id = topic_id
        self._retries: deque[tuple[float, DeadLetter, OnStored, IsWanted]] = deque()
        self._no_broker_answers = False
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
        self._send(letter, on_stored, is_wanted)

    def poll(self, timeout_s: float = 0.0) -> None:
        """Serve delivery reports, and send the letters that failed again.

        Raises DynatomicError if the producer cannot continue.
        """
        now = self._clock()
        while self._retries and self._retries[0][0] <= now:
            _, letter, on_stored, is_wanted = self._retries.popleft()
            if is_wanted():
                self._send(letter, on_stored, is_wanted)
            else:
                self._release(letter)
        try:
            if self._serve_deliveries(timeout_s):
                self._producer.discard()
                self._no_broker_answers = False
        except (KafkaException, SystemError) as error:  # a fatal error of the producer
            raise DynatomicError(
                f"the producer of topic {self._topic} failed for good ({error}); start it again"
            ) from None

    def _serve_deliveries(self, timeout_s: float) -> bool:
        """Serve delivery reports; return whether the producer must and can be replaced now."""
        producer = self._producer.current
        if producer is None:
            return False
        producer.poll(timeout_s)
        if self._no_broker_answers:
            producer.purge()
        return self._no_broker_answers and not producer.flush(PURGE_S)

    def _release(self, letter: DeadLetter) -> None:
        self.pending -= 1
        self.pending_bytes -= letter.size

    def _send(self, letter: DeadLetter, on_stored: OnStored, is_wanted: IsWanted) -> None:
        own = own_headers(letter, self._group, self._topic_id)

        def delivered(error: KafkaError | None, _message: Any) -> None:
            if error is not None:
                self._no_broker_answers = (
                    self._no_broker_answers or error.code() == _NOT_DELIVERED_IN_TIME
                )
                known = self.last_error if error.code() in PURGED else None
                self._failed(letter, on_stored, is_wanted, known or error.name())
                return
            self._release(letter)
            self.last_error = None
            on_stored()

        try:
            self._producer.get().produce(
                self._topic,
                key=letter.key,
                value=letter.value,
                headers=[*letter.headers, *own],
                on_delivery=delivered,
            )
        except BufferError:
            self._failed(letter, on_stored, is_wanted, "queue full")
        except KafkaException as error:
            self._failed(letter, on_stored, is_wanted, error.args[0].name())
        except DynatomicError as error:  # a new producer could not be created
            self._failed(letter, on_stored, is_wanted, str(error))

    def _failed(
        self, letter: DeadLetter, on_stored: OnStored, is_wanted: IsWanted, cause: str
    ) -> None:
        if self.last_error is None:
            log.error(
                "dead-letter topic refuses",
                extra={"fields": {"topic": self._topic, "cause": cause, "hint": _hint(cause)}},
            )
        self.last_error = cause
        if cause in _TOO_LARGE:
            cut = letter.cut(MIN_HEAD_BYTES)
            if cut.size < letter.size:
                self.pending_bytes += cut.size - letter.size
                letter = cut
        self._retries.append((self._clock() + RETRY_S, letter, on_stored, is_wanted))


def _hint(cause: str) -> str:
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
