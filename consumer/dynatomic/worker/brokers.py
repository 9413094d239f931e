"""The last answers of the brokers about the topic, from a client beside the group's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

TOPIC_MISSING_AFTER_S = 10.0
"""How long the brokers must say that the topic does not exist. A broker that has just started may
say so for a moment."""


class OpenTransaction(NamedTuple):
    """A transaction that holds back the events from ``offset`` on, ``since`` it was first seen."""

    offset: int
    since: float


@dataclass(slots=True)
class BrokerView:
    """The last answers of the brokers. Only `service.end_offsets.EndOffsetPoller` writes it.

    ``end_offsets`` has the end of each partition, -1 where it is not known. ``is_answering`` says
    whether the newest request got an answer, ``answered_at`` when one did. ``high_watermarks`` has
    only partitions for which it is known, ``open_transactions`` those whose end is held back by an
    open transaction. ``topic_missing_since`` is when the brokers first said that the topic does not
    exist; None if it does.
    """

    end_offsets: Mapping[int, int] = field(default_factory=dict)
    answered_at: float | None = None
    is_answering: bool = False
    last_error: str | None = None
    high_watermarks: Mapping[int, int] = field(default_factory=dict)
    open_transactions: dict[int, OpenTransaction] = field(default_factory=dict)
    topic_missing_since: float | None = None

    def silent_s(self, now: float) -> float:
        """Return for how many seconds they have not answered; 0 if they were never asked."""
        if self.answered_at is None or self.last_error is None:
            return 0.0
        return now - self.answered_at

    def topic_missing_s(self, now: float) -> float:
        """Return for how many seconds the topic has not existed; 0 until that is certain."""
        since = self.topic_missing_since
        seconds = 0.0 if since is None else now - since
        return seconds if seconds >= TOPIC_MISSING_AFTER_S else 0.0

    def open_transaction_s(self, partition: int, position: int, now: float) -> float:
        """Return for how many seconds a transaction has held back all that is not read; else 0."""
        transaction = self.open_transactions.get(partition)
        if transaction is None or position < transaction.offset:
            return 0.0
        return now - transaction.since
