"""The producing client of the fake broker."""

import itertools
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import OFFSET_INVALID, KafkaError, Message

from dynatomic.testing.kafka.cluster import Cluster, Header, failure

if TYPE_CHECKING:
    from confluent_kafka.admin._metadata import ClusterMetadata


DeliveryCallback = Callable[[KafkaError | None, Message], object]
ProducedHeaders = Mapping[str, str | bytes | None] | Sequence[tuple[str, str | bytes | None]]


@dataclass(frozen=True, slots=True)
class _Sent:
    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    on_delivery: DeliveryCallback | None


class FakeProducer:
    """A fake of ``confluent_kafka.Producer``.

    A message is in the topic when ``produce`` returns, unless the broker is down; its delivery is
    reported by the next ``poll`` or ``flush``. A key selects the partition by its CRC32, for any
    value of ``partitioner``; messages without a key take the partitions in turn.
    """

    def __init__(self, cluster: Cluster, conf: Mapping[str, Any]) -> None:
        self._cluster = cluster
        self._max_messages = int(conf.get("queue.buffering.max.messages", 100_000))
        self._max_bytes = int(conf.get("message.max.bytes", 1_000_000))
        self._turns = itertools.count()
        self._unsent: deque[_Sent] = deque()
        self._reports: deque[tuple[DeliveryCallback | None, KafkaError | None, Message]] = deque()

    def __len__(self) -> int:
        """Return the number of messages that are not sent or not reported."""
        return len(self._unsent) + len(self._reports)

    def produce(  # noqa: PLR0913 - confluent-kafka's signature
        self,
        topic: str,
        value: str | bytes | None = None,
        key: str | bytes | None = None,
        partition: int = -1,
        callback: DeliveryCallback | None = None,
        on_delivery: DeliveryCallback | None = None,
        timestamp: int = 0,  # noqa: ARG002 - the broker's clock counts
        headers: ProducedHeaders | None = None,
    ) -> None:
        """Send a message.

        Raises `BufferError` when the queue is full, `KafkaException` for a message that is too
        large or a partition that a known topic does not have.
        """
        if len(self) >= self._max_messages:
            raise BufferError("Local: Queue full")
        raw_key, raw_value = _bytes(key), _bytes(value)
        if len(raw_key or b"") + len(raw_value or b"") > self._max_bytes:
            raise failure(KafkaError.MSG_SIZE_TOO_LARGE, "Unable to produce message")
        with self._cluster.lock:
            partitions = len(self._cluster.logs.get(topic, ()))
            if partitions and partition >= partitions:
                raise failure(KafkaError._UNKNOWN_PARTITION, "Unable to produce message")
            if partition < 0 and partitions:
                hash_ = next(self._turns) if raw_key is None else zlib.crc32(raw_key)
                partition = hash_ % partitions
            pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
            raw_headers: list[Header] = [(name, _bytes(content)) for name, content in pairs]
            on_delivery = on_delivery or callback
            self._unsent.append(
                _Sent(topic, partition, raw_key, raw_value, raw_headers, on_delivery)
            )
            self._send()

    def poll(self, timeout: float = -1) -> int:
        """Report deliveries and return their number."""
        with self._cluster.lock:
            self._send()
        count = self._report()
        if not count and timeout > 0:
            self._cluster.sleep(timeout)
        return count

    def flush(self, timeout: float = -1) -> int:
        """Report deliveries and return the number of messages that are not sent."""
        if len(self):
            self.poll(timeout)
        return len(self)

    def purge(
        self,
        in_queue: bool = True,  # noqa: FBT001, FBT002 - confluent-kafka's signature
        in_flight: bool = True,  # noqa: ARG002, FBT001, FBT002 - nothing is in flight
        blocking: bool = True,  # noqa: ARG002, FBT001, FBT002 - nothing waits
    ) -> None:
        """Discard the messages that are not sent; their deliveries fail with ``_PURGE_QUEUE``."""
        while in_queue and self._unsent:
            sent = self._unsent.popleft()
            self._reports.append(self._report_of(sent, None, KafkaError._PURGE_QUEUE))

    def list_topics(
        self,
        topic: str | None = None,
        timeout: float = -1,  # noqa: ARG002 - nothing waits
    ) -> "ClusterMetadata":
        """Return the metadata of one topic or of all."""
        return self._cluster.metadata(topic)

    def _send(self) -> None:
        while self._unsent and not self._cluster.faults.down:
            sent = self._unsent.popleft()
            faults = self._cluster.faults.deliveries
            code, stored = faults.popleft() if faults else (0, True)
            if sent.topic not in self._cluster.logs:
                code, stored = KafkaError.UNKNOWN_TOPIC_OR_PART, False
            offset = None
            if stored:
                offset = self._cluster.append(
                    sent.topic, sent.partition, sent.key, sent.value, sent.headers
                )
            self._reports.append(self._report_of(sent, offset, code))

    @staticmethod
    def _report_of(
        sent: _Sent, offset: int | None, code: int
    ) -> tuple[DeliveryCallback | None, KafkaError | None, Message]:
        error = KafkaError(code) if code else None
        report = Message(
            topic=sent.topic,
            partition=sent.partition,
            offset=OFFSET_INVALID if offset is None else offset,
            key=sent.key,
            value=sent.value,
            error=error,
        )
        return sent.on_delivery, error, report

    def _report(self) -> int:
        count = 0
        while self._reports:
            on_delivery, error, message = self._reports.popleft()
            count += 1
            if on_delivery:
                on_delivery(error, message)
        return count


def _bytes(content: str | bytes | None) -> bytes | None:
    return content.encode() if isinstance(content, str) else content
