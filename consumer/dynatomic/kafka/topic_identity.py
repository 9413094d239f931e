"""Whether a topic is still the one that is read: names come back, ids do not (KIP-516).

librdkafka goes on at its position when a topic is deleted and made again, and skips what stands
below it. So the id is asked again after the last event of a window was read and before the window
is written: where it is still the same, all its events are of this topic.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from dynatomic.errors import DynatomicError
from dynatomic.kafka.replaceable import ReplaceableClient, answered, code_of
from dynatomic.kafka.topics import hex_id

TIMEOUT_S = 10.0
RETRY_S = 0.5

AskTopicId = Callable[[], "Future[str | None]"]
"""Asks the brokers for the topic's id now, without waiting for the answer."""


def topic_id_source(admin: ReplaceableClient[AdminClient], topic: str) -> AskTopicId:
    """Return what asks for a topic's id."""

    def ask() -> "Future[str | None]":
        answer: Future[str | None] = Future()

        def done(described: "Future[Any]") -> None:
            try:
                if not answered(described.exception()):
                    admin.discard()
                answer.set_result(hex_id(described.result()))
            except BaseException as error:  # noqa: BLE001 - `poll` takes it in
                answer.set_exception(error)

        try:
            client = admin.get()
        except DynatomicError as error:  # credentials that are not there for a moment, say
            answer.set_exception(error.with_traceback(None))
            return answer
        found = client.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT_S)
        found[topic].add_done_callback(done)
        return answer

    return ask


class TopicIdCheck:
    """Confirms that a topic has the id that it had at the start, one question at a time.

    Without an id, of brokers before 2.8, all is taken for confirmed.
    """

    def __init__(
        self,
        topic: str,
        topic_id: str | None,
        ask: AskTopicId,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.topic_id = topic_id
        self.last_error: str | None = None
        self._topic = topic
        self._ask = ask
        self._clock = clock
        self._asked: Future[str | None] | None = None
        self._not_before = 0.0
        self._wanted = self._started = self._confirmed = 0

    def check_number(self) -> int:
        """Return what `confirmed` takes: the number of the next question."""
        self._wanted = self._started + 1
        return self._wanted

    def confirmed(self, ticket: int) -> bool:
        """Tell whether a question that was asked after the ticket was given confirmed the id."""
        return self.topic_id is None or ticket <= self._confirmed

    @property
    def pending(self) -> bool:
        """Whether an answer is on its way."""
        return self._asked is not None

    def poll(self, on_done: Callable[[object], None]) -> None:
        """Take in an answer, and ask where one is wanted. Raises DynatomicError for another id."""
        self._take()
        wanted = self.topic_id is not None and self._confirmed < self._wanted
        if wanted and self._asked is None and self._clock() >= self._not_before:
            self._started += 1
            self._asked = self._ask()
            self._asked.add_done_callback(on_done)
            self._take()

    def _take(self) -> None:
        asked = self._asked
        if asked is None or not asked.done():
            return
        self._asked = None
        error = asked.exception()
        if isinstance(error, KafkaException | DynatomicError):
            code = code_of(error)
            self.last_error = code.name() if code is not None else str(error)
            self._not_before = self._clock() + RETRY_S
            return
        if error is not None:
            raise error
        if (found := asked.result()) != self.topic_id:
            raise DynatomicError(
                f"topic {self._topic!r} was deleted and made again while it was read (id "
                f"{self.topic_id}, now {found}): nothing of the new one was counted, and what was "
                "read but not written of the old one is lost; start it again, and if a partition "
                "stops then, `dynatomic offsets` has the way on"
            )
        self.last_error = None
        self._confirmed = self._started
