"""Sends dead letters to their topic again, in Kafka transactions.

A transaction has the rows of some letters and, in the dead-letter topic, the notes that they were
replayed (`topic`). Consumers read committed messages only, so they see all of a transaction or
nothing, also if this process is killed. Each dead-letter topic has one transactional id: a second
replay aborts the transaction of the first and fences its producer. During a transaction the
consumers of the rows' partitions wait. If the process is killed, they wait for `TRANSACTION_S`
seconds at most.

This needs Write on both topics, and Write and Describe on the transactional id.

The mock cluster of librdkafka, which is the embedded default, ends a transaction with a record that
has a wrong checksum, and a consumer that checks it cannot read on. Only there, rows are sent
without a transaction (`NonTransactionalProducer`), followed by the notes. If the process is killed
between them, a later replay sends these rows again.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.letter import DeadLetter
from dynatomic.dead_letters.notes import MAX_OFFSETS_IN_NOTE, note_of
from dynatomic.dead_letters.topic import StoredLetter
from dynatomic.errors import ConfigError, DeliveryError, DynatomicError, UnavailableError
from dynatomic.kafka.client import DENIED, PURGED, new_producer, producer_config, reason
from dynatomic.kafka.replayed import COUNTERS, REPLAY, TIMESTAMP, Headers

MAX_BYTES = 8 * 1024 * 1024
TRANSACTION_S = 30.0

_MOCK = "mockCluster"
_TIMED_OUT = KafkaError(KafkaError.REQUEST_TIMED_OUT, None, False, True)
_FENCED = (
    KafkaError._FENCED,  # noqa: SLF001 - it has no public name
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
)
_ID_DENIED = KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


def transactional_id(settings: Settings) -> str:
    """Return the transactional id of all replays of this dead-letter topic."""
    return f"{settings.dead_letters}.replay"


def sender_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of the producer that replays letters."""
    within = str(int(TRANSACTION_S * 1000))
    return producer_config(settings) | {
        "transactional.id": transactional_id(settings),
        "transaction.timeout.ms": within,
        "delivery.timeout.ms": within,
    }


def make_sender(settings: Settings, consumer: Consumer, partitions: int) -> "Sender":
    """Return the sender for this cluster; ``consumer`` is a client of it. Raises as `Sender`."""
    try:
        cluster = consumer.list_topics(settings.topic, timeout=10.0).cluster_id or ""
    except KafkaException as error:
        raise UnavailableError(f"topic {settings.topic!r}: {reason(error)}; try again") from None
    if cluster.startswith(_MOCK):
        return Sender(
            NonTransactionalProducer(new_producer(producer_config(settings))), settings, partitions
        )
    return Sender(new_producer(sender_config(settings)), settings, partitions)


class NonTransactionalProducer:
    """A producer for brokers without transactions, with the methods of a transactional one."""

    def __init__(self, producer: Any) -> None:
        self.produce, self.poll, self.flush = producer.produce, producer.poll, producer.flush
        self._purge = producer.purge

    def init_transactions(self, timeout: float) -> None:
        """Do nothing."""

    def begin_transaction(self) -> None:
        """Do nothing."""

    def commit_transaction(self, timeout: float) -> None:
        """Wait until every message is delivered or has failed; `Sender` checks which."""
        if self.flush(timeout):
            raise KafkaException(_TIMED_OUT)

    def abort_transaction(self, timeout: float) -> None:
        """Discard the messages that are not sent."""
        self._purge()
        self.flush(timeout)


