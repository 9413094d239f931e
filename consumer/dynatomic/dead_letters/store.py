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

from dynatomic.dead_letters.letter import HEADERS, TOPIC_ID, Letter
from dynatomic.errors import DynatomicError
from dynatomic.kafka.client import PURGED
from dynatomic.kafka.replaceable import Renewed

log = logging.getLogger(__name__)

RETRY_S = 1.0
PURGE_S = 1.0

_NOBODY = KafkaError._MSG_TIMED_OUT  # noqa: SLF001 - no broker took it in delivery.timeout.ms

Stored = Callable[[], None]
Wanted = Callable[[], bool]


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

    One thread owns it, and calls `poll` often. ``held`` and ``held_bytes`` are what waits.
    ``topic_id`` is that of the topic that the events come from. A producer whose messages no
    broker takes is made anew.
    """

    def __init__(
        self,
        producer: Renewed[Producer],
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
        self._again: deque[tuple[float, Letter, Stored, Wanted]] = deque()
        self._unheard = False
        self.held = 0
        self.held_bytes = 0
        self.trouble: str | None = None

    def store(self, item: Letter, on_stored: Stored, wanted: Wanted = lambda: True) -> None:
        """Send a letter; ``on_stored`` is called by `poll` once the topic has it.

        One that failed is not sent again once ``wanted`` says no: its partition has been lost.
        """
        self.held += 1
        self.held_bytes += item.size
        self._send(item, on_stored, wanted)

    def poll(self, timeout_s: float = 0.0) -> None:
        """Serve deliveries, and send again what failed.

        Raises DynatomicError when the producer has failed for good: nothing more is committed.
        """
        now = self._clock()
        while self._again and self._again[0][0] <= now:
            _, item, on_stored, wanted = self._again.popleft()
            if wanted():
                self._send(item, on_stored, wanted)
            else:
                self._release(item)
        try:
            if self._reported(timeout_s):
                self._producer.give_up()
                self._unheard = False
        except (
            KafkaException,
            SystemError,
        ) as error:  # what a fatal error of a producer looks like
            raise DynatomicError(
                f"the producer of topic {self._topic} failed for good ({error}); start it again"
            ) from None

    def _reported(self, timeout_s: float) -> bool:
        """Serve deliveries; tell whether the producer is to go, and has reported all messages."""
        producer = self._producer.current
        if producer is None:
            return False
        producer.poll(timeout_s)
        if self._unheard:
            producer.purge()
        return self._unheard and not producer.flush(PURGE_S)

    def _release(self, item: Letter) -> None:
        self.held -= 1
        self.held_bytes -= item.size

    def _send(self, item: Letter, on_stored: Stored, wanted: Wanted) -> None:
        where = (item.topic, str(item.partition), str(item.offset))
        values = (*where, item.reason, item.detail, self._group)
        own = [(name, text.encode()) for name, text in zip(HEADERS, values, strict=True)]
        if self._topic_id is not None:
            own.append((TOPIC_ID, self._topic_id.encode()))

        def delivered(error: KafkaError | None, _message: Any) -> None:
            if error is not None:
                self._unheard = self._unheard or error.code() == _NOBODY
                known = self.trouble if error.code() in PURGED else None
                self._failed(item, on_stored, wanted, known or error.name())
                return
            self._release(item)
            self.trouble = None
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

    def _failed(self, item: Letter, on_stored: Stored, wanted: Wanted, cause: str) -> None:
        if self.trouble is None:
            log.error(
                "dead-letter topic refuses",
                extra={"fields": {"topic": self._topic, "cause": cause, "hint": _hint(cause)}},
            )
        self.trouble = cause
        self._again.append((self._clock() + RETRY_S, item, on_stored, wanted))


def _hint(cause: str) -> str:
    if "SIZE" in cause:
        return "raise max.message.bytes of the dead-letter topic"
    if "AUTHORIZATION" in cause:
        return "allow Write on the dead-letter topic"
    return "check the dead-letter topic and the brokers; nothing is committed until it takes rows"


class Letters(Protocol):
    """What the worker uses of `DeadLetters`."""

    @property
    def held(self) -> int:
        """How many letters are not known to be in the topic."""

    @property
    def held_bytes(self) -> int:
        """Their bytes."""

    @property
    def trouble(self) -> str | None:
        """Why the topic does not take them."""

    def store(self, item: Letter, on_stored: Stored, wanted: Wanted, /) -> None:
        """Send a letter."""

    def poll(self, timeout_s: float = 0.0, /) -> None:
        """Serve deliveries."""
