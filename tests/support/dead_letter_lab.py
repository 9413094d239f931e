"""Dead letters on the fake broker, and a transactional producer that can fail or be killed."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from confluent_kafka import KafkaError, KafkaException

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.letter import DeadLetter
from dynatomic.dead_letters.replay import (
    ReplayOptions,
    ReplayPlan,
    ReplayRun,
    is_committed_by,
    judge_by,
)
from dynatomic.dead_letters.sender import NonTransactionalProducer, Sender
from dynatomic.dead_letters.show import LetterReport, ShowOptions
from dynatomic.dead_letters.store import DeadLetters
from dynatomic.dead_letters.topic import DeadLetterTopic, StoredLetter, reader_config
from dynatomic.events.decoder import Decoder
from dynatomic.events.payload import PayloadReader
from dynatomic.events.row import KeySchema, Row
from dynatomic.events.schema import encode
from dynatomic.kafka.event_reader import RowReader
from dynatomic.kafka.groups import CommittedOffset
from dynatomic.kafka.replaceable import ReplaceableClient
from dynatomic.kafka.replayed import REPLAY
from dynatomic.testing.kafka.broker import FakeBroker
from tests.support.clients import GROUP, LETTERS, TOPIC, Clock

if TYPE_CHECKING:
    from collections.abc import Callable

ID = f"{7:032x}"
SETTINGS = Settings(topic=TOPIC, group_id=GROUP, tables=("hits",))
KEYS = {"hits": KeySchema("pk")}
FENCED = KafkaException(KafkaError(KafkaError._FENCED))


class Killed(BaseException):
    """The process ends here."""


class Transactions:
    """What the brokers know of one transactional id."""

    def __init__(self) -> None:
        self.epoch = 0


class TransactionalProducer:
    """What is produced is in the topics once its transaction is committed, and only then.

    ``dies`` says before or after which call the process ends: ("commit", 1) is before the second
    commit, ("committed", 0) after the first.
    """

    def __init__(
        self,
        broker: FakeBroker,
        known: Transactions,
        dies: tuple[str, int] | None = None,
    ) -> None:
        self.broker = broker
        self.known = known
        self.epoch = -1
        self.calls: Counter[str] = Counter()
        self.dies = dies
        self.failures: list[tuple[str, KafkaException]] = []
        self.refuses: KafkaError | None = None
        self.open: list[Any] | None = None
        self.sizes: list[int] = []

    def _call(self, name: str) -> None:
        if self.dies == (name, self.calls[name]):
            raise Killed
        self.calls[name] += 1
        if self.failures and self.failures[0][0] == name:
            raise self.failures.pop(0)[1]
        if name != "init" and self.epoch != self.known.epoch:
            raise FENCED

    def init_transactions(self, _timeout: float) -> None:
        self._call("init")
        self.known.epoch += 1
        self.epoch = self.known.epoch

    def begin_transaction(self) -> None:
        self._call("begin")
        self.open = []

    def produce(self, topic: str, **message: Any) -> None:
        self._call("produce")
        assert self.open is not None
        message.pop("on_delivery")(self.refuses, None)
        self.open.append((topic, message))

    def poll(self, _timeout: float) -> int:
        return 0

    def flush(self, _timeout: float) -> int:
        self._call("flush")
        return 0

    def commit_transaction(self, _timeout: float) -> None:
        self._call("commit")
        if self.refuses:
            raise KafkaException(KafkaError(KafkaError._INCONSISTENT))
        for topic, message in self.open or []:
            number = message["partition"]
            values = (message["key"], message["value"], message["headers"])
            self.broker.append(topic, max(number, 0), *values)
        for topic in (TOPIC, LETTERS):
            self.broker.append_gap(topic, 0)  # the brokers' own record of the commit
        self.sizes.append(len(self.open or []))
        self.open = None
        self._call("committed")

    def abort_transaction(self, _timeout: float) -> None:
        self._call("abort")
        self.open = None


class Lab:
    """A topic, its dead-letter topic, and the real code that reads and replays it."""

    def __init__(self, partitions: int = 2) -> None:
        self.clock = Clock()
        self.broker = FakeBroker(clock=self.clock, sleep=self.clock.advance)
        self.broker.create_topic(TOPIC, partitions)
        self.broker.create_topic(LETTERS)
        self.known = Transactions()
        self.committed: dict[int, int] = dict.fromkeys(range(partitions), 1_000_000)
        self.keys = dict(KEYS)

    def store(self, offset: int, value: bytes | None = b"\xff", **more: Any) -> DeadLetter:
        """Store a letter as a consumer does."""
        group, topic_id = more.pop("group", GROUP), more.pop("topic_id", ID)
        fields: dict[str, Any] = {
            "topic": TOPIC,
            "partition": 0,
            "offset": offset,
            "key": b"its key",
            "value": value,
            "headers": (),
            "reason": "undecodable",
            "detail": "EOFError",
        }
        item = DeadLetter(**(fields | more))
        letters = DeadLetters(
            ReplaceableClient(self.broker.producer), LETTERS, group, topic_id=topic_id
        )
        letters.store(item, lambda: None)
        letters.poll()
        assert letters.pending == 0
        return item

    def row(self, offset: int, key: str = "a", **more: Any) -> DeadLetter:
        """Store the letter of a row that these settings count."""
        return self.store(offset, encode(Row("hits", key)), reason="table-not-allowed", **more)

    def commits(self) -> dict[int, CommittedOffset]:
        """Return the group's commits."""
        return {number: CommittedOffset(offset, ID) for number, offset in self.committed.items()}

    def topic(self) -> DeadLetterTopic:
        consumer = self.broker.consumer(reader_config(SETTINGS))
        return DeadLetterTopic(consumer, LETTERS, clock=self.clock)

    def show(self, **options: Any) -> tuple[list[str], list[str]]:
        shown = LetterReport(self.topic(), ShowOptions(**options), PayloadReader({}))
        return list(shown.lines()), list(shown.summary())

    def json(self, **options: Any) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.show(output="json", **options)[0]]

    def producer(self, dies: tuple[str, int] | None = None) -> TransactionalProducer:
        return TransactionalProducer(self.broker, self.known, dies)

    def replay(
        self,
        producer: TransactionalProducer | NonTransactionalProducer | None = None,
        settings: Settings = SETTINGS,
        **options: Any,
    ) -> ReplayPlan:
        given = ReplayOptions(**{"execute": True} | options)
        judge = judge_by(RowReader(Decoder(self.keys)))
        sender = None
        if given.execute:
            partitions = len(self.broker.logs[TOPIC])
            sender = Sender(producer or self.producer(), settings, partitions, clock=self.clock)
        send: Callable[[StoredLetter], None] = sender.add if sender else lambda _: None
        committed = is_committed_by(self.commits(), ID)
        plan = ReplayRun(settings, given, self.topic(), judge, committed, send).run()
        if sender:
            sender.flush()
        return plan

    def replayed(self) -> list[str]:
        """Return the sources of the rows that were replayed, in order."""
        return [dict(headers(m))[REPLAY].decode() for m in self.broker.messages(TOPIC)]


def headers(message: Any) -> list[tuple[str, bytes]]:
    return cast("list[tuple[str, bytes]]", message.headers() or [])
