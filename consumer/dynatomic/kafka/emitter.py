"""The producer side: sends row events to the topic and confirms that they are stored.

::

    with Emitter("localhost:9092") as emit:
        emit(Row("page-views", "home"))
        emit(Row("bytes-served", "customer-7", "2026-01", incr=5120))

The key of a row's message is ``table/key``, or ``table/key/range`` if the row has a range, in UTF-8
(`encoder.message_key`). The partition is chosen by murmur2, as in Kafka's Java client. So all rows
of an item are in one partition and are summed into one write, also those of producers in other
languages that use the same key. No count depends on this: two items with the same message key (key
``a/b`` without a range, and key ``a`` with range ``b``) only share a partition.
"""

import atexit
import logging
import os
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from confluent_kafka import KafkaError, KafkaException

from dynatomic.config.settings import KafkaAuth, Settings, TlsVerification
from dynatomic.errors import DeliveryError
from dynatomic.events.encoder import Encoder
from dynatomic.events.row import Row
from dynatomic.kafka.client import PURGED, new_producer, producer_config, reason

log = logging.getLogger(__name__)

_MAX_REASONS = 3  # in one message
_ROWS_PER_POLL, _POLL_PAUSE_S = 256, 0.1
# poll and flush raise a fatal error. If it also broke a delivery report (see Emitter._polling), it
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


