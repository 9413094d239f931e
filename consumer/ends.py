"""Where the topic ends, and whether the brokers answer: asked now and then, waited for never.

The consumer knows the ends of what it fetches, but a paused partition is not fetched, and a
stopped fetch is what we want to know of.
"""

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from threading import Thread
from typing import Any

from confluent_kafka import (
    KafkaError,
    KafkaException,
    TopicPartition,
)

from consumer.health import Brokers

ASK_S, TIMEOUT_S = 5.0, 5.0

_ANSWERED = (
    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001 - a broker that describes no groups
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
)

AskEnds = Callable[[Collection[int]], "dict[int, Future[int]]"]


def ends_asker(reader: Any, topic: str) -> AskEnds:
    """Return what asks for the last stable offset of some partitions, on a thread of its own.

    ``reader`` is a consumer that nobody else uses. No admin request is sent while the loop runs
    that can meet a coordinator that is gone: in librdkafka 2.16.0 DescribeGroups then aborts the
    process (an assertion of rd_kafka_enq_once_del_source_return). Without partitions it asks for
    the topic alone, under the number -1, to hear whether a broker answers.
    """

    def ask(numbers: Collection[int]) -> "dict[int, Future[int]]":
        answers: dict[int, Future[int]] = {number: Future() for number in numbers or (-1,)}
        Thread(target=_answer, args=(reader, topic, answers), name="ends", daemon=True).start()
        return answers

    return ask


def _answer(reader: Any, topic: str, answers: "dict[int, Future[int]]") -> None:
    deadline = time.monotonic() + TIMEOUT_S
    for number, answer in answers.items():
        left = max(0.01, deadline - time.monotonic())
        try:
            if number < 0:
                reader.list_topics(topic, timeout=left)
                answer.set_result(-1)
            else:
                place = TopicPartition(topic, number)
                answer.set_result(reader.get_watermark_offsets(place, timeout=left)[1])
        except BaseException as error:  # noqa: BLE001 - `Ends` takes it in
            answer.set_exception(error)


class Ends:
    """Keeps `Brokers` up to date: one question at a time, every `ASK_S` seconds.

    With ``tells_spares`` False the group protocol tells a member without a partition nothing, so
    a broker's newest answer must do.
    """

    def __init__(
        self,
        brokers: Brokers,
        ask_ends: AskEnds,
        clock: Callable[[], float] = time.monotonic,
        *,
        tells_spares: bool = True,
    ) -> None:
        self._brokers = brokers
        self._ask_ends = ask_ends
        self._tells_spares = tells_spares
        self._clock = clock
        self._asked: dict[int, Future[int]] = {}
        self._next = clock()
        brokers.heard = clock()

    def look(self, numbers: Collection[int]) -> None:
        """Take the answers in, and ask again if it is time to. Raises nothing."""
        self._take()
        now = self._clock()
        if self._asked or now < self._next:
            return
        self._next = now + ASK_S
        self._asked = self._ask_ends(tuple(numbers))

    def _take(self) -> None:
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
        if not self._tells_spares:
            self._brokers.joined = error is None or answered
        return error is None


def _code(error: BaseException | None) -> KafkaError | None:
    found = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return found if isinstance(found, KafkaError) else None
