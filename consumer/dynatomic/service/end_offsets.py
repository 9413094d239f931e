"""Polls where the topic ends and whether the brokers answer, without blocking the loop.

The group's consumer knows the end of what it fetches. But a paused partition is not fetched, and
a fetch that stopped is what this poll detects, so the answers come from a client of their own.
"""

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from threading import Thread
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from dynatomic.kafka.replaceable import ReplaceableClient, answered, code_of
from dynatomic.worker.health import BrokerView

INTERVAL_S, TIMEOUT_S = 3.0, 3.0

TOPIC_ONLY = -1
"""Stands for the topic's metadata where no partition is assigned."""

# librdkafka may answer with these from its cache while no broker is up.
_FROM_CACHE = (KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)  # noqa: SLF001

RequestEndOffsets = Callable[[Collection[int]], "dict[int, Future[int]]"]


def end_offset_source(reader: ReplaceableClient[Any], topic: str) -> RequestEndOffsets:
    """Return a function that requests the last stable offsets of partitions, on its own thread.

    ``reader`` has a consumer that nothing else uses. Admin requests to the group's coordinator
    are not sent while the loop runs: if the coordinator is gone, DescribeGroups aborts the
    process in librdkafka 2.16.0 (an assertion of rd_kafka_enq_once_del_source_return). Without
    partitions it requests the topic's metadata, as the partition `TOPIC_ONLY`, to learn whether a
    broker answers.
    """

    def request(partitions: Collection[int]) -> "dict[int, Future[int]]":
        answers: dict[int, Future[int]] = {
            partition: Future() for partition in partitions or (TOPIC_ONLY,)
        }
        Thread(target=_answer, args=(reader, topic, answers), name="ends", daemon=True).start()
        return answers

    return request


def _answer(reader: ReplaceableClient[Any], topic: str, answers: "dict[int, Future[int]]") -> None:
    deadline = time.monotonic() + TIMEOUT_S
    results: dict[int, int | BaseException] = {}
    for partition in answers:
        left = max(0.01, deadline - time.monotonic())
        try:
            results[partition] = _end_offset(reader.get(), topic, partition, left)
        except BaseException as error:  # noqa: BLE001 - `EndOffsetPoller` reads it from the future
            # Its traceback holds this frame, which holds it: the client would never be freed.
            results[partition] = error.with_traceback(None)
    try:
        if not any(isinstance(result, int) or answered(result) for result in results.values()):
            reader.discard()
    finally:
        for partition, answer in answers.items():
            result = results[partition]
            if isinstance(result, int):
                answer.set_result(result)
            else:
                answer.set_exception(result)


def _end_offset(reader: Any, topic: str, partition: int, timeout_s: float) -> int:
    if partition == TOPIC_ONLY:
        reader.list_topics(topic, timeout=timeout_s)
        return -1
    topic_partition = TopicPartition(topic, partition)
    try:
        end: int = reader.get_watermark_offsets(topic_partition, timeout=timeout_s)[1]
    except KafkaException as error:
        if error.args[0].code() in _FROM_CACHE:
            reader.list_topics(topic, timeout=timeout_s)  # raises if no broker answers
        raise
    return end


class EndOffsetPoller:
    """Keeps a `BrokerView` up to date: one request at a time, every `INTERVAL_S` seconds."""

    def __init__(
        self,
        brokers: BrokerView,
        request_end_offsets: RequestEndOffsets,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._brokers = brokers
        self._request_end_offsets = request_end_offsets
        self._clock = clock
        self._pending: dict[int, Future[int]] = {}
        self._next_at = clock()
        brokers.answered_at = clock()

    def poll(self, partitions: Collection[int]) -> None:
        """Store answers that have come, and send the next request if it is due. Never raises."""
        self._store_answers()
        now = self._clock()
        if self._pending or now < self._next_at:
            return
        self._next_at = now + INTERVAL_S
        self._pending = self._request_end_offsets(tuple(partitions))

    def _store_answers(self) -> None:
        if not self._pending or not all(answer.done() for answer in self._pending.values()):
            return
        answers, self._pending = self._pending, {}
        before = dict(self._brokers.end_offsets)
        self._brokers.end_offsets = {
            partition: (
                answer.result()
                if self._note_outcome(answer.exception())
                else before.get(partition, -1)
            )
            for partition, answer in answers.items()
        }

    def _note_outcome(self, error: BaseException | None) -> bool:
        """Store whether a broker answered; return whether the answer has the offset."""
        is_answer, code = answered(error), code_of(error)
        self._brokers.is_answering = is_answer
        if is_answer:
            self._brokers.answered_at, self._brokers.last_error = self._clock(), None
        else:
            self._brokers.last_error = code.name() if code is not None else type(error).__name__
        return error is None
