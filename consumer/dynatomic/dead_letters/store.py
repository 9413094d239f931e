"""The dead-letter topic: where rows go that cannot be counted, with their bytes and the reason.

A letter keeps the message's key, value and headers, and adds headers of its own (`HEADERS`).
Nothing is given up: a letter that the topic does not take is sent again until it does, and until
then the offset of its event is not committed.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException

from dynatomic.dead_letters.letter import HEADERS, TOPIC_ID, DeadLetter
from dynatomic.errors import DynatomicError
from dynatomic.kafka.client import PURGED
from dynatomic.kafka.replaceable import ReplaceableClient

log = logging.getLogger(__name__)

RETRY_S = 1.0
PURGE_S = 1.0

_NOT_DELIVERED_IN_TIME = KafkaError._MSG_TIMED_OUT  # noqa: SLF001 - no broker took it in delivery.timeout.ms

OnStored = Callable[[], None]
IsWanted = Callable[[], bool]


class Producer(Protocol):
    """What is used of ``confluent_kafka.Producer``."""

    @property
    def produce(self) -> Callable[..., None]:
        """Queue a message."""

    @property
    def purge(self) -> Callable[..., None]:
        """Give up what is not sent."""

    def poll(self, timeout: float) -> int:
        """Serve delivery reports."""

    def flush(self, timeout: float) -> int:
        """Serve delivery reports until none is left; return how many are."""


class DeadLetters:
    """Stores letters and says when each is known to be in the topic.

    One thread owns it, and calls `poll` often. ``pending`` and ``pending_bytes`` are what waits.
    ``topic_id`` is that of the topic that the events come from. A producer whose messages no
    broker takes is made anew.
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

    def store(self, item: DeadLetter, on_stored: OnStored, wanted: IsWanted = lambda: True) -> None:
        """Send a letter; ``on_stored`` is called by `poll` once the topic has it.

        One that failed is not sent again once ``wanted`` says no: its partition has been lost.
        """
        self.pending += 1
        self.pending_bytes += item.size
        self._send(item, on_stored, wanted)

    def poll(self, timeout_s: float = 0.0) -> None:
        """Serve deliveries, and send again what failed.

        Raises DynatomicError when the producer has failed for good: nothing more is committed.
        """
        now = self._clock()
        while self._retries and self._retries[0][0] <= now:
            _, item, on_stored, wanted = self._retries.popleft()
            if wanted():
                self._send(item, on_stored, wanted)
            else:
                self._release(item)
        try:
            if self._serve_deliveries(timeout_s):
                self._producer.discard()
                self._no_broker_answers = False
        except (
            KafkaException,
            SystemError,
        ) as error:  # what a fatal error of a producer looks like
            raise DynatomicError(
                f"the producer of topic {self._topic} failed for good ({error}); start it again"
            ) from None

    def _serve_deliveries(self, timeout_s: float) -> bool:
        """Serve deliveries; tell whether the producer is to go, and has reported all messages."""
        producer = self._producer.current
        if producer is None:
            return False
        producer.poll(timeout_s)
        if self._no_broker_answers:
            producer.purge()
        return self._no_broker_answers and not producer.flush(PURGE_S)

    def _release(self, item: DeadLetter) -> None:
        self.pending -= 1
        self.pending_bytes -= item.size

    def _send(self, item: DeadLetter, on_stored: OnStored, wanted: IsWanted) -> None:
        where = (item.topic, str(item.partition), str(item.offset))
        values = (*where, item.reason, item.detail, self._group)
        own = [(name, text.encode()) for name, text in zip(HEADERS, values, strict=True)]
        if self._topic_id is not None:
            own.append((TOPIC_ID, self._topic_id.encode()))

        def delivered(error: KafkaError | None, _message: Any) -> None:
            if error is not None:
                self._no_broker_answers = (
                    self._no_broker_answers or error.code() == _NOT_DELIVERED_IN_TIME
                )
                known = self.last_error if error.code() in PURGED else None
                self._failed(item, on_stored, wanted, known or error.name())
                return
            self._release(item)
            self.last_error = None
            on_stored()

        try:
            self._producer.get().produce(
                self._topic,
                key=item.key,
                value=item.value,
                headers=[*item.headers, *own],
                on_delivery=delivered,
            )
        except BufferError:
            self._failed(item, on_stored, wanted, "queue full")
        except KafkaException as error:
            self._failed(item, on_stored, wanted, error.args[0].name())
        except DynatomicError as error:  # a new producer could not be made
            self._failed(item, on_stored, wanted, str(error))

    def _failed(self, item: DeadLetter, on_stored: OnStored, wanted: IsWanted, cause: str) -> None:
        if self.last_error is None:
            log.error(
                "dead-letter topic refuses",
                extra={"fields": {"topic": self._topic, "cause": cause, "hint": _hint(cause)}},
            )
        self.last_error = cause
        self._retries.append((self._clock() + RETRY_S, item, on_stored, wanted))


def _hint(cause: str) -> str:
    if "SIZE" in cause:
        return "raise max.message.bytes of the dead-letter topic"
    if "AUTHORIZATION" in cause:
        return "allow Write on the dead-letter topic"
    return "check the dead-letter topic and the brokers; nothing is committed until it takes rows"


class LetterStore(Protocol):
    """What the worker uses of `DeadLetters`."""

    @property
    def pending(self) -> int:
        """How many letters are not known to be in the topic."""

    @property
    def pending_bytes(self) -> int:
        """Their bytes."""

    @property
    def last_error(self) -> str | None:
        """Why the topic does not take them."""

    def store(self, item: DeadLetter, on_stored: OnStored, wanted: IsWanted, /) -> None:
        """Send a letter."""

    def poll(self, timeout_s: float = 0.0, /) -> None:
        """Serve deliveries."""
