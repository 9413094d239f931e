"""Polls the end offsets of the topic, and whether the brokers answer, without blocking the loop.

The consumer of the group knows the end offsets of the partitions that it fetches. But it does not
fetch paused partitions, and this poll must detect a fetch that stopped. So it has its own client.

A consumer with the isolation level ``read_committed`` gets the last stable offset as the end: the
offset of the oldest open transaction, or the high watermark. One with ``read_uncommitted`` gets the
high watermark. If they differ for long, a transaction holds back all events above it (KIP-98).
"""

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from dynatomic.kafka.replaceable import ReplaceableClient, answered, code_of
from dynatomic.worker.brokers import BrokerView, OpenTransaction

INTERVAL_S, TIMEOUT_S = 3.0, 3.0

TOPIC_ONLY = -1
"""The key for the metadata of the topic when no partition is assigned."""

# librdkafka may answer with these from its cache while no broker is up.
_FROM_CACHE = (KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)  # noqa: SLF001
_MISSING = KafkaError.UNKNOWN_TOPIC_OR_PART

RequestEndOffsets = Callable[[Collection[int]], "dict[int, Future[int]]"]


def end_offset_source(reader: ReplaceableClient[Any], topic: str) -> RequestEndOffsets:
    """Return a function that requests the end offsets of partitions, on its own thread.

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
        _check_topic(reader, topic, timeout_s)
        return -1
    topic_partition = TopicPartition(topic, partition)
    try:
        end: int = reader.get_watermark_offsets(topic_partition, timeout=timeout_s)[1]
    except KafkaException as error:
        if error.args[0].code() in {*_FROM_CACHE, _MISSING}:
            _check_topic(reader, topic, timeout_s)
        raise
    return end


def _check_topic(reader: Any, topic: str, timeout_s: float) -> None:
    """Raise KafkaException if no broker answers, or if the brokers do not have the topic."""
    metadata = reader.list_topics(topic, timeout=timeout_s).topics.get(topic)
    if metadata is not None and metadata.error is not None:
        raise KafkaException(metadata.error)


class EndOffsetPoller:
    """Keeps a `BrokerView` up to date: one poll at a time, every `INTERVAL_S` seconds.

    ``request_end_offsets`` gives last stable offsets, ``request_high_watermarks`` high watermarks.
    """

    def __init__(
        self,
        brokers: BrokerView,
        request_end_offsets: RequestEndOffsets,
        request_high_watermarks: RequestEndOffsets,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._brokers = brokers
        self._request_end_offsets = request_end_offsets
        self._request_high_watermarks = request_high_watermarks
        self._clock = clock
        self._pending: dict[int, Future[int]] = {}
        self._pending_high: dict[int, Future[int]] = {}
        self._next_at = clock()
        brokers.answered_at = clock()

    def poll(self, partitions: Collection[int]) -> None:
        """Store answers that have come, and send the next request if it is due. Never raises."""
        self._store_answers()
        now = self._clock()
        if self._pending or now < self._next_at:
            return
        self._next_at = now + INTERVAL_S
        # The high watermarks are requested later, so they are never below the stable offsets.
        self._pending = self._request_end_offsets(tuple(partitions))
        self._pending_high = {}

    def _store_answers(self) -> None:
        if not self._pending or not all(answer.done() for answer in self._pending.values()):
            return
        known = [id_ for id_, answer in self._pending.items() if answer.exception() is None]
        if not self._pending_high and known != [TOPIC_ONLY] and known:
            self._pending_high = self._request_high_watermarks(known)
        if not all(answer.done() for answer in self._pending_high.values()):
            return
        answers, self._pending = self._pending, {}
        high_answers, self._pending_high = self._pending_high, {}
        before = dict(self._brokers.end_offsets)
        self._brokers.end_offsets = {
            partition: (
                answer.result()
                if self._note_outcome(answer.exception())
                else before.get(partition, -1)
            )
            for partition, answer in answers.items()
        }
        self._note_missing_topic([answer.exception() for answer in answers.values()])
        self._brokers.high_watermarks = {
            partition: answer.result()
            for partition, answer in high_answers.items()
            if answer.exception() is None and partition in answers
        }
        self._note_transactions()

    def _note_missing_topic(self, errors: Sequence[BaseException | None]) -> None:
        """Record since when all answers say that the topic does not exist."""
        codes = [code_of(error) for error in errors]
        if all(code is not None and code.code() == _MISSING for code in codes):
            if self._brokers.topic_missing_since is None:
                self._brokers.topic_missing_since = self._clock()
        elif any(answered(error) for error in errors):
            self._brokers.topic_missing_since = None

    def _note_transactions(self) -> None:
        """Record since when the same offset is the end below a higher high watermark."""
        brokers, before = self._brokers, self._brokers.open_transactions
        brokers.open_transactions = {}
        for partition, high in brokers.high_watermarks.items():
            stable = brokers.end_offsets.get(partition, -1)
            if 0 <= stable < high:
                known = before.get(partition)
                is_same = known is not None and known.offset == stable
                since = known.since if known is not None and is_same else self._clock()
                brokers.open_transactions[partition] = OpenTransaction(stable, since)

    def _note_outcome(self, error: BaseException | None) -> bool:
        """Store whether a broker answered; return whether the answer has the offset."""
        is_answer, code = answered(error), code_of(error)
        self._brokers.is_answering = is_answer
        if is_answer:
            self._brokers.answered_at, self._brokers.last_error = self._clock(), None
        else:
            self._brokers.last_error = code.name() if code is not None else type(error).__name__
        return error is None
