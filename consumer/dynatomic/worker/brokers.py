"""The last answers of the brokers about the topic, from a second Kafka client."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

TOPIC_MISSING_AFTER_S = 10.0
"""How long the brokers must report that the topic does not exist. A broker that has just started
may report it for a moment."""


class OpenTransaction(NamedTuple):
    """An open transaction that begins at ``offset``, first seen at ``since``."""

    offset: int
    since: float


@dataclass(slots=True)
class BrokerView:
    """The last answers of the brokers. Only `service.end_offsets.EndOffsetPoller` writes it.

    ``end_offsets`` has the end of each partition, -1 where it is not known. ``is_answering`` is
    True if the newest request got an answer, and ``answered_at`` is the time of the last answer.
    ``high_watermarks`` has only partitions for which it is known. ``open_transactions`` has the
    partitions whose end is held back by an open transaction. ``topic_missing_since`` is when the
    brokers first reported that the topic does not exist; None if it exists.
    """

    end_offsets: Mapping[int, int] = field(default_factory=dict)
    answered_at: float | None = None
    is_answering: bool = False
    last_error: str | None = None
    high_watermarks: Mapping[int, int] = field(default_factory=dict)
    open_transactions: dict[int, OpenTransaction] = field(default_factory=dict)
    topic_missing_since: float | None = None

    def silent_s(self, now: float) -> float:
        """Return for how many seconds they have not answered; 0 if there was no request."""
        if self.answered_at is None or self.last_error is None:
            return 0.0
        return now - self.answered_at

    def topic_missing_s(self, now: float) -> float:
        """Return for how many seconds the topic has not existed; 0 until that is certain."""
        since = self.topic_missing_since
        seconds = 0.0 if since is None else now - since
        return seconds if seconds >= TOPIC_MISSING_AFTER_S else 0.0

    def open_transaction_s(self, partition: int, position: int, now: float) -> float:
        """Return for how many seconds a transaction has held back all unread events; else 0."""
        transaction = self.open_transactions.get(partition)
        if transaction is None or position < transaction.offset:
            return 0.0
        return now - transaction.since
