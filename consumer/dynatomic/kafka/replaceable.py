"""A Kafka client that is replaced when it may have lost its brokers.

The metadata of a broker that has just started lists no broker until the controller unfences it.
librdkafka (2.10 to 2.16, its issue 5301) then drops every broker that it knew, those of
``bootstrap.servers`` too, and never connects again. Only a new client does.
"""

import time
from collections.abc import Callable
from threading import Thread
from typing import Any, Generic, TypeVar

from confluent_kafka import KafkaError, KafkaException

from dynatomic.errors import DynatomicError

Client_co = TypeVar("Client_co", covariant=True)

RETRY_S = 1.0

_ANSWERED = (
    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001 - the broker lacks the requested API
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
)


def code_of(error: BaseException | None) -> KafkaError | None:
    """Return the error of Kafka or its client, None for any other exception."""
    code = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return code if isinstance(code, KafkaError) else None


def answered(error: BaseException | None) -> bool:
    """Return whether a broker answered; most codes below 0 come from librdkafka itself."""
    code = code_of(error)
    return error is None or (code is not None and (code.code() >= 0 or code.code() in _ANSWERED))


def has_brokers(client: Any, topic: str, timeout_s: float = 5.0) -> bool:
    """Return whether a broker answers this client within ``timeout_s`` seconds."""
    try:
        client.list_topics(topic, timeout=timeout_s)
    except KafkaException as error:
        return answered(error)
    return True


class ReplaceableClient(Generic[Client_co]):
    """Holds one client, which one thread at a time may use.

    ``make`` returns a new client. A discarded client is closed by its last reference, on a
    separate thread, because librdkafka can wait there for requests in flight.
    """

    def __init__(
        self, make: Callable[[], Client_co], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make = make
        self._clock = clock
        self._failed: DynatomicError | None = None
        self._not_before = 0.0
        self.current: Client_co | None = make()

    def get(self) -> Client_co:
        """Return the client; make a new one after `discard`.

        Raises what ``make`` raises. After a DynatomicError, raises the same error for `RETRY_S`
        seconds without another attempt.
        """
        if self.current is None:
            if self._failed is not None and self._clock() < self._not_before:
                raise self._failed.with_traceback(None)
            try:
                self.current, self._failed = self._make(), None
            except DynatomicError as error:
                self._failed, self._not_before = error, self._clock() + RETRY_S
                raise
        return self.current

    def discard(self) -> None:
        """Discard the client; ``current`` is None until the next `get`."""
        old, self.current = [self.current], None
        if old[0] is not None:
            Thread(target=old.clear, name="give-up", daemon=True).start()
