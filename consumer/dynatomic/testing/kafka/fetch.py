"""The position of a fake consumer in one partition."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, OFFSET_INVALID, KafkaError, Message

from dynatomic.testing.kafka.membership import event

if TYPE_CHECKING:
    from dynatomic.testing.kafka.cluster import Log

_BEGINNING: Final = {"earliest", "smallest", "beginning"}
_END: Final = {"latest", "largest", "end"}


@dataclass(slots=True)
class Fetch:
    """One partition that is read.

    ``start`` is the requested start: an offset or one of ``OFFSET_...``. ``next`` is the next
    offset to read, or None before ``start`` is resolved. ``position`` is the offset after the last
    message returned. ``stopped`` is set after ``_AUTO_OFFSET_RESET``.
    """

    topic: str
    partition: int
    start: int
    next: int | None = None
    position: int = OFFSET_INVALID
    paused: bool = False
    stopped: bool = False
    _ended_at: int | None = None

    def seek(self, offset: int) -> None:
        """Continue at another offset."""
        self.start, self.next, self._ended_at = offset, None, None

    def read(
        self, log: "Log", limit: int, committed: int | None, conf: Mapping[str, Any]
    ) -> list[Message]:
        """Return up to ``limit`` messages and events."""
        if self.paused or self.stopped:
            return []
        end = log.end(str(conf.get("isolation.level")))
        if self.next is None:
            self.next = self._resolve_start(log.low, end, committed)
        if self.next is None or not log.low <= self.next <= log.high:
            policy = str(conf.get("auto.offset.reset", "latest"))
            if policy not in _BEGINNING | _END:
                self.stopped = True
                return [self._reset_event()]
            self.next = log.low if policy in _BEGINNING else end
        messages, self.next = log.read(self.next, limit, end)
        if messages:
            self.position = (messages[-1].offset() or 0) + 1
        at_end = self.next == end and self._ended_at != self.next and len(messages) < limit
        if at_end and str(conf.get("enable.partition.eof", False)).lower() == "true":
            self._ended_at = self.next
            reason = "Fetch reached end of partition"
            code = KafkaError._PARTITION_EOF
            messages.append(event(code, reason, self.topic, self.partition, self.next))
        return messages

    def _resolve_start(self, low: int, end: int, committed: int | None) -> int | None:
        if self.start == OFFSET_BEGINNING:
            return low
        if self.start == OFFSET_END:
            return end
        return self.start if self.start >= 0 else committed

    def _reset_event(self) -> Message:
        if self.next is None:
            reason, offset = "no previously committed offset available", OFFSET_INVALID
        else:
            reason = "fetch failed due to requested offset not available on the broker"
            offset = self.next
        code = KafkaError._AUTO_OFFSET_RESET
        return event(code, reason, self.topic, self.partition, offset)
