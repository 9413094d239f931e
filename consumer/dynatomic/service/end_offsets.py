"""Where the topic ends, and whether the brokers answer: asked now and then, waited for never.

The consumer knows the ends of what it fetches, but a paused partition is not fetched, and a
stopped fetch is what we want to know of.
"""

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from threading import Thread
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from dynatomic.kafka.replaceable import ReplaceableClient, answered, code_of
from dynatomic.worker.health import BrokerView

ASK_S, TIMEOUT_S = 5.0, 5.0

# librdkafka may say so of what it knows from before, though every broker is gone.
_FROM_CACHE = (KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)  # noqa: SLF001

AskEndOffsets = Callable[[Collection[int]], "dict[int, Future[int]]"]


def end_offset_source(reader: ReplaceableClient[Any], topic: str) -> AskEndOffsets:
    """Return what asks for the last stable offset of some partitions, on a thread of its own.

    ``reader`` has a consumer that nobody else uses. No admin request is sent while the loop runs
    that can meet a coordinator that is gone: in librdkafka 2.16.0 DescribeGroups then aborts the
    process (an assertion of rd_kafka_enq_once_del_source_return). Without partitions it asks for
    the topic alone, under the number -1, to hear whether a broker answers.
    """

    def ask(numbers: Collection[int]) -> "dict[int, Future[int]]":
        answers: dict[int, Future[int]] = {number: Future() for number in numbers or (-1,)}
        Thread(target=_answer, args=(reader, topic, answers), name="ends", daemon=True).start()
        return answers

    return ask


def _answer(reader: ReplaceableClient[Any], topic: str, answers: "dict[int, Future[int]]") -> None:
    deadline = time.monotonic() + TIMEOUT_S
    found: dict[int, int | BaseException] = {}
    for number in answers:
        left = max(0.01, deadline - time.monotonic())
        try:
            found[number] = _end(reader.get(), topic, number, left)
        except BaseException as error:  # noqa: BLE001 - `EndOffsetPoller` takes it in
            # Its traceback would hold this frame, which holds it, and the client for good.
            found[number] = error.with_traceback(None)
    try:
        if not any(isinstance(each, int) or answered(each) for each in found.values()):
            reader.discard()
    finally:
        for number, answer in answers.items():
            each = found[number]
            if isinstance(each, int):
                answer.set_result(each)
            else:
                answer.set_exception(each)


def _end(reader: Any, topic: str, number: int, timeout_s: float) -> int:
    if number < 0:
        reader.list_topics(topic, timeout=timeout_s)
        return -1
    place = TopicPartition(topic, number)
    try:
        end: int = reader.get_watermark_offsets(place, timeout=timeout_s)[1]
    except KafkaException as error:
        if error.args[0].code() in _FROM_CACHE:
            reader.list_topics(topic, timeout=timeout_s)  # raises if no broker answers
        raise
    return end


class EndOffsetPoller:
    """Keeps `BrokerView` up to date: one question at a time, every `ASK_S` seconds.

    With ``tells_spares`` False the group protocol tells a member without a partition nothing, so
    a broker's newest answer must do.
    """

    def __init__(
        self,
        brokers: BrokerView,
        ask_ends: AskEndOffsets,
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
        brokers.answered_at = clock()

    def poll(self, numbers: Collection[int]) -> None:
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
        known = dict(self._brokers.end_offsets)
        self._brokers.end_offsets = {
            number: found.result() if self._heard(found.exception()) else known.get(number, -1)
            for number, found in answers.items()
        }

    def _heard(self, error: BaseException | None) -> bool:
        """Take note that a broker answered, or did not; return whether it said what was asked."""
        heard, code = answered(error), code_of(error)
        if heard:
            self._brokers.answered_at, self._brokers.last_error = self._clock(), None
        else:
            self._brokers.last_error = code.name() if code is not None else type(error).__name__
        if not self._tells_spares:
            self._brokers.has_joined = heard
        return error is None
