"""Sends messages by one producer, and keeps account of those that are not confirmed."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException

from dynatomic.errors import DeliveryError
from dynatomic.kafka.client import PURGED, reason

_MAX_REASONS = 3  # in one message
_PURGE_S = 10.0
_NOT_IN_TIME = "not confirmed in time"
# Reports are served often enough to know failures soon. A poll costs as much as all other work.
_MESSAGES_PER_POLL, _POLL_PAUSE_S = 256, 0.1
# poll and flush raise a fatal error. If it also broke a delivery report (see Delivery._polling), it
# is the cause of the exception that they raise.
_BROKEN = (KafkaException, SystemError)


class Producing(Protocol):
    """The methods of ``confluent_kafka.Producer`` that an Emitter calls."""

    def produce(self, topic: str, value: bytes, key: bytes, *, on_delivery: Any) -> None:
        """Queue one message; raises BufferError if the queue is full."""

    def poll(self, timeout: float) -> int:
        """Serve callbacks; wait up to ``timeout`` seconds for one."""

    def flush(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for all messages; return how many are not confirmed."""

    def purge(self) -> None:
        """Discard all messages that are not confirmed."""


class Receipt:
    """The outcome of one message, which a delivery report completes.

    ``on_complete`` is called then, in the thread that serves the reports.
    """

    def __init__(self, topic: str, on_complete: Callable[[], object] = lambda: None) -> None:
        self._topic = topic
        self._on_complete = on_complete
        self._error: KafkaError | None = None
        self.is_done = False
        self.is_given_up = False

    def complete(self, error: KafkaError | None) -> None:
        """Keep the outcome: an error, or None if the message is stored."""
        self._error, self.is_done = error, True
        self._on_complete()

    def check(self) -> None:
        """Return if the message is stored. Raises DeliveryError if it is not, or not yet."""
        if not self.is_done:
            self.is_given_up = True
            raise DeliveryError(
                f"a row is not confirmed to be in topic {self._topic!r} in time; it may still be "
                "stored, so that it counts twice if you emit it again"
            )
        if self._error is not None:
            raise DeliveryError(
                f"a row was not stored in topic {self._topic!r}: {reason(self._error)}"
            )


