"""Where the topic ends, and whether the brokers answer: asked now and then, waited for never.

The consumer knows the ends of what it fetches, but a paused partition is not fetched, and a
stopped fetch is what we want to know of.
"""

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any

from confluent_kafka import (
    ConsumerGroupState,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from consumer.health import Brokers

ASK_S, TIMEOUT_S = 5.0, 5.0
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]

_ANSWERED = (
    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001 - a broker that describes no groups
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
)

AskEnds = Callable[[Collection[int]], "dict[int, Future[int]]"]
AskMember = Callable[[str], "Future[bool]"]


def ends_asker(admin: AdminClient, topic: str) -> AskEnds:
    """Return what asks for the last stable offset of some partitions."""

    def ask(numbers: Collection[int]) -> "dict[int, Future[int]]":
        wanted = {TopicPartition(topic, number): _LATEST for number in numbers}
        asked = admin.list_offsets(
            wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT_S
        )
        return {place.partition: _then(f, lambda r: int(r.offset)) for place, f in asked.items()}

    return ask


def member_asker(admin: AdminClient, group: str) -> AskMember:
    """Return what asks whether a member is in the group, and the group is at rest."""

    def ask(member: str) -> "Future[bool]":
        def found(group: Any) -> bool:
            return group.state == ConsumerGroupState.STABLE and any(
                each.member_id == member for each in group.members
            )

        asked = admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S)
        return _then(asked[group], found)

    return ask


def _then(asked: "Future[Any]", take: Callable[[Any], Any]) -> "Future[Any]":
    answer: Future[Any] = Future()

    def done(found: "Future[Any]") -> None:
        try:
            answer.set_result(take(found.result()))
        except BaseException as error:  # noqa: BLE001 - `Ends` takes it in
            answer.set_exception(error)

    asked.add_done_callback(done)
    return answer


class Ends:
    """Keeps `Brokers` up to date: one question at a time, every `ASK_S` seconds.

    A member without a partition asks whether the group knows it: brokers with the new protocol
    tell a spare member nothing else.
    """

    def __init__(
        self,
        brokers: Brokers,
        ask_ends: AskEnds,
        ask_member: AskMember,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._brokers = brokers
        self._ask_ends = ask_ends
        self._ask_member = ask_member
        self._clock = clock
        self._asked: dict[int, Future[int]] = {}
        self._member: Future[bool] | None = None
        self._next = clock()
        brokers.heard = clock()

    def look(self, numbers: Collection[int], member: Callable[[], str]) -> None:
        """Take the answers in, and ask again if it is time to. Raises nothing."""
        self._take()
        now = self._clock()
        if self._asked or self._member is not None or now < self._next:
            return
        self._next = now + ASK_S
        try:
            if numbers:
                self._asked = self._ask_ends(tuple(numbers))
            else:
                self._brokers.ends = {}
                self._member = self._ask_member(member())
        except (KafkaException, ValueError, RuntimeError) as error:
            self._brokers.trouble = type(error).__name__

    def _take(self) -> None:
        if self._member is not None and self._member.done():
            asked, self._member = self._member, None
            if self._heard(asked.exception()):
                self._brokers.joined = self._brokers.joined or asked.result()
        if not self._asked or not all(each.done() for each in self._asked.values()):
            return
        answers, self._asked = self._asked, {}
        known = dict(self._brokers.ends)
        self._brokers.ends = {
            number: found.result() if self._heard(found.exception()) else known.get(number, -1)
            for number, found in answers.items()
        }

    def _heard(self, error: BaseException | None) -> bool:
        """Take note that a broker answered, or did not; return whether it said what was asked."""
        code = _code(error)
        # Codes below 0 are librdkafka's own: but for these, nobody has answered.
        answered = code is not None and (code.code() >= 0 or code.code() in _ANSWERED)
        if error is None or answered:
            self._brokers.heard, self._brokers.trouble = self._clock(), None
        else:
            self._brokers.trouble = code.name() if code is not None else type(error).__name__
        return error is None


def _code(error: BaseException | None) -> KafkaError | None:
    found = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return found if isinstance(found, KafkaError) else None
