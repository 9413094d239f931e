"""Finds logs that lost events below a committed offset.

A leader that was elected without having all events (an unclean election), or brokers that lost what
was not on disk, cut the log of a partition. It grows again, and its new events have the offsets of
the lost ones, with a higher leader epoch. Brokers report where an epoch ends (KIP-320,
OffsetsForLeaderEpoch). librdkafka asks them at a seek with a leader epoch.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import OFFSET_END, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.errors import UnavailableError
from dynatomic.kafka.client import AUTO_OFFSET_RESET, PARTITION_EOF
from dynatomic.kafka.commit_metadata import LastEvent
from dynatomic.kafka.messages import Truncation, check_error, truncation_of

TIMEOUT_S = 30.0
POLL_S, BATCH = 0.1, 100


class TruncationFinder:
    """Asks the brokers whether they still have the last events of committed offsets.

    ``consumer`` has no subscription, end-of-partition events, and ``auto.offset.reset=error``.
    """

    def __init__(
        self, consumer: Any, settings: Settings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._consumer = consumer
        self._settings = settings
        self._clock = clock

    def find(
        self, lasts: Mapping[int, LastEvent], timeout_s: float = TIMEOUT_S
    ) -> dict[int, Truncation]:
        """Return how the logs were cut, for the partitions whose last event is lost.

        Events whose leader epoch is not known are not looked for. Raises UnavailableError if the
        brokers do not answer for all partitions within ``timeout_s`` seconds, and what
        `check_error` raises.
        """
        self._waiting = {
            partition: TopicPartition(
                self._settings.topic, partition, last.offset + 1, leader_epoch=last.epoch
            )
            for partition, last in lasts.items()
            if last.epoch is not None
        }
        self._unsought = set(self._waiting)
        self._truncations: dict[int, Truncation] = {}
        if not self._waiting:
            return {}
        topic = self._settings.topic
        # Until a fetch has returned something, librdkafka loses a seek without an error. At the
        # end it returns the end, and no messages.
        ends = [TopicPartition(topic, p, OFFSET_END) for p in self._waiting]
        self._consumer.assign(ends)
        self._consumer.resume(ends)  # librdkafka keeps a pause over assignments
        deadline = self._clock() + timeout_s
        try:
            while self._waiting:
                if self._clock() >= deadline:
                    raise UnavailableError(
                        f"topic {topic!r}: no broker says whether partitions "
                        f"{sorted(self._waiting)} still have the last events that were read; check "
                        "their leaders, and try again"
                    )
                for message in self._consumer.consume(BATCH, POLL_S):
                    self._take(message)
        finally:
            self._consumer.assign([])
        return self._truncations

    def _take(self, message: Any) -> None:
        partition, error = message.partition(), message.error()
        if error is not None and error.code() not in (PARTITION_EOF, AUTO_OFFSET_RESET):
            check_error(message, self._settings)
        elif partition in self._unsought:
            self._unsought.discard(partition)
            self._consumer.seek(self._waiting[partition])
        elif partition not in self._waiting:
            return
        elif error is not None and (truncation := truncation_of(error)) is not None:
            self._truncations[partition] = truncation
            del self._waiting[partition]
        else:
            # It continues there, or retention removed these events: the event is not lost.
            del self._waiting[partition]
