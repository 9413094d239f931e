"""Whether the group has this member, where the group protocol does not say so.

With the group protocol 'consumer' (KIP-848) librdkafka reports an assignment only if it has a
partition. So a member without a partition looks like one that never joined: librdkafka sends
nothing at all to brokers without the protocol, and reports no error (seen with Kafka 3.9). The
description of the group shows which of the two is true.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, DynatomicError
from dynatomic.kafka.groups import GroupDescription
from dynatomic.worker.loop import Worker

INTERVAL_S = 3.0
MISSING_AFTER_S = 15.0
"""How long the brokers must describe the group without this member. A join takes a second or two,
and librdkafka tries again after an error."""

Describe = Callable[[], GroupDescription | None]


class MembershipCheck:
    """Sets ``has_joined`` of a worker's progress as soon as the group is seen to have the member.

    Groups of the protocol 'classic' send each member its assignment, so there it does nothing.
    """

    def __init__(
        self,
        worker: Worker,
        settings: Settings,
        describe: Describe,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._settings = settings
        self._describe = describe
        self._clock = clock
        self._next_at = clock() + INTERVAL_S
        self._missing_since: float | None = None
        self._answer: Future[GroupDescription | None] | None = None

    def poll(self) -> DynatomicError | None:
        """Take an answer, and ask again if it is due; return the error to end with, if any."""
        progress = self._worker.progress
        is_known = progress.has_joined or bool(self._worker.partitions)
        if self._settings.group_protocol == "classic" or is_known:
            self._missing_since = None
            return None
        if self._answer is not None:
            if not self._answer.done():
                return None
            answer, self._answer = self._answer, None
            return self._take(answer)
        if self._clock() >= self._next_at and progress.brokers.is_answering:
            self._next_at = self._clock() + INTERVAL_S
            self._answer = self._ask()
        return None

    def _ask(self) -> "Future[GroupDescription | None]":
        answer: Future[GroupDescription | None] = Future()

        def ask() -> None:
            try:
                answer.set_result(self._describe())
            except BaseException as error:  # noqa: BLE001 - `_take` reads it from the future
                answer.set_exception(error)

        Thread(target=ask, name="membership", daemon=True).start()
        return answer

    def _take(self, answer: "Future[GroupDescription | None]") -> DynatomicError | None:
        error = answer.exception()
        if isinstance(error, ConfigError):
            return error
        if error is not None and not isinstance(error, DynatomicError):
            raise error
        group = None if error is not None else answer.result()
        own = self._worker.consumer.memberid()
        if group is not None and own in {member.consumer_id for member in group.members}:
            self._worker.progress.has_joined = True
        # Nothing is known without an answer. In a group of this protocol it can join later.
        elif group is not None and group.protocol == "classic":
            return self._missing()
        self._missing_since = None
        return None

    def _missing(self) -> DynatomicError | None:
        now = self._clock()
        if self._missing_since is None:
            self._missing_since = now
        if now - self._missing_since < MISSING_AFTER_S:
            return None
        return ConfigError(
            f"group {self._settings.group_id} does not have this consumer, though the brokers "
            "answer: they do not have the group protocol consumer; use --group-protocol classic, "
            "or Kafka 4.0 or later with this protocol"
        )
