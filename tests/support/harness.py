"""Workers on the fakes: the real Worker, Decoder, Writer, DeadLetters and Offsets in one process.

Nothing depends on time: the clock moves only when a test, or a wait of the code under test, moves
it, and each `World.turn` lets the writers' threads do all they can before it returns. What a
worker commits is checked at that moment against all that was emitted (`World.check_committed`).
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition
from typing import Any, cast

from botocore.exceptions import ReadTimeoutError
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.store import DeadLetters
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.meter import Meter
from dynatomic.dynamodb.statements import Step
from dynatomic.dynamodb.tables import describe
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.decoder import Decoder
from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.kafka.client import consumer_config
from dynatomic.kafka.replaceable import ReplaceableClient
from dynatomic.kafka.topic_identity import TopicIdCheck
from dynatomic.service.end_offsets import EndOffsetPoller
from dynatomic.service.status import Status
from dynatomic.testing.dynamodb.client import FakeDynamoDB, Request
from dynatomic.testing.kafka.broker import FakeBroker
from dynatomic.testing.kafka.consumer import FakeConsumer
from dynatomic.testing.kafka.producer import FakeProducer
from dynatomic.worker.loop import Worker
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.rejected import read_again
from dynatomic.worker.snapshot import SnapshotSource

TOPIC, GROUP = "row-events", "dynatomic"
LETTERS = f"{TOPIC}.dlq"
WRITES = {"BatchExecuteStatement", "UpdateItem"}
WAITS = 50_000
LIMIT_S = 20.0
"""Real seconds after which a thread that should act is taken for stuck."""

Headers = list[tuple[str, bytes | None]]


class Clock:
    """Seconds that pass only by `advance`."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.watchers: list[Callable[[], None]] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass, and tell those who wait for it."""
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
        # The real client takes this for the answer to the rebalance that it is in.
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


class Wake:
    """In the place of the worker's event: to wait is to let time pass once nothing else moves."""

    def __init__(self, member: "Member") -> None:
        self._member = member
        self._waits = 0

    def set(self) -> None:
        """Do nothing: `wait` looks for itself."""

    def clear(self) -> None:
        """Do nothing."""

    def wait(self, timeout: float) -> None:
        """Let the threads do what they can, then let the time-out pass."""
        self._waits += 1
        assert self._waits < WAITS, "it waits without a bound"
        self._member.quiet()
        self._member.world.clock.advance(timeout)


@dataclass(eq=False)
class Member:
    """One worker of the group, and its parts."""

    world: "World"
    worker: Worker
    writer: Writer
    letters: DeadLetters
    offsets: Offsets
    alive: bool = True
    status: Status | None = None

    @property
    def consumer(self) -> Recorder:
        """The worker's consumer."""
        return cast("Recorder", self.worker.consumer)

    @property
    def owned(self) -> list[int]:
        """The partitions that it has."""
        return sorted(self.worker.partitions)

    @property
    def events_held(self) -> int:
        """The events in all its windows."""
        return sum(len(w) for w in self._windows())

    @property
    def counters_held(self) -> int:
        """The counters in all its windows."""
        return sum(len(w.sums) for w in self._windows())

    def _windows(self) -> Iterator[Any]:
        for partition in self.worker.partitions.values():
            yield partition.filling.window
            if partition.closing is not None:
                yield partition.closing.window

    def turn(self) -> None:
        """Tick once, and let the threads do what they can without time passing."""
        self.worker.tick(0.0)
        self.quiet()

    def quiet(self) -> None:
        """Return when nothing moves but what the gate holds or what waits for its time."""
        deadline = time.monotonic() + LIMIT_S
        changed = self.writer._changed
        with changed:
            while self._writing():
                changed.wait(0.002)
                assert time.monotonic() < deadline, "the writer is stuck"
        closing = [p.closing for p in self.worker.partitions.values()]
        rereads = [c.reread for c in closing if c is not None and c.reread is not None]
        assert not wait(rereads, LIMIT_S).not_done, "reading again is stuck"

    def _writing(self) -> bool:
        writer = self.writer
        if writer.failure is not None:
            return False
        tables = list(writer._tables.values())
        running = sum(table.running for table in tables)
        held = min(running, self.world.gate.held)
        ready = running < writer._max_requests and any(
            table.running < int(table.limit) and any(not t.write.cancelled for t in table.ready)
            for table in tables
        )
        due = bool(writer._delayed) and writer._delayed[0][0] <= self.world.clock()
        return ready or running > held or (due and running < writer._max_requests)

    def kill(self) -> None:
        """End it as SIGKILL would: no callback, no commit, no further request."""
        self.alive = False
        self.world.broker.kill(self.consumer)
        with self.writer._changed:
            self.writer._closed = True
            self.writer._changed.notify_all()

    def expire(self) -> None:
        """Let the group drop it, as if it had not polled for too long."""
        self.world.broker.expire(self.consumer)


