"""A broker loses the tail of its logs, and they grow again: noticed, and repaired.

The real broker is killed, its logs are cut as by a power failure, and it starts again. That takes
seconds, so one test does it once for all. The fake broker does the same for the client alone.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.kafka.client import AUTO_OFFSET_RESET, consumer_config
from dynatomic.kafka.commit_metadata import LastEvent, parse
from dynatomic.kafka.messages import Truncation, last_event_of, truncation_of
from dynatomic.kafka.truncations import TruncationFinder
from dynatomic.testing.kafka.broker import FakeBroker
from tests.support.brokers import create_kafka_topic
from tests.support.children import Spawn
from tests.support.events import Event, Log
from tests.support.kafka_server import KafkaServer
from tests.support.needed import unless_missing
from tests.support.operator_calls import fix_of
from tests.support.stack import Stack
from tests.support.tables import HasEndpointUrl, MakeTable, make_client
from tests.support.waiting import wait_until

BEFORE, KEPT, AFTER = 10, 6, 8
CUT = Truncation(KEPT, BEFORE)
GUARANTEES = ("at-least-once", "exactly-once")


@dataclass
class Reader:
    """A consumer that reads a log of `BEFORE` events to its end, before it is cut."""

    topic: str
    make: Callable[[], Any]

    def __post_init__(self) -> None:
        self.consumer = self.make()
        self.consumer.assign([TopicPartition(self.topic, 0, 0)])
        self.messages: list[Any] = []
        wait_until(lambda: len(self.more()) > BEFORE, "all is read, and the end")
        self.events = [last_event_of(m) for m in self.messages if m.error() is None]

    def more(self) -> list[Any]:
        """Read more, and return all that was read."""
        self.messages += self.consumer.consume(50, 0.1)
        return self.messages

    def check_truncation(self) -> None:
        """Check what the client says after the log was cut at `KEPT` and grew."""
        del self.messages[:]
        wait_until(lambda: any(m.error() for m in self.more()), "the client says it", 60)
        found = [m for m in self.messages if m.error().code() == AUTO_OFFSET_RESET]
        assert [truncation_of(m.error()) for m in found] == [CUT]
        assert found[0].partition() == 0
        self.consumer.close()
        assert self.find(self.events[BEFORE - 1]) == {0: CUT}
        assert self.find(self.events[KEPT]) == {0: Truncation(KEPT, KEPT + 1)}
        assert self.find(self.events[KEPT - 1]) == {}, "this one is still there"

    def find(self, last: LastEvent) -> dict[int, Truncation]:
        """Ask as the command does."""
        consumer = self.make()
        try:
            return TruncationFinder(consumer, Settings(topic=self.topic)).find({0: last})
        finally:
            consumer.close()


def config(servers: str) -> dict[str, Any]:
    settings = Settings(bootstrap_servers=servers, group_id="reader")
    return consumer_config(settings, eof=True)


def append(stack: Stack, topic: str, table: str, key: str, count: int) -> Log:
    """Store events one by one, so that each is a batch, and all are of one size."""
    log: Log = stack.produce(topic, [])
    for _ in range(count):
        log += stack.produce(topic, [Event(table, key)], 0)
    return log


def test_the_fake_broker_says_that_a_log_was_cut() -> None:
    broker = FakeBroker()
    broker.create_topic("cut")
    for _ in range(BEFORE):
        broker.append("cut", 0, None, b"old", [])
    reader = Reader("cut", lambda: broker.consumer(config("fake")))
    broker.elect_leader("cut", 0, KEPT)
    for _ in range(AFTER):
        broker.append("cut", 0, None, b"new", [])
    reader.check_truncation()


def test_a_broker_that_lost_the_tail_of_its_logs(
    dynamodb_real: HasEndpointUrl, make_table: MakeTable, spawn: Spawn
) -> None:
    with unless_missing("real Kafka", KafkaServer) as kafka:
        servers, url = kafka.bootstrap_servers, dynamodb_real.endpoint_url
        client = make_client(url)
        stack = Stack(
            *("real", servers, url, client),
            lambda name, count: create_kafka_topic(servers, name, count),
            spawn,
            2000,
        )
        tables = {guarantee: make_table(client) for guarantee in (*GUARANTEES, "running")}
        topics = {name: stack.topic() for name in (*tables, "client")}
        logs = {n: append(stack, topics[n], table, "a", BEFORE) for n, table in tables.items()}
        append(stack, topics["client"], "usage", "a", BEFORE)
        for guarantee in GUARANTEES:
            how = ("--processing-guarantee", guarantee)
            stack.drain(topics[guarantee], [tables[guarantee]], *how)
        reader = Reader(topics["client"], lambda: Consumer(config(servers)))
        running = stack.run(topics["running"], [tables["running"]])
        wait_until(lambda: stack.committed(topics["running"]) == {0: BEFORE}, "it has counted")

        kafka.cut_logs(list(topics.values()), KEPT / BEFORE)
        for name, table in tables.items():
            logs[name] += append(stack, topics[name], table, "a", AFTER)
        append(stack, topics["client"], "usage", "a", AFTER)

        reader.check_truncation()
        running.wait_for("partition stopped", 60)
        assert f"its log was cut at offset {KEPT}" in running.stderr
        running.signal(signal.SIGTERM)
        assert running.wait() == 0, running.logs()
        assert stack.counters(tables["running"]).total() == BEFORE
        for guarantee in GUARANTEES:
            topic, table = topics[guarantee], tables[guarantee]
            how = ("--processing-guarantee", guarantee)
            child = stack.run(topic, [table], "--once", *how)
            assert child.wait() == 1
            assert "4 events at the offsets 6 to 9 are in doubt" in child.stderr
            assert stack.counters(table).total() == BEFORE, "nothing more is counted"
            fixed = stack.spawn(*fix_of(child.stderr), env=stack.env())
            assert fixed.wait() == 0, fixed.logs()
            assert f"reads up to {AFTER} events" in fixed.stdout
            once = guarantee == "exactly-once"
            assert ("1 items read, the fences of 1 changed" in fixed.stdout) == once
            stack.drain(topic, [table], *how)
            assert stack.counters(table) == logs[guarantee]
            last = parse(stack.committed_with_metadata(topic)[1]).last
            assert last is not None
            assert last.offset == KEPT + AFTER - 1
