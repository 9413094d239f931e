"""The producer side: sends row events to the topic and confirms that they are stored.

::

    with Emitter("localhost:9092") as emit:
        emit(Row("page-views", "home"))
        emit(Row("bytes-served", "customer-7", range="2026-01", incr=5120))

The key of a row's message is ``table/key``, or ``table/key/range`` if the row has a range, in UTF-8
(`encoder.message_key`). The partition is chosen by murmur2, as in Kafka's Java client. So all rows
of an item are in one partition and are summed into one write, also those of producers in other
languages that use the same key. No count depends on this: two items with the same message key (key
``a/b`` without a range, and key ``a`` with range ``b``) only share a partition.
"""

import atexit
import logging
import os
import time
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from dynatomic.config.settings import KafkaAuth, Settings, TlsVerification
from dynatomic.errors import ConfigError, DeliveryError
from dynatomic.events.encoder import Encoder
from dynatomic.events.row import Row
from dynatomic.kafka.client import new_producer, producer_config
from dynatomic.kafka.delivery import Delivery, Producing, Receipt
from dynatomic.kafka.sums import Sums

log = logging.getLogger(__name__)

_MAX_SUM_MS = 60_000


class Emitter:
    """Sends rows to a topic; the end of its ``with`` block confirms that all of them are stored.

    The producer is idempotent and waits for all in-sync replicas: a row is stored once, or
    reported. ``timeout_s`` bounds, in seconds, the confirmation of a row, a call while the queue is
    full, and the end of the block. ``properties`` are librdkafka's; ``kafka_auth`` and
    ``tls_verification`` are the settings of these names. ``producer`` replaces the producer in
    tests; it is not closed. All methods are thread-safe. An Emitter cannot be used after a
    ``fork`` (RuntimeError): create one in each process.

    With ``sum_ms``, rows of one counter are summed in this process, and one row for each counter is
    sent after that many milliseconds, at `flush`, at `close`, and at the end of the process. It is
    off by default, because a process that is killed loses the rows of the last interval.

    Raises ConfigError for a property that is refused or unknown, or an invalid ``sum_ms``.
    """

    def __init__(  # noqa: PLR0913 - all but the first are for special cases
        self,
        bootstrap_servers: str = "localhost:9092",
        *,
        topic: str = "row-events",
        properties: Mapping[str, object] | None = None,
        timeout_s: float = 60.0,
        sum_ms: float | None = None,
        kafka_auth: KafkaAuth = "properties",
        tls_verification: TlsVerification = "required",
        producer: Producing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if sum_ms is not None and not 1 <= sum_ms <= _MAX_SUM_MS:
            raise ConfigError(f"sum_ms: {sum_ms} is out of range: use 1 to {_MAX_SUM_MS}")
        given = {name: _text(value) for name, value in (properties or {}).items()}
        settings = Settings(
            bootstrap_servers=bootstrap_servers,
            topic=topic,
            kafka_auth=kafka_auth,
            tls_verification=tls_verification,
            librdkafka={"delivery.timeout.ms": str(int(timeout_s * 1000)), **given},
        )
        config = producer_config(settings)
        self.topic = topic
        self.timeout_s = timeout_s
        self._clock = clock
        self._delivery = Delivery(
            new_producer(config) if producer is None else producer, topic, timeout_s, clock
        )
        self._encoder = Encoder()
        self._sums: Sums | None = None
        if sum_ms is not None:
            self._sums = Sums(self._send, self._lost, self._usable, sum_ms / 1000)
        self._process = os.getpid()
        self._closed = False
        atexit.register(self._close_at_exit)

    @property
    def confirmed(self) -> int:
        """How many messages are confirmed to be in the topic so far; each has one row or sum."""
        return self._delivery.confirmed

    def __call__(self, row: Row) -> None:
        """Queue one row; raises RowError if no consumer could count it.

        The row is queued, not stored, when this returns: `flush`, or the end of the block, confirms
        that. Raises DeliveryError if the queue stayed full for ``timeout_s`` seconds.
        """
        if self._sums is not None:
            self._sums.add(row)
            return
        if self._closed or os.getpid() != self._process:
            self._usable()
        self._delivery.send(*self._encoder.message(row))

    def try_emit(self, row: Row) -> bool:
        """Queue one row and return True, or return False where a call would wait for the queue."""
        self._usable()
        if self._sums is None:
            return self._delivery.try_send(*self._encoder.message(row))
        return self._sums.add(row, wait=False)

    def confirm(self, row: Row, timeout_s: float | None = None) -> None:
        """Queue one row, and return when it is stored. It is not summed.

        Raises DeliveryError if it is not stored, or not confirmed within ``timeout_s`` seconds.
        In the second case it may still be stored.
        """
        receipt = Receipt(self.topic)
        self.send_for(receipt, row)
        deadline = self._clock() + (self.timeout_s if timeout_s is None else timeout_s)
        while not receipt.is_done and (left_s := deadline - self._clock()) > 0:
            self.serve(min(0.1, left_s))
        receipt.check()

    def send_for(self, receipt: Receipt, row: Row, *, wait: bool = True) -> bool:
        """Queue one row whose outcome the receipt gets, when `serve` serves its report.

        Returns False if the queue is full and it may not ``wait``.
        """
        self._usable()
        return self._delivery.send_for(receipt, *self._encoder.message(row), wait=wait)

    def serve(self, timeout_s: float = 0.0) -> None:
        """Serve delivery reports; wait up to ``timeout_s`` seconds for the first."""
        self._delivery.poll(timeout_s)

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait up to ``timeout_s`` seconds until every row is stored.

        Raises DeliveryError with the number of rows since the last flush that are not confirmed,
        and the reasons. These rows are discarded: none of them is sent later.
        """
        self._usable()
        if self._sums is not None:
            self._sums.send()
        self._delivery.flush(timeout_s)

    def _send(self, row: Row) -> None:
        self._delivery.send(*self._encoder.message(row))

    def _lost(self, count: int, error: DeliveryError) -> None:
        self._delivery.lost(count, error)
        fields = {"cause": f"{count} sums: {error}"}
        log.error("events not delivered", extra={"fields": fields})

    def close(self) -> None:
        """Flush, and accept no more rows. Raises as `flush` does."""
        if not self._closed:
            self._usable()
            self._closed = True
            atexit.unregister(self._close_at_exit)
            if self._sums is not None:
                self._sums.close()
            self._delivery.flush()

    def _close_at_exit(self) -> None:
        """Flush an Emitter that was not closed: its rows would be lost without a message."""
        if self._closed or os.getpid() != self._process:
            return
        try:
            self.close()
        except DeliveryError as error:
            log.error("events not delivered", extra={"fields": {"cause": str(error)}})  # noqa: TRY400 - one line
        warnings.warn(
            f"an Emitter of topic {self.topic!r} was not closed: use a `with` block or close()",
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
