"""A producer of dead letters that is replaced when no broker accepts its messages."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException

from dynatomic.dead_letters.letter import DeadLetter
from dynatomic.errors import DynatomicError
from dynatomic.kafka.replaceable import ReplaceableClient

PURGE_S = 1.0

_NOT_DELIVERED_IN_TIME = KafkaError._MSG_TIMED_OUT  # noqa: SLF001 - after delivery.timeout.ms

OnDelivery = Callable[[KafkaError | None], None]


class Producer(Protocol):
    """The methods of ``confluent_kafka.Producer`` that are called here."""

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


class LetterProducer:
    """Sends letters to the dead-letter topic. One thread owns it and calls `poll` often."""

    def __init__(self, producer: ReplaceableClient[Producer], topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._no_broker_answers = False

    def send(
        self, letter: DeadLetter, own: Sequence[tuple[str, bytes]], on_delivery: OnDelivery
    ) -> str | None:
        """Queue a letter with its own headers; return why the producer does not take it.

        `poll` calls ``on_delivery`` when the topic has a letter that was queued, or refused it.
        """

        def delivered(error: KafkaError | None, _message: Any) -> None:
            if error is not None and error.code() == _NOT_DELIVERED_IN_TIME:
                self._no_broker_answers = True
            on_delivery(error)

        try:
            self._producer.get().produce(
                self._topic,
                key=letter.key,
                value=letter.value,
                headers=[*letter.headers, *own],
                on_delivery=delivered,
            )
        except BufferError:
            return "queue full"
        except KafkaException as error:
            return str(error.args[0].name())
        except DynatomicError as error:  # a new producer could not be created
            return str(error)
        return None

    def poll(self, timeout_s: float) -> None:
        """Serve delivery reports, and replace a producer that has lost its brokers.

        Raises DynatomicError if the producer cannot continue.
        """
        try:
            if self._serve(timeout_s):
                self._producer.discard()
                self._no_broker_answers = False
        except (KafkaException, SystemError) as error:  # a fatal error of the producer
            raise DynatomicError(
                f"the producer of topic {self._topic} failed for good ({error}); start it again"
            ) from None

    def _serve(self, timeout_s: float) -> bool:
        """Serve delivery reports; return whether the producer must and can be replaced now."""
        producer = self._producer.current
        if producer is None:
            return False
        producer.poll(timeout_s)
        if self._no_broker_answers:
            producer.purge()
        return self._no_broker_answers and not producer.flush(PURGE_S)