@dataclass
class World:
    """A broker, tables, a clock, and the group's members."""

    clock: Clock = field(default_factory=Clock)
    gate: Gate = field(default_factory=Gate)
    dynamodb: FakeDynamoDB = field(default_factory=FakeDynamoDB)
    tables: list[str] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    emitted: dict[tuple[int, int], Row | None] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    sent: list[dict[str, int]] = field(default_factory=list)
    refuse: Callable[[Request], Exception | None] | None = None
    commit_raises: KafkaException | None = None
    deliveries_held: bool = False
    letters_held: bool = False
    topic_id_held: bool = False
    topic_missing: bool = False
    held_by_transactions: int = 0
    asked_topic_id: int = 0
    make_writer: Callable[..., Writer] = Writer
    make_member: Callable[..., Member] = Member

    def __post_init__(self) -> None:
        self.broker = FakeBroker(sleep=self.clock.advance, clock=self.clock)
        self.dynamodb.faults.before = self._before
        self._producer = self.broker.producer()

    def worker(
        self,
        *,
        reset: str = "earliest",
        commits: bool = True,
        join: bool = True,
        reread: Callable[[int, Iterable[int]], dict[int, Any]] | None = None,
        **settings: Any,
    ) -> Member:
        """Start a worker of the group; it joins at its first turn."""
        told = Settings(topic=TOPIC, group_id=GROUP, tables=tuple(self.tables), **settings)
        config = consumer_config(told, eof=True)
        client = cast("Any", self.dynamodb)
        keys = {table: describe(client, table) for table in told.tables}
        counters = Counters(client, keys)
        meter = Meter(counters.execute, self.clock)
        writer = self.make_writer(
            meter,
            max_requests=told.max_requests,
            first_step=Step.UPDATE if told.write_mode == "batch" else Step.UPDATE_ITEM,
            clock=self.clock,
        )
        sender = Sender(self.broker, {})
        sender.world = self
        letters = DeadLetters(
            ReplaceableClient(lambda: sender), told.dead_letters, GROUP, self.clock
        )
        topic_id = self.broker.topic_ids[TOPIC]
        offsets = Offsets(
            TOPIC, GROUP, topic_id=topic_id, reset=reset, commits=commits, clock=self.clock
        )
        decoder = Decoder(
            keys, default_counter=told.counter, min_incr=told.min_incr, max_incr=told.max_incr
        )
        worker = Worker(
            told,
            make_consumer=self._consumer,
            config=config,
            decoder=decoder,
            writer=writer,
            letters=letters,
            read_again=reread or (lambda number, wanted: self.read_again(config, number, wanted)),
            offsets=offsets,
            topic_id_check=TopicIdCheck(TOPIC, topic_id, self.ask_topic_id, self.clock),
            clock=self.clock,
        )
        member = self.make_member(self, worker, writer, letters, offsets)
        worker._wake = cast("Any", Wake(member))
        ends = EndOffsetPoller(
            worker.progress.brokers, self.ask_ends, self.ask_high_watermarks, self.clock
        )
        snapshots = SnapshotSource(
            worker=worker,
            decoder=decoder,
            letters=letters,
            offsets=offsets,
            counters=counters,
            meter=meter,
            stalled_after_s=told.progress_timeout_ms / 1000,
            clock=self.clock,
            unix_clock=self.clock,
        )
        member.status = Status(
            told,
            snapshots.take,
            lambda: ends.poll(worker.partitions),
            clock=self.clock,
            unix_clock=self.clock,
        )
        self.clock.watchers.append(lambda: _notify(writer))
        self.members.append(member)
        if join:
            worker.subscribe()
        return member

    def ask_topic_id(self) -> "Future[str | None]":
        """Answer at once what the topic's id is, or that no broker is there."""
        self.asked_topic_id += 1
        answer: Future[str | None] = Future()
        if self.broker.faults.down or self.topic_id_held:
            answer.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
        else:
            answer.set_result(self.broker.topic_ids[TOPIC])
        return answer

    def ask_ends(self, numbers: Collection[int]) -> "dict[int, Future[int]]":
        """Answer at once where partitions end, or that no broker is there."""
        found: dict[int, Future[int]] = {number: Future() for number in numbers or (-1,)}
        for number, answer in found.items():
            log = self.broker.log(TOPIC, number)
            if self.topic_missing:
                error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
                answer.set_exception(KafkaException(error))
            elif number < 0 and not self.broker.faults.down:
                answer.set_result(-1)
            elif self.broker.faults.down or log is None:
                answer.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
            else:
                answer.set_result(log.high)
        return found

    def ask_high_watermarks(self, numbers: Collection[int]) -> "dict[int, Future[int]]":
        """Answer at once with the high watermarks, above the ends by what transactions hold."""
        found = self.ask_ends(numbers)
        for number, answer in found.items():
            if answer.exception() is None and self.held_by_transactions:
                found[number] = Future()
                found[number].set_result(answer.result() + self.held_by_transactions)
        return found

    def read_again(
        self, config: Mapping[str, Any], number: int, wanted: Iterable[int]
    ) -> dict[int, Any]:
        """Read messages a second time, as the product does."""
        return read_again(lambda: cast("Any", self.broker.consumer(config)), TOPIC, number, wanted)

    def _consumer(self, config: dict[str, Any]) -> Recorder:
        consumer = Recorder(self.broker, config, f"member-{len(self.members)}")
        consumer.world = self
        return consumer

    def _before(self, request: Request) -> Exception | None:
        if request.operation not in WRITES:
            return None
        table, keys = written(request)
        self.sent.append(keys)
        self.gate(table)
        return self.refuse(request) if self.refuse else None

    def lose_answers(self, *, lost: bool = True) -> None:
        """Apply writes from now on, but never answer them."""
        error = ReadTimeoutError(endpoint_url="memory://dynamodb")
        hook = lambda request, _response: error if request.operation in WRITES else None  # noqa: E731
        self.dynamodb.faults.after = hook if lost else None

    def table(self, name: str) -> None:
        """Make a table with the hash key ``pk``."""
        self.tables.append(name)
        self.dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        )

    def spoil(self, key: str, table: str = "hits") -> None:
        """Make an item whose counter is a string, which no event can be added to."""
        item = {"pk": {"S": key}, "count": {"S": "many"}}
        self.dynamodb.put_item(TableName=table, Item=item)

    def emit(
        self,
        *keys: str,
        partition: int = 0,
        table: str = "hits",
        counter: str | None = None,
        incr: int = 1,
    ) -> None:
        """Put an event for each key into a partition."""
        for key in keys:
            row = Row(table, key, counter=counter, incr=incr)
            self.put(encode(row), partition=partition, row=row)

    def put(
        self,
        payload: bytes | None,
        *,
        partition: int = 0,
        key: bytes | None = None,
        headers: Headers | None = None,
        row: Row | None = None,
    ) -> int:
        """Put a message into a partition and return its offset; without ``row`` it is a bad one."""
        offset = self.broker.append(TOPIC, partition, key, payload, headers or [])
        self.emitted[partition, offset] = row
        return offset

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    def turn(self, times: int = 1) -> None:
        """Let each living member tick."""
        for _ in range(times):
            for member in self.members:
                if member.alive:
                    member.turn()

    def until(self, condition: Callable[[], bool], *, step_s: float = 0.0, most: int = 400) -> None:
        """Take turns, each ``step_s`` seconds later, until the condition holds."""
        for _ in range(most):
            self.turn()
            if condition():
                return
            self.advance(step_s)
        raise AssertionError(f"not so after {most} turns: {self.asked[-5:]}")

    def window(self) -> None:
        """Let the events that are there be read, their window end, and what follows happen."""
        self.turn(2)
        self.advance(1.0)
        self.turn(4)

    def committed(self, partition: int = 0) -> int | None:
        """Return the group's committed offset."""
        return self.broker.committed(GROUP, TOPIC, partition)

    def set_committed(self, partition: int, offset: int) -> None:
        """Set the group's committed offset."""
        group = self.broker.group(GROUP)
        group.offsets[TOPIC, partition] = offset

    def all_committed(self) -> bool:
        """Return whether all that was emitted is committed."""
        ends = {number: 0 for number, _ in self.emitted}
        for number, offset in self.emitted:
            ends[number] = max(ends[number], offset + 1)
        return all((self.committed(n) or 0) >= end for n, end in ends.items())

    def counts(self, table: str = "hits") -> dict[str, int]:
        """Return the counters of a table by key; one that is no number is left out."""
        return {
            item["pk"]["S"]: int(item["count"]["N"])
            for item in self.dynamodb.items(table)
            if "N" in item.get("count", {})
        }

    def letters(self) -> dict[tuple[int, int], Message]:
        """Return the dead letters by partition and offset of their events; the last of each."""
        found = {}
        for message in self.broker.messages(LETTERS):
            headers = headers_of(message)
            place = int(headers["dynatomic.partition"]), int(headers["dynatomic.offset"])
            found[place] = message
        return found

    def expected(self, below: Mapping[int, int] | None = None) -> Counter[tuple[str, str]]:
        """Return the sums of the emitted events, or of those below an offset a partition."""
        sums: Counter[tuple[str, str]] = Counter()
        for (number, offset), row in self.emitted.items():
            counted = row is not None and row.counter is None  # the others a test looks at itself
            if row and counted and (below is None or offset < below.get(number, 0)):
                sums[row.table, row.key] += row.incr
        return sums

    def check_committed(self, offered: Mapping[int, int], _ids: Mapping[int, str]) -> None:
        """Fail if a commit covers an event that is neither in its counter nor a dead letter."""
        about = self.broker.group(GROUP).metadata
        ours = [n for n, _ in self.emitted if about.get((TOPIC, n)) == self.broker.topic_ids[TOPIC]]
        offered = {n: self.committed(n) or 0 for n in ours} | dict(offered)
        letters = self.letters()
        stored: Counter[tuple[str, str]] = Counter()
        for (number, offset), row in self.emitted.items():
            if offset < offered.get(number, 0):
                kept = (number, offset) in letters
                assert kept or row is not None, f"bad event {number}:{offset} is no dead letter"
                if kept and row is not None and row.counter is None:
                    stored[row.table, row.key] += row.incr
        counts = {table: self.counts(table) for table in self.tables}
        for (table, key), total in self.expected(offered).items():
            have = counts[table].get(key, 0) + stored[table, key]
            assert have >= total, f"commit of {offered}, but {key} of {table}: {have} < {total}"

    def check_accounted(self) -> None:
        """Fail if a member read an event that is in no window and has no outcome."""
        for member in self.members:
            assert member.status is not None
            unaccounted = member.status.take_snapshot().unaccounted_events
            assert not any(unaccounted.values()), f"events without an outcome: {unaccounted}"

    def close(self) -> None:
        """End all members and their threads."""
        self.gate.open()
        for member in self.members:
            member.worker.close()
            member.writer.close()


