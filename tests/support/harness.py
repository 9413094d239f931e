"""Workers on the fakes: the real Worker, Decoder, Writer, DeadLetters and Offsets in one process.

Nothing depends on time: the clock moves only when a test, or a wait of the code under test, moves
it, and each `World.turn` lets the writers' threads do all they can before it returns. What a
worker commits is checked at that moment against all that was emitted (`World.check_committed`).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from botocore.exceptions import ReadTimeoutError
from confluent_kafka import KafkaError, KafkaException

from dynatomic.config.settings import Settings
from dynatomic.counting.definition import CountersFile
from dynatomic.dead_letters.store import DeadLetters
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.meter import Meter
from dynatomic.dynamodb.statements import Step
from dynatomic.dynamodb.tables import describe_with_ttl
from dynatomic.dynamodb.writer import Writer
from dynatomic.kafka.client import consumer_config
from dynatomic.kafka.event_reader import event_reader
from dynatomic.kafka.replaceable import ReplaceableClient
from dynatomic.kafka.topic_identity import TopicIdCheck
from dynatomic.service.end_offsets import EndOffsetPoller
from dynatomic.service.status import Status
from dynatomic.testing.dynamodb.client import Request
from dynatomic.worker.loop import Worker
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.rereading import Reread, read_again
from dynatomic.worker.snapshot import SnapshotSource
from tests.support.clients import GROUP, LETTERS, TOPIC, WRITES, Gate, Recorder, Sender, written
from tests.support.ledger import Ledger
from tests.support.member import Member, Wake


@dataclass
class World(Ledger):
    """A broker, tables, a clock, and the group's members."""

    gate: Gate = field(default_factory=Gate)
    members: list[Member] = field(default_factory=list)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    sent: list[dict[str, int]] = field(default_factory=list)
    refuse: Callable[[Request], Exception | None] | None = None
    commit_raises: KafkaException | None = None
    deliveries_held: bool = False
    letters_held: bool = False
    topic_id_held: bool = False
    topic_missing: bool = False
    held_by_transactions: int = 0
    reread_bytes: int = 1_000_000
    asked_topic_id: int = 0
    make_writer: Callable[..., Writer] = Writer
    make_member: Callable[..., Member] = Member

    def __post_init__(self) -> None:
        super().__post_init__()
        self.dynamodb.faults.before = self._before

    def worker(
        self,
        *,
        reset: str = "earliest",
        commits: bool = True,
        join: bool = True,
        reread: Callable[[int, Iterable[int]], Reread] | None = None,
        definition: CountersFile | None = None,
        has_new_counters: bool = False,
        **settings: Any,
    ) -> Member:
        """Start a worker of the group; it joins at its first turn."""
        all_settings = Settings(topic=TOPIC, group_id=GROUP, tables=tuple(self.tables), **settings)
        config = consumer_config(all_settings, eof=True)
        client = cast("Any", self.dynamodb)
        keys = {table: describe_with_ttl(client, table) for table in all_settings.tables}
        counters = Counters(client, keys)
        meter = Meter(counters.execute, self.clock)
        reader = event_reader(all_settings, keys, definition)
        writer = self.make_writer(
            meter,
            max_requests=all_settings.max_requests,
            first_step=Step.UPDATE if all_settings.write_mode == "batch" else Step.UPDATE_ITEM,
            clock=self.clock,
        )
        sender = Sender(self.broker, {})
        sender.world = self
        letters = DeadLetters(
            ReplaceableClient(lambda: sender), all_settings.dead_letters, GROUP, self.clock
        )
        topic_id = self.broker.topic_ids[TOPIC]
        offsets = Offsets(
            TOPIC,
            GROUP,
            topic_id=topic_id,
            tables=all_settings.tables if all_settings.exactly_once else (),
            reset=reset,
            commits=commits,
            clock=self.clock,
        )
        worker = Worker(
            all_settings,
            make_consumer=self._consumer,
            config=config,
            reader=reader,
            writer=writer,
            letters=letters,
            read_again=reread or (lambda number, wanted: self.read_again(config, number, wanted)),
            offsets=offsets,
            topic_id_check=TopicIdCheck(TOPIC, topic_id, self.ask_topic_id, self.clock),
            has_new_counters=has_new_counters,
            clock=self.clock,
        )
        member = self.make_member(self, worker, writer, letters, offsets)
        worker._wake = cast("Any", Wake(member))
        ends = EndOffsetPoller(
            worker.progress.brokers, self.ask_ends, self.ask_high_watermarks, self.clock
        )
        snapshots = SnapshotSource(
            worker=worker,
            reader=reader,
            letters=letters,
            offsets=offsets,
            counters=counters,
            meter=meter,
            stalled_after_s=all_settings.progress_timeout_ms / 1000,
            clock=self.clock,
            unix_clock=self.clock,
        )
        member.status = Status(
            all_settings,
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
                answer.set_result(log.stable)
        return found

    def ask_high_watermarks(self, numbers: Collection[int]) -> "dict[int, Future[int]]":
        """Answer at once with the high watermarks, above the ends by what transactions hold."""
        found = self.ask_ends(numbers)
        for number, answer in found.items():
            log = self.broker.log(TOPIC, number)
            if answer.exception() is None and log is not None:
                found[number] = Future()
                found[number].set_result(log.high + self.held_by_transactions)
        return found

    def read_again(self, config: Mapping[str, Any], number: int, wanted: Iterable[int]) -> Reread:
        """Read messages a second time, as the product does."""
        return read_again(
            lambda: cast("Any", self.broker.consumer(config)),
            TOPIC,
            number,
            wanted,
            max_bytes=self.reread_bytes,
        )

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