class Sender:
    """Replays letters with a transactional producer; ``sent`` is how many are known to be replayed.

    ``partitions`` is the number of partitions of the topic. The constructor ends every other replay
    of the dead-letter topic, so a reader that starts after it sees all their notes. Methods raise
    ConfigError, UnavailableError or DynatomicError; after that, nothing more may be sent.
    """

    def __init__(
        self,
        producer: Any,
        settings: Settings,
        partitions: int,
        *,
        timeout_s: float = TRANSACTION_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sent = 0
        self._producer = producer
        self._settings = settings
        self._partitions = partitions
        self._timeout_s = timeout_s
        self._clock = clock
        self._batch: list[StoredLetter] = []
        self._bytes = 0
        self._failed: KafkaError | None = None
        try:
            self._call_until_done(producer.init_transactions)
        except KafkaException as error:
            raise self._error(error.args[0]) from None

    def add(self, stored: StoredLetter) -> None:
        """Add a letter to the batch, and replay the batch when it is full."""
        self._batch.append(stored)
        self._bytes += stored.letter.size
        if len(self._batch) >= MAX_OFFSETS_IN_NOTE or self._bytes >= MAX_BYTES:
            self.flush()

    def flush(self) -> None:
        """Replay all letters that were added."""
        if not self._batch:
            return
        try:
            self._transaction(self._batch)
        except (KafkaException, SystemError) as error:
            self._abort()
            raise self._error(self._failed or _cause(error)) from None
        except BaseException:
            self._abort()
            raise
        self.sent += len(self._batch)
        self._batch, self._bytes = [], 0

    def _transaction(self, batch: Sequence[StoredLetter]) -> None:
        self._failed = None
        self._producer.begin_transaction()
        for item in batch:
            self._produce_row(item)
        # Without transactions, the rows must be stored before the notes.
        if self._producer.flush(self._timeout_s):
            raise KafkaException(_TIMED_OUT)
        self._check_delivered()
        # A note goes to the partition of its letters, so that retention removes the letters first.
        for partition in {stored.partition: None for stored in batch}:
            note = note_of(stored for stored in batch if stored.partition == partition)
            self._produce(self._settings.dead_letters, partition, None, None, note)
        self._call_until_done(self._producer.commit_transaction)
        self._check_delivered()

    def _produce_row(self, stored: StoredLetter) -> None:
        row = stored.letter
        # The original partition has the other rows of the item. If the topic has fewer partitions
        # now, the producer chooses one by the key.
        partition = row.partition if row.partition < self._partitions else -1
        self._produce(row.topic, partition, row.key, row.value, replay_headers(row))

    def _produce(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> None:
        deadline = self._clock() + self._timeout_s
        while True:
            try:
                self._producer.produce(
                    topic,
                    partition=partition,
                    key=key,
                    value=value,
                    headers=list(headers),
                    on_delivery=self._delivered,
                )
            except BufferError:
                if self._clock() >= deadline:
                    raise UnavailableError(
                        f"topic {topic!r} took no row; {self._progress()}"
                    ) from None
                self._producer.poll(0.1)
            else:
                return

    def _delivered(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None and error.code() not in PURGED:  # PURGED follows another error
            self._failed = self._failed or error

    def _check_delivered(self) -> None:
        if self._failed is not None:
            raise KafkaException(self._failed)

    def _call_until_done(self, call: Callable[[float], None]) -> None:
        """Repeat a call until it succeeds, up to the time-out."""
        deadline = self._clock() + self._timeout_s
        while True:
            try:
                return call(max(0.1, deadline - self._clock()))
            except KafkaException as error:
                if not error.args[0].retriable() or self._clock() >= deadline:
                    raise

    def _abort(self) -> None:
        # The brokers abort it after the time-out. An abort now lets the consumers continue now.
        with suppress(KafkaException):  # the error before it is reported
            self._producer.abort_transaction(5.0)

    def _progress(self) -> str:
        return (
            f"{self.sent:,} letters are known to be replayed; "
            "run the command again for the rest, no letter is replayed twice"
        )

    def _error(self, error: KafkaError) -> DynatomicError:
        code = error.code()
        if code in _FENCED:
            return DynatomicError(
                f"another replay of {self._settings.dead_letters} has taken over; "
                f"{self._progress()}"
            )
        if code == _ID_DENIED:
            return ConfigError(
                f"the transactional id {transactional_id(self._settings)!r} is denied; allow Write "
                f"and Describe on it; {self._progress()}"
            )
        if code in DENIED:
            return ConfigError(
                f"topic {self._settings.topic!r} or {self._settings.dead_letters!r}: Write is "
                f"denied; allow Write on both; {self._progress()}"
            )
        if code == KafkaError.INVALID_RECORD:
            return ConfigError(
                f"topic {self._settings.topic!r} or {self._settings.dead_letters!r} accepts no "
                "message without a key: set cleanup.policy=delete on it; "
                f"{self._progress()}"
            )
        what = f"no more letters replayed ({reason(error)}); {self._progress()}"
        return UnavailableError(what) if error.retriable() else DeliveryError(what)


def replay_headers(letter: DeadLetter) -> list[tuple[str, bytes | None]]:
    """Return the headers of the event that is replayed: its own, and where it comes from."""
    ours = {REPLAY: f"{letter.partition}:{letter.offset}".encode()}
    if letter.timestamp_ms is not None:
        ours[TIMESTAMP] = str(letter.timestamp_ms).encode()
    if letter.counters is not None:
        ours[COUNTERS] = json.dumps(letter.counters).encode()
    names = {REPLAY, TIMESTAMP, COUNTERS} if REPLAY in dict(letter.headers) else {REPLAY}
    return [*((name, value) for name, value in letter.headers if name not in names), *ours.items()]


def _cause(error: BaseException) -> KafkaError:
    """Return the client's error, or the fatal error that broke a delivery report.

    Raises ``error`` itself if it did not come from the client.
    """
    cause = error if isinstance(error, KafkaException) else error.__cause__
    if not isinstance(cause, KafkaException):
        raise error
    kafka_error: KafkaError = cause.args[0]
    return kafka_error
