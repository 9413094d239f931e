"""A Kafka cluster in memory: topics, consumer groups, and faults on demand.

It has no threads and does not sleep. Messages, rebalances and answers to commits come from
``consume()`` and ``poll()`` of the clients. Their order depends only on the order of the calls.
"""

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import OFFSET_INVALID, KafkaError, Message

from dynatomic.testing.kafka.cluster import Cluster
from dynatomic.testing.kafka.consumer import FakeConsumer
from dynatomic.testing.kafka.producer import FakeProducer


class FakeBroker(Cluster):
    """Creates topics, consumers and producers of one cluster.

    ``sleep`` and ``clock`` are those of `Cluster`.
    """

    name = "fake"
    bootstrap_servers: str | None = None

    def __init__(
        self,
        *,
        sleep: Callable[[float], object] = lambda _seconds: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(sleep=sleep, clock=clock)
        self._member_numbers = itertools.count(1)

    def consumer(self, conf: Mapping[str, Any]) -> FakeConsumer:
        """Create a consumer. It ignores properties that the fake does not have."""
        return FakeConsumer(self, conf, f"member-{next(self._member_numbers)}")

    def producer(self, conf: Mapping[str, Any] | None = None) -> FakeProducer:
        """Create a producer. It ignores properties that the fake does not have."""
        return FakeProducer(self, conf or {})

    def expire(self, consumer: FakeConsumer) -> None:
        """Remove a consumer from its group, as if it had not polled for too long.

        Its commits are refused with UNKNOWN_MEMBER_ID until its next ``consume()``, which yields a
        ``_MAX_POLL_EXCEEDED`` message, calls ``on_lost`` and joins the group again. Partitions that
        the group had revoked before are reported as revoked then, although they may have another
        owner.
        """
        with self.lock:
            if not consumer.member.expired:
                consumer.member.asked = consumer.member.owned - consumer.member.target
            consumer.member.expired = True
            self.group(consumer.group_id).leave(consumer.member, self.partitions_of)

    def kill(self, consumer: FakeConsumer) -> None:
        """End a consumer as SIGKILL does: no callbacks and no commits; it leaves the group."""
        with self.lock:
            self.expire(consumer)
            consumer.closed = True

    def emit_error(
        self,
        consumer: FakeConsumer,
        code: int,
        *,
        topic: str | None = None,
        partition: int | None = None,
        offset: int = OFFSET_INVALID,
    ) -> None:
        """Let the consumer's next ``consume()`` yield an error message.

        After the code ``KafkaError._FATAL`` it never yields anything again, as librdkafka.
        """
        event = Message(
            topic=topic,
            partition=-1 if partition is None else partition,
            offset=offset,
            value=b"injected",
            error=KafkaError(code, "injected"),
            timestamp=(0, -1),
        )
        with self.lock:
            consumer.events.append(event)
