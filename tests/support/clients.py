"""The connections of a worker in the harness: a clock, a gate for requests, Kafka clients."""

from collections import Counter
from threading import Condition
from typing import TYPE_CHECKING, cast

from confluent_kafka import Message, TopicPartition

from dynatomic.testing.dynamodb.client import Request
from dynatomic.testing.kafka.consumer import FakeConsumer
from dynatomic.testing.kafka.producer import FakeProducer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.harness import World

TOPIC, GROUP = "row-events", "dynatomic"


LETTERS = f"{TOPIC}.dlq"


WRITES = {"BatchExecuteStatement", "UpdateItem"}


LIMIT_S = 20.0
"""Real seconds after which a thread is considered stuck."""


class Clock:
    """Seconds that pass only by `advance`."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.watchers: list[Callable[[], None]] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass, and call the watchers."""
        self.now += seconds
        for tell in self.watchers:
            tell()


class Gate:
    """Holds the requests for closed tables, on their threads, until it is opened."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._closed: set[str] = set()
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """How many requests it holds."""
        with self._changed:
            return self._held.total()

    def close(self, *tables: str) -> None:
        """Hold the requests for these tables from now on."""
        with self._changed:
            self._closed.update(tables)

    def open(self) -> None:
        """Let all through."""
        with self._changed:
            self._closed.clear()
            self._held.clear()
            self._changed.notify_all()

    def __call__(self, table: str) -> None:
        with self._changed:
            if table not in self._closed:
                return
            self._held[table] += 1
            if not self._changed.wait_for(lambda: table not in self._closed, LIMIT_S):
                raise AssertionError("the test never opened the gate")


class Recorder(FakeConsumer):
    """A consumer that writes down what the worker asks of it, and checks each commit."""

    world: "World"
    _serving = ""

    def _call(self, kind: str, partitions: list[tuple[str, int]]) -> None:
        self._serving = kind
        try:
            super()._call(kind, partitions)
        finally:
            self._serving = ""

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.world.asked.append(("pause", sorted(p.partition for p in partitions)))
        super().pause(partitions)

    def resume(self, partitions: list[TopicPartition]) -> None:
        held = sorted(p.partition for p in partitions if (p.topic, p.partition) in self._pauses)
        if held:
            self.world.asked.append(("resume", held))
        super().resume(partitions)

    def commit(
        self,
        message: Message | None = None,
        offsets: list[TopicPartition] | None = None,
        *,
        asynchronous: bool = True,
    ) -> list[TopicPartition] | None:
        if self.world.commit_raises is not None:
            raise self.world.commit_raises
        offered = {p.partition: p.offset for p in offsets or ()}
        self.world.asked.append(("commit", offered))
        self.world.check_committed(offered, {p.partition: p.metadata or "" for p in offsets or ()})
        return super().commit(message, offsets, asynchronous=asynchronous)

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        # The real client treats this as the answer to the current rebalance.
        assert self._serving in {"", "assign"}, f"incremental_assign() in on_{self._serving}"
        self.world.asked.append(("assign", sorted(p.partition for p in partitions)))
        super().incremental_assign(partitions)


class Sender(FakeProducer):
    """A producer whose messages are not sent, or not reported, while the world holds them."""

    world: "World"

    def _send(self) -> None:
        if not self.world.letters_held:
            super()._send()

    def poll(self, timeout: float = -1) -> int:
        return 0 if self.world.deliveries_held else super().poll(timeout)


def written(request: Request) -> tuple[str, dict[str, int]]:
    """Return the table of a write, and what it adds to which key."""
    params = request.params
    if request.operation == "UpdateItem":
        value = int(params["ExpressionAttributeValues"][":0"]["N"])
        return params["TableName"], {params["Key"]["pk"]["S"]: value}
    adds = {}
    for statement in params["Statements"]:
        # The first number is the sum. The others belong to the fence.
        kinds = {kind: text for p in reversed(statement["Parameters"]) for kind, text in p.items()}
        adds[kinds["S"]] = int(kinds["N"])
    return params["Statements"][0]["Statement"].split('"')[1], adds


def headers_of(message: Message) -> dict[str, str]:
    """Return a message's headers as text."""
    pairs = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return {name: (content or b"").decode(errors="replace") for name, content in pairs}