class Delivery:
    """The messages of one producer. Thread-safe.

    ``timeout_s`` bounds, in seconds, the wait for a full queue, and a flush.
    """

    def __init__(
        self, producer: Producing, topic: str, timeout_s: float, clock: Callable[[], float]
    ) -> None:
        self.producer: Any = producer
        self.topic = topic
        self._timeout_s = timeout_s
        self._clock = clock
        self._counting = threading.Lock()
        # Locked around poll and flush, so that one callback runs at a time. The callback itself
        # takes no lock: after a fatal error the client calls it with a pending exception, which
        # breaks a ``with`` statement between acquire and release.
        self._polling = threading.Lock()
        self._sent = 0
        self.confirmed = 0
        self._failed: Counter[str] = Counter()
        self._reported = 0
        self._next_poll = 0.0
        self._on_delivery = self._delivered  # looked up once, not for each message

    def send(self, value: bytes, key: bytes) -> None:
        """Queue a message. Raises DeliveryError if the queue stays full or the producer failed."""
        self._send(value, key, self._on_delivery)

    def try_send(self, value: bytes, key: bytes) -> bool:
        """Queue a message and return True, or return False if the queue is full."""
        return self._send(value, key, self._on_delivery, wait=False)

    def send_for(self, receipt: Receipt, value: bytes, key: bytes, *, wait: bool) -> bool:
        """Queue a message whose outcome the receipt gets, not `flush`.

        Returns False if the queue is full and it may not ``wait``.
        """

        def delivered(error: KafkaError | None, message: Any) -> None:
            if error is None or receipt.is_given_up:
                self._delivered(error, message)
            else:
                self._reported += 1
            receipt.complete(error)

        return self._send(value, key, delivered, wait=wait)

    def _send(self, value: bytes, key: bytes, on_delivery: Any, *, wait: bool = True) -> bool:
        try:
            if self._try(value, key, on_delivery):
                return True
            if wait:
                self._send_when_room(value, key, on_delivery)
        except _BROKEN as error:
            raise self._broken(error) from None
        return wait

    def _try(self, value: bytes, key: bytes, on_delivery: Any) -> bool:
        try:
            self.producer.produce(self.topic, value, key, on_delivery=on_delivery)
        except BufferError:
            self._poll(0)
            return False
        with self._counting:
            self._sent += 1
        if self._sent % _MESSAGES_PER_POLL == 0 or self._clock() >= self._next_poll:
            self._next_poll = self._clock() + _POLL_PAUSE_S
            self._poll(0)
        return True

    def _send_when_room(self, value: bytes, key: bytes, on_delivery: Any) -> None:
        deadline = self._clock() + self._timeout_s
        while (left_s := deadline - self._clock()) > 0:
            self._poll(min(0.1, left_s))
            if self._try(value, key, on_delivery):
                return
        raise DeliveryError(
            f"a row was not sent to topic {self.topic!r}: the queue stayed full for "
            f"{self._timeout_s:g} s; check the brokers, or raise queue.buffering.max.messages"
        )

    def poll(self, timeout_s: float = 0.0) -> None:
        """Serve delivery reports; wait up to ``timeout_s`` seconds for the first."""
        try:
            self._poll(timeout_s)
        except _BROKEN as error:
            raise self._broken(error) from None

    def _poll(self, timeout_s: float) -> None:
        if self._polling.acquire(timeout=timeout_s):
            try:
                self.producer.poll(timeout_s)
            finally:
                self._polling.release()

    def _broken(self, error: BaseException) -> DeliveryError:
        return DeliveryError(f"the producer of topic {self.topic!r} takes no rows: {reason(error)}")

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is None:
            self.confirmed += 1
            return
        what = _NOT_IN_TIME if error.code() in PURGED else reason(error)
        partition = message.partition()
        known = partition is not None and partition >= 0
        self._failed[f"{what} (partition {partition})" if known else what] += 1

    def lost(self, count: int, error: DeliveryError) -> None:
        """Count messages that could not be queued as failed, for the next `flush`."""
        with self._polling:
            self._sent += count
            self._failed[str(error)] += count

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until every message is stored. Raises DeliveryError for those that are not."""
        with self._polling:
            fatal = self._flush(self._timeout_s if timeout_s is None else timeout_s)
            failed, self._failed = self._failed, Counter()
            if fatal:
                # The producer does not report the rest any more.
                failed[fatal] += self._sent - self.confirmed - self._reported - failed.total()
            self._reported += failed.total()
        if failed.total():
            raise self._not_stored(failed)
        if fatal:
            raise DeliveryError(f"the producer of topic {self.topic!r} failed: {fatal}")

    def _flush(self, timeout_s: float) -> str:
        """Empty the queue; return the producer's fatal error, or an empty text."""
        fatal = ""
        try:
            unconfirmed = self.producer.flush(timeout_s)
        except _BROKEN as error:
            fatal, unconfirmed = reason(error), 1
        if unconfirmed:
            self.producer.purge()
            # The reports of discarded messages come at once, unless the machine is very busy.
            unreported = self.producer.flush(_PURGE_S)
            if unreported and not fatal:
                self._failed[_NOT_IN_TIME] += unreported
        return fatal

    def _not_stored(self, failed: Counter[str]) -> DeliveryError:
        reasons = ", ".join(f"{count}: {what}" for what, count in failed.most_common(_MAX_REASONS))
        more = ", ..." if len(failed) > _MAX_REASONS else ""
        return DeliveryError(
            f"{failed.total()} of {self._sent} rows are not confirmed to be in topic "
            f"{self.topic!r} ({reasons}{more}); if you emit them again, those that had arrived "
            "count twice"
        )
