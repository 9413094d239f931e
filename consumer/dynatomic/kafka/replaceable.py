"""A Kafka client that is made anew once it may have lost its brokers.

A broker that has just started names no broker, not even itself, until the controller unfences it.
librdkafka (2.10 to 2.16, reported there as #5301) then forgets every broker it knew, those of
``bootstrap.servers`` too, and never connects again. A new client begins there.
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
    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001 - a broker that lacks what was asked for
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
)


def code_of(error: BaseException | None) -> KafkaError | None:
    """Return what Kafka or its client said, None for any other error."""
    found = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return found if isinstance(found, KafkaError) else None


def answered(error: BaseException | None) -> bool:
    """Return whether a broker said so: codes below 0 are librdkafka's own, but for a few."""
    code = code_of(error)
    return error is None or (code is not None and (code.code() >= 0 or code.code() in _ANSWERED))


def has_brokers(client: Any, topic: str, timeout_s: float = 5.0) -> bool:
    """Return whether any broker answers this client about a topic, within some seconds."""
    try:
        client.list_topics(topic, timeout=timeout_s)
    except KafkaException as error:
        return answered(error)
    return True


class ReplaceableClient(Generic[Client_co]):
    """Keeps one client at a time; one thread at a time may use it.

    ``make`` returns a client. One that is given up ends with the last reference to it, on a thread
    of its own, for librdkafka may wait there for what it has on its way.
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
        """Return the client, a new one after `discard`.

        Raises what ``make`` raises; a DynatomicError again for `RETRY_S` seconds without trying.
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
        """Let the client go; ``current`` is None until the next `get`."""
        old, self.current = [self.current], None
        if old[0] is not None:
            Thread(target=old.clear, name="give-up", daemon=True).start()
