"""Pauses the partitions that can take no more events, while the loop polls the others."""

from collections.abc import Collection
from typing import Any

from confluent_kafka import TopicPartition

from dynatomic.dead_letters.store import LetterStore
from dynatomic.worker.limits import Limits
from dynatomic.worker.partition import Partition

MAX_LETTERS_PENDING, MAX_LETTER_BYTES_PENDING = 10_000, 16 * 1024 * 1024


_DECAY = 0.9
"""The factor by which a poll of small messages reduces the expected message size."""


def filling_bytes(partitions: Collection[Partition]) -> int:
    """Return an estimate of the memory of the filling windows."""
    return sum(partition.filling.size_bytes for partition in partitions)


class FlowControl:
    """Pauses and resumes partitions of one consumer."""

    def __init__(self, consumer: Any, topic: str, letters: LetterStore) -> None:
        self._consumer = consumer
        self._topic = topic
        self._letters = letters
        self._bytes_per_message = 0.0

    def poll_messages(self, limits: Limits) -> int:
        """Return how many messages the next poll may return."""
        return limits.poll_messages(self._bytes_per_message)

    def record_poll(self, added_bytes: int, messages: int) -> None:
        """Record how much the messages of a poll added to the windows."""
        recent = self._bytes_per_message * _DECAY
        self._bytes_per_message = max(added_bytes / max(1, messages), recent)

    def update(self, partitions: Collection[Partition], limits: Limits, *, is_ending: bool) -> None:
        """Pause partitions that can take no more events, and resume the others.

        With ``is_ending`` all partitions are paused.
        """
        too_many_letters = (
            self._letters.pending >= MAX_LETTERS_PENDING
            or self._letters.pending_bytes >= MAX_LETTER_BYTES_PENDING
        )
        to_pause: list[Partition] = []
        to_resume: list[Partition] = []
        for p in partitions:
            is_full = p.closing is not None and limits.is_full(p.filling)
            is_ended = is_ending or p.stop_reason is not None or p.waits_to_reread
            must_pause = is_full or is_ended or (too_many_letters and p.filling.letters_pending > 0)
            if must_pause and not p.is_paused:
                to_pause.append(p)
            elif p.is_paused and not must_pause:
                to_resume.append(p)
        self.pause(to_pause)
        self._resume(to_resume)

    def reread(self, partitions: Collection[Partition], now: float) -> None:
        """Let the client read again from where events could not be judged, if it is time."""
        for partition in partitions:
            if partition.waits_to_reread and now >= partition.reread_at:
                offset = partition.reread()
                self._consumer.seek(TopicPartition(self._topic, partition.id, offset))

    def pause(self, partitions: Collection[Partition]) -> None:
        """Stop reading partitions."""
        if partitions:
            self._consumer.pause([TopicPartition(self._topic, p.id) for p in partitions])
        for partition in partitions:
            partition.pause()

    def _resume(self, partitions: Collection[Partition]) -> None:
        if partitions:
            self._consumer.resume([TopicPartition(self._topic, p.id) for p in partitions])
        for partition in partitions:
            partition.resume()