def _notify(writer: Writer) -> None:
    with writer._changed:
        writer._changed.notify_all()


def written(request: Request) -> tuple[str, dict[str, int]]:
    """Return the table of a write, and what it adds to which key."""
    params = request.params
    if request.operation == "UpdateItem":
        value = int(params["ExpressionAttributeValues"][":0"]["N"])
        return params["TableName"], {params["Key"]["pk"]["S"]: value}
    adds = {}
    for statement in params["Statements"]:
        # Of the numbers the first is the sum, the others are the fence's.
        kinds = {kind: text for p in reversed(statement["Parameters"]) for kind, text in p.items()}
        adds[kinds["S"]] = int(kinds["N"])
    return params["Statements"][0]["Statement"].split('"')[1], adds


def headers_of(message: Message) -> dict[str, str]:
    """Return a message's headers as text."""
    pairs = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return {name: (content or b"").decode(errors="replace") for name, content in pairs}


@contextmanager
def world(partitions: int = 1, tables: Iterable[str] = ("hits",)) -> Iterator[World]:
    """Make a world with a topic, its dead-letter topic and tables; ends its members afterwards."""
    made = World()
    made.broker.create_topic(TOPIC, partitions)
    made.broker.create_topic(LETTERS)
    for name in tables:
        made.table(name)
    try:
        yield made
        made.check_accounted()
    finally:
        made.close()
