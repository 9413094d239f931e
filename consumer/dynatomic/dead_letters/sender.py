"""Putting dead letters back on their topic, in Kafka transactions.

A transaction holds the rows of some letters and, in the dead-letter topic, the notes that they were
replayed (`topic`). Consumers read committed messages only, so whenever this process ends,
either all of it is there or nothing. The transactional id is one for each dead-letter topic: a
second replay that starts ends the transaction of the first, and shuts it out. Within a transaction
the consumers of the rows' partitions wait: if the process is killed, for `TRANSACTION_S` at most.

Needs the permissions Write on both topics, and Write and Describe on the transactional id.

librdkafka's mock cluster, the embedded default, ends a transaction with a record whose checksum is
wrong, and a consumer that checks gets no further. There, and only there, rows are sent without one
(`Plain`), the notes behind them: killed between the two, a replay sends those rows again.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.letter import Headers
from dynatomic.dead_letters.topic import MAX_OFFSETS_IN_NOTE, Source, StoredLetter, note
from dynatomic.errors import ConfigError, DeliveryError, DynatomicError, UnavailableError
from dynatomic.kafka.client import DENIED, PURGED, new_producer, producer_config, reason

REPLAY = "dynatomic.replay"
"""The header of a row that was put back: partition and offset where it stood at first."""

MAX_BYTES = 8 * 1024 * 1024
TRANSACTION_S = 30.0

_MOCK = "mockCluster"
_TIMED_OUT = KafkaError(KafkaError.REQUEST_TIMED_OUT, None, False, True)
_FENCED = (
    KafkaError._FENCED,  # noqa: SLF001 - librdkafka's own codes have no public names in Python
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
)
_ID_DENIED = KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


def transactional_id(settings: Settings) -> str:
    """Return the id that all replays of a dead-letter topic share."""
    return f"{settings.dead_letters}.replay"


def sender_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of the producer that replays."""
    within = str(int(TRANSACTION_S * 1000))
    return producer_config(settings) | {
        "transactional.id": transactional_id(settings),
        "transaction.timeout.ms": within,
        "delivery.timeout.ms": within,
    }


def make_sender(settings: Settings, consumer: Consumer, partitions: int) -> "Sender":
    """Return what replays; ``consumer`` is asked which cluster it is. Raises as `Sender` does."""
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
    """A producer for brokers without transactions, with the methods of one that has them."""

    def __init__(self, producer: Any) -> None:
        self.produce, self.poll, self.flush = producer.produce, producer.poll, producer.flush
        self._purge = producer.purge

    def init_transactions(self, timeout: float) -> None:
        """Do nothing."""

    def begin_transaction(self) -> None:
        """Do nothing."""

    def commit_transaction(self, timeout: float) -> None:
        """Wait until all is delivered or has failed, which `Sender` looks at."""
        if self.flush(timeout):
            raise KafkaException(_TIMED_OUT)

    def abort_transaction(self, timeout: float) -> None:
        """Give up what is not sent yet."""
        self._purge()
        self.flush(timeout)


class Sender:
    """Replays letters with a transactional producer; ``sent`` is how many are known to be there.

    ``partitions`` is how many the topic has. When it is made, every other replay of the dead-letter
    topic has ended: what is read of it from now on has all their notes. Raises ConfigError,
    UnavailableError or DynatomicError; after that nothing more may be sent.
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
            self._again(producer.init_transactions)
        except KafkaException as error:
            raise self._error(error.args[0]) from None

    def add(self, item: StoredLetter) -> None:
        """Replay a letter, with some others, before `flush` returns."""
        self._batch.append(item)
        self._bytes += item.letter.size
        if len(self._batch) >= MAX_OFFSETS_IN_NOTE or self._bytes >= MAX_BYTES:
            self.flush()

    def flush(self) -> None:
        """Replay all that were added."""
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
        # Where there is no transaction, rows go first.
        if self._producer.flush(self._timeout_s):
            raise KafkaException(_TIMED_OUT)
        self._check_delivered()
        # Beside each letter's own partition, so that it does not go before the letter does.
        for number in {item.partition: None for item in batch}:
            sources: dict[Source, list[int]] = {}
            for item in batch:
                if item.partition == number:
                    sources.setdefault(item.source, []).append(item.letter.offset)
            self._produce(self._settings.dead_letters, number, None, None, note(sources))
        self._again(self._producer.commit_transaction)
        self._check_delivered()

    def _produce_row(self, item: StoredLetter) -> None:
        row = item.letter
        # The partition it was in, where the other rows of its item are; by its key if there is
        # no such partition any more.
        number = row.partition if row.partition < self._partitions else -1
        headers = [(name, value) for name, value in row.headers if name != REPLAY]
        place = (REPLAY, f"{row.partition}:{row.offset}".encode())
        self._produce(row.topic, number, row.key, row.value, [*headers, place])

    def _produce(
        self, topic: str, number: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> None:
        deadline = self._clock() + self._timeout_s
        while True:
            try:
                self._producer.produce(
                    topic,
                    partition=number,
                    key=key,
                    value=value,
                    headers=list(headers),
                    on_delivery=self._delivered,
                )
            except BufferError:
                if self._clock() >= deadline:
                    raise UnavailableError(f"topic {topic!r} took no row; {self._left()}") from None
                self._producer.poll(0.1)
            else:
                return

    def _delivered(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None and error.code() not in PURGED:  # those follow from another error
            self._failed = self._failed or error

    def _check_delivered(self) -> None:
        if self._failed is not None:
            raise KafkaException(self._failed)

    def _again(self, call: Callable[[float], None]) -> None:
        """Call what waits for the brokers until it succeeds, within the bound."""
        deadline = self._clock() + self._timeout_s
        while True:
            try:
                return call(max(0.1, deadline - self._clock()))
            except KafkaException as error:
                if not error.args[0].retriable() or self._clock() >= deadline:
                    raise

    def _abort(self) -> None:
        # The brokers abort it by themselves in time; this lets the consumers go on now.
        with suppress(KafkaException):  # the error that came before is told
            self._producer.abort_transaction(5.0)

    def _left(self) -> str:
        return f"{self.sent:,} letters are known to be replayed; repeat it for the rest, none twice"

    def _error(self, error: KafkaError) -> DynatomicError:
        code = error.code()
        if code in _FENCED:
            return DynatomicError(
                f"another replay of {self._settings.dead_letters} has taken over; {self._left()}"
            )
        if code == _ID_DENIED:
            return ConfigError(
                f"the transactional id {transactional_id(self._settings)!r} is denied; allow Write "
                f"and Describe on it; {self._left()}"
            )
        if code in DENIED:
            return ConfigError(
                f"topic {self._settings.topic!r} or {self._settings.dead_letters!r} may not be "
                f"written; allow Write on both; {self._left()}"
            )
        if code == KafkaError.INVALID_RECORD:
            return ConfigError(
                f"topic {self._settings.topic!r} or {self._settings.dead_letters!r} takes no "
                "message without a key: set cleanup.policy=delete on it; "
                f"{self._left()}"
            )
        what = f"no more letters replayed ({reason(error)}); {self._left()}"
        return UnavailableError(what) if error.retriable() else DeliveryError(what)


def _cause(error: BaseException) -> KafkaError:
    """Return what the client says; a fatal error of it breaks into delivery reports, and is theirs.

    Raises the error itself where the client had no part in it.
    """
    cause = error if isinstance(error, KafkaException) else error.__cause__
    if not isinstance(cause, KafkaException):
        raise error
    found: KafkaError = cause.args[0]
    return found