class Emitter:
    """Sends rows to a topic; the end of its ``with`` block confirms that all of them are stored.

    The producer is idempotent and waits for all in-sync replicas: a row is stored once, or
    reported. ``timeout_s`` bounds, in seconds, the confirmation of a row, a call while the queue is
    full, and the end of the block. ``properties`` are librdkafka's; ``kafka_auth`` and
    ``tls_verification`` are the settings of these names. ``producer`` replaces the producer in
    tests; it is not closed. All methods are thread-safe. An Emitter cannot be used after a
    ``fork`` (RuntimeError): create one in each process.

    Raises ConfigError for a property that is refused or unknown.
    """

    def __init__(  # noqa: PLR0913 - all but the first are for special cases
        self,
        bootstrap_servers: str = "localhost:9092",
        *,
        topic: str = "row-events",
        properties: Mapping[str, object] | None = None,
        timeout_s: float = 60.0,
        kafka_auth: KafkaAuth = "properties",
        tls_verification: TlsVerification = "required",
        producer: Producing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        given = {name: _text(value) for name, value in (properties or {}).items()}
        settings = Settings(
            bootstrap_servers=bootstrap_servers,
            topic=topic,
            kafka_auth=kafka_auth,
            tls_verification=tls_verification,
            librdkafka={"delivery.timeout.ms": str(int(timeout_s * 1000)), **given},
        )
        config = producer_config(settings)
        self._producer: Any = new_producer(config) if producer is None else producer
        self._topic = topic
        self._timeout_s = timeout_s
        self._clock = clock
        self._process = os.getpid()
        self._closed = False
        atexit.register(self._close_at_exit)
        self._counting = threading.Lock()
        # Locked around poll and flush, so that one callback runs at a time. The callback itself
        # takes no lock: after a fatal error the client calls it with a pending exception, which
        # breaks a ``with`` statement between acquire and release.
        self._polling = threading.Lock()
        self._emitted = 0
        self._confirmed = 0
        self._failed: Counter[str] = Counter()
        self._reported = 0
        self._encoder = Encoder()
        self._next_poll = 0.0
        self._on_delivery = self._delivered  # looked up once, not for each row

    @property
    def confirmed(self) -> int:
        """How many rows are confirmed to be in the topic so far."""
        return self._confirmed

    def __call__(self, row: Row) -> None:
        """Queue one row; raises RowError if no consumer could count it.

        The row is queued, not stored, when this returns: `flush`, or the end of the block, confirms
        that. Raises DeliveryError if the queue stayed full for ``timeout_s`` seconds.
        """
        value, key = self._encoder.message(row)
        if self._closed or os.getpid() != self._process:
            self._usable()
        try:
            try:
                self._produce(value, key)
            except BufferError:
                self._produce_when_room(value, key)
            # Often enough to report failures soon; a poll costs as much as all other work.
            if self._emitted % _ROWS_PER_POLL == 0 or self._clock() >= self._next_poll:
                self._next_poll = self._clock() + _POLL_PAUSE_S
                self._poll(0)
        except _BROKEN as error:
            raise DeliveryError(
                f"the producer of topic {self._topic!r} takes no rows: {reason(error)}"
            ) from None

    def _produce(self, value: bytes, key: bytes) -> None:
        self._producer.produce(self._topic, value, key, on_delivery=self._on_delivery)
        with self._counting:
            self._emitted += 1

    def _produce_when_room(self, value: bytes, key: bytes) -> None:
        deadline = self._clock() + self._timeout_s
        while (left_s := deadline - self._clock()) > 0:
            self._poll(min(0.1, left_s))
            try:
                self._produce(value, key)
            except BufferError:
                continue
            return
        raise DeliveryError(
            f"a row was not sent to topic {self._topic!r}: the queue stayed full for "
            f"{self._timeout_s:g} s; check the brokers, or raise queue.buffering.max.messages"
        )

    def _poll(self, timeout_s: float) -> None:
        if self._polling.acquire(timeout=timeout_s):
            try:
                self._producer.poll(timeout_s)
            finally:
                self._polling.release()

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is None:
            self._confirmed += 1
            return
        what = "not confirmed in time" if error.code() in PURGED else reason(error)
        partition = message.partition()
        known = partition is not None and partition >= 0
        self._failed[f"{what} (partition {partition})" if known else what] += 1

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait up to ``timeout_s`` seconds until every row is stored.

        Raises DeliveryError with the number of rows since the last flush that are not confirmed,
        and the reasons. These rows are discarded: none of them is sent later.
        """
        self._usable()
        with self._polling:
            fatal = self._flush(self._timeout_s if timeout_s is None else timeout_s)
            failed, self._failed = self._failed, Counter()
            if fatal:
                # The producer does not report the rest any more.
                failed[fatal] += self._emitted - self._confirmed - self._reported - failed.total()
            self._reported += failed.total()
        if failed.total():
            raise self._not_stored(failed)
        if fatal:
            raise DeliveryError(f"the producer of topic {self._topic!r} failed: {fatal}")

    def _flush(self, timeout_s: float) -> str:
        """Empty the queue; return the producer's fatal error, or an empty text."""
        fatal = ""
        try:
            unconfirmed = self._producer.flush(timeout_s)
        except _BROKEN as error:
            fatal, unconfirmed = reason(error), 1
        if unconfirmed:
            self._producer.purge()
            self._producer.flush(1.0)  # serves the delivery reports of the purged messages
        return fatal

    def _not_stored(self, failed: Counter[str]) -> DeliveryError:
        reasons = ", ".join(f"{count}: {what}" for what, count in failed.most_common(_MAX_REASONS))
        more = ", ..." if len(failed) > _MAX_REASONS else ""
        return DeliveryError(
            f"{failed.total()} of {self._emitted} rows are not confirmed to be in topic "
            f"{self._topic!r} ({reasons}{more}); if you emit them again, those that had arrived "
            "count twice"
        )

    def close(self) -> None:
        """Flush, and accept no more rows. Raises as `flush` does."""
        if not self._closed:
            try:
                self.flush()
            finally:
                self._closed = True
                atexit.unregister(self._close_at_exit)

    def _close_at_exit(self) -> None:
        """Flush an Emitter that was not closed: its rows would be lost without a message."""
        if self._closed or os.getpid() != self._process:
            return
        try:
            self.close()
        except DeliveryError as error:
            log.error("events not delivered", extra={"fields": {"cause": str(error)}})  # noqa: TRY400 - one line
        warnings.warn(
            f"an Emitter of topic {self._topic!r} was not closed: use a `with` block or close()",
            ResourceWarning,
            source=self,
            stacklevel=2,
        )

    def _usable(self) -> None:
        if self._closed:
            raise RuntimeError("this Emitter is closed: make another one")
        if os.getpid() != self._process:
            raise RuntimeError("this Emitter belongs to the parent process: make one after fork")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            self.close()
        except DeliveryError as undelivered:
            if error is None:
                raise
            # The caller must see the error of the block itself.
            error.add_note(str(undelivered))
            fields = {"cause": str(undelivered)}
            log.error("events not delivered", extra={"fields": fields})  # noqa: TRY400 - one line


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
