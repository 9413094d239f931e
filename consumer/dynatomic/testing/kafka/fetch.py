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
    message returned. ``stopped`` is set after ``_AUTO_OFFSET_RESET``. ``epoch`` is the leader epoch
    of the message before ``next``. ``leader_epoch`` is the current one at the last validation: in a
    later one, ``epoch`` is validated again.
    """

    topic: str
    partition: int
    start: int
    next: int | None = None
    position: int = OFFSET_INVALID
    paused: bool = False
    stopped: bool = False
    epoch: int | None = None
    leader_epoch: int | None = None
    _ended_at: int | None = None

    def seek(self, offset: int, epoch: int | None) -> None:
        """Continue at another offset."""
        self.start, self.next, self._ended_at = offset, None, None
        self.epoch, self.leader_epoch = epoch, None

    def read(
        self, log: "Log", limit: int, committed: int | None, conf: Mapping[str, Any]
    ) -> list[Message]:
        """Return up to ``limit`` messages and events."""
        if self.paused or self.stopped:
            return []
        end = log.end(str(conf.get("isolation.level")))
        if self.next is None:
            self.next = self._resolve_start(log.low, end, committed)
        if self._is_truncated(log):
            policy = str(conf.get("auto.offset.reset", "latest"))
            kept = log.end_of_epoch(self.epoch or 0)
            if policy not in _BEGINNING | _END:
                self.stopped = True
                return [self._truncation_event(kept, log)]
            self.next = kept
        self.leader_epoch = log.leader_epoch
        if self.next is None or not log.low <= self.next <= log.high:
            policy = str(conf.get("auto.offset.reset", "latest"))
            if policy not in _BEGINNING | _END:
                self.stopped = True
                return [self._reset_event()]
            self.next = log.low if policy in _BEGINNING else end
        before = self.next
        messages, self.next = log.read(self.next, limit, end)
        if messages:
            self.position = (messages[-1].offset() or 0) + 1
        if self.next > max(log.low, before):
            self.epoch = log.epoch_of(self.next - 1)
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

    def _is_truncated(self, log: "Log") -> bool:
        if self.epoch is None or self.next is None or self.leader_epoch == log.leader_epoch:
            return False
        return log.end_of_epoch(self.epoch) < self.next

    def _truncation_event(self, end: int, log: "Log") -> Message:
        epoch = min(self.epoch or 0, log.leader_epoch)
        reason = (
            f"Partition log truncation detected at offset {self.next} (leader epoch {self.epoch}): "
            f"broker end offset is {end} (offset leader epoch {epoch}). Reset to INVALID.: "
            f"{KafkaError(KafkaError._LOG_TRUNCATION).str()} (broker 1)"
        )
        return event(KafkaError._AUTO_OFFSET_RESET, reason, self.topic, self.partition)

    def _reset_event(self) -> Message:
        if self.next is None:
            reason, offset = "no previously committed offset available", OFFSET_INVALID
        else:
            reason = "fetch failed due to requested offset not available on the broker"
            offset = self.next
        code = KafkaError._AUTO_OFFSET_RESET
        return event(code, reason, self.topic, self.partition, offset)
