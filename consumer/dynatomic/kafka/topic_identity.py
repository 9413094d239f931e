"""Whether a topic still is the one that is read: a new topic can have its name, not its id.

When a topic is deleted and created again, librdkafka continues at its position and skips the events
below it. So the topic's id (KIP-516) is requested after the last event of a window was read and
before the window is written. If it is unchanged, all events of the window are from this topic.
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

MOVE_GUIDE = "docs/how-to/move-a-topic.md"
"""What to read where the topic is another one than the group counted."""

AskTopicId = Callable[[], "Future[str | None]"]
"""Requests the topic's id from the brokers, without waiting for the answer."""


def topic_id_source(admin: ReplaceableClient[AdminClient], topic: str) -> AskTopicId:
    """Return the function that requests the id of a topic."""

    def ask() -> "Future[str | None]":
        answer: Future[str | None] = Future()

        def done(described: "Future[Any]") -> None:
            try:
                if not answered(described.exception()):
                    admin.discard()
                answer.set_result(hex_id(described.result()))
            except BaseException as error:  # noqa: BLE001 - `poll` raises it
                answer.set_exception(error)

        try:
            client = admin.get()
        except DynatomicError as error:  # such as credentials that are missing for a moment
            answer.set_exception(error.with_traceback(None))
            return answer
        futures = client.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT_S)
        futures[topic].add_done_callback(done)
        return answer

    return ask


class TopicIdCheck:
    """Confirms that a topic still has its id, with one request at a time.

    Brokers before Kafka 2.8 have no topic ids (``topic_id`` None): every check is confirmed.
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
        """Return the number of the next request, for `confirmed`."""
        self._wanted = self._started + 1
        return self._wanted

    def confirmed(self, check_number: int) -> bool:
        """Return whether a request that started after `check_number` returned confirmed the id."""
        return self.topic_id is None or check_number <= self._confirmed

    @property
    def pending(self) -> bool:
        """Whether a request is in flight."""
        return self._asked is not None

    def poll(self, on_done: Callable[[object], None]) -> None:
        """Process the answer of a request, and start the next one if it is needed.

        Raises DynatomicError if the topic has another id.
        """
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
        if (current_id := asked.result()) != self.topic_id:
            raise DynatomicError(
                f"topic {self._topic!r} was deleted and created again while it was read (id "
                f"{self.topic_id}, now {current_id}): no event of the new topic was counted, and "
                "events of the old one that were read but not written are lost; start the "
                "consumer again, and if a partition stops then, run `dynatomic offsets`"
            )
        self.last_error = None
        self._confirmed = self._started
