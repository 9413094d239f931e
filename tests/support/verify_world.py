"""A topic, a table and a group, written by hand, which `Comparison` reads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from confluent_kafka import ConsumerGroupState, ConsumerGroupType, KafkaError, KafkaException

from dynatomic.config.settings import ProcessingGuarantee, Settings
from dynatomic.dead_letters.letter import HEADERS, TOPIC_ID
from dynatomic.dead_letters.notes import note_headers
from dynatomic.dead_letters.topic import reader_config
from dynatomic.dynamodb.answers import Item
from dynatomic.dynamodb.fence import fence_name
from dynatomic.dynamodb.items import ItemKey, Sleep, item_identity, read_items
from dynatomic.dynamodb.tables import describe
from dynatomic.events.decoder import Decoder
from dynatomic.events.payload import PayloadReader
from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.kafka.client import consumer_config
from dynatomic.kafka.event_reader import RowReader
from dynatomic.testing.dynamodb.client import FakeDynamoDB
from dynatomic.testing.kafka.broker import FakeBroker
from dynatomic.verify.baseline import Baseline, Snapshot
from dynatomic.verify.comparison import Comparison
from dynatomic.verify.group_state import GroupState
from dynatomic.verify.letters import GroupLetters
from dynatomic.verify.recount import Recount
from dynatomic.verify.report import VerifyReport
from dynatomic.verify.sample import CounterSample

TOPIC, GROUP, LETTERS = "row-events", "dynatomic", "row-events.dlq"
FENCED: ProcessingGuarantee = "exactly-once"
UNFENCED: ProcessingGuarantee = "at-least-once"


@dataclass
class Admin:
    """Tells the members of a group; None as brokers do that cannot."""

    members: int | None = 0
    looks: list[Callable[[], object]] = field(default_factory=list)

    def describe_consumer_groups(
        self, names: Sequence[str], *, request_timeout: float
    ) -> dict[str, Any]:
        assert request_timeout > 0
        if self.looks:
            self.looks.pop(0)()
        answer: Future[Any] = Future()
        if self.members is None:
            answer.set_exception(KafkaException(KafkaError(KafkaError._UNSUPPORTED_FEATURE)))
        else:
            nothing = SimpleNamespace(topic_partitions=[])
            member = SimpleNamespace(member_id="m", host="h", client_id="c", assignment=nothing)
            state = ConsumerGroupState.STABLE if self.members else ConsumerGroupState.EMPTY
            answer.set_result(
                SimpleNamespace(
                    state=state,
                    members=[member] * self.members,
                    type=ConsumerGroupType.CLASSIC,
                    partition_assignor="",
                )
            )
        return dict.fromkeys(names, answer)


class Asking:
    """A consumer that calls ``before`` each time that it is asked something."""

    def __init__(self, consumer: Any, before: Callable[[], object]) -> None:
        self._consumer, self._before = consumer, before

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._consumer, name)

        def call(*arguments: Any, **more: Any) -> Any:
            self._before()
            return method(*arguments, **more)

        return call


class World:
    """A topic, a table and a group, written by hand."""

    def __init__(self, partitions: int = 1, *, ranged: bool = False) -> None:
        self.broker = FakeBroker()
        self.broker.create_topic(TOPIC, partitions)
        self.identity = self.broker.topic_ids[TOPIC]
        self.dynamodb = FakeDynamoDB()
        self.admin = Admin()
        self.on_consume: Callable[[], object] = lambda: None
        self.on_read: Callable[[], object] = lambda: None
        self.on_request: Callable[[], object] = lambda: None
        self.broker.create_topic(LETTERS, 1)
        names = ["pk", "rk"] if ranged else ["pk"]
        for table in ("hits", "bytes"):
            self.dynamodb.create_table(
                TableName=table,
                AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in names],
                KeySchema=[
                    {"AttributeName": n, "KeyType": role}
                    for n, role in zip(names, ("HASH", "RANGE"), strict=False)
                ],
            )

    def emit(self, *keys: str, incr: int = 1, partition: int = 0, **fields: Any) -> int:
        """Store an event a key; return the last offset."""
        for key in keys:
            row = Row(
                fields.get("table", "hits"),
                key,
                range=fields.get("range"),
                counter=fields.get("counter"),
            )
            self.put_raw(encode(row._replace(incr=incr)), partition)
        return self.broker.logs[TOPIC][partition].high - 1

    def put_raw(self, payload: bytes | None, partition: int = 0) -> int:
        return self.broker.append(TOPIC, partition, None, payload, [])

    def item(
        self,
        key: str,
        count: float | str | None = None,
        fences: Mapping[int, int] | None = None,
        **more: Any,
    ) -> None:
        """Put an item in the place of what was there; a text is a counter that is no number."""
        item: dict[str, Any] = {"pk": {"S": key}, "note": {"S": "not a counter"}}
        if count is not None:
            item["count"] = {"S": count} if isinstance(count, str) else {"N": str(count)}
        for number, offset in (fences or {}).items():
            item[fence_name(self.identity, number)] = {"N": str(offset)}
        table = more.pop("table", "hits")
        self.dynamodb.put_item(TableName=table, Item=item | more)

    def letter(self, offset: int, partition: int = 0, *, group: str = GROUP) -> None:
        """Store a dead letter of an event."""
        source = (TOPIC, str(partition), str(offset), "counter-not-a-number", "", group)
        headers = [*zip(HEADERS, source, strict=True), (TOPIC_ID, self.identity)]
        log = self.broker.logs[TOPIC][partition]
        event = cast("Any", log.messages[offset - log.low])
        own = [(name, value.encode()) for name, value in headers]
        self.broker.append(LETTERS, 0, event.key(), event.value(), own)

    def replayed(self, *offsets: int, partition: int = 0) -> None:
        """Store a note that the letters of these events were replayed."""
        headers = note_headers({(TOPIC, self.identity, partition): offsets})
        self.broker.append(LETTERS, 0, None, None, cast("Any", headers))

    def commit(self, *offsets: int) -> None:
        group = self.broker.group(GROUP)
        for number, offset in enumerate(offsets):
            group.offsets[TOPIC, number] = offset

    def verify(
        self,
        guarantee: ProcessingGuarantee = FENCED,
        *,
        baseline: Path | None = None,
        snapshot: Path | None = None,
        sample: CounterSample | None = None,
        **more: Any,
    ) -> VerifyReport:
        config = Settings(
            topic=TOPIC,
            group_id=GROUP,
            tables=more.pop("tables", ("hits", "bytes")),
            processing_guarantee=guarantee,
            max_requests=2,
            **more,
        )
        client = cast("Any", self.dynamodb)
        keys = {table: describe(client, table) for table in config.tables}
        consumer = self.broker.consumer(consumer_config(config, eof=True))
        consume = consumer.consume

        def consume_and_tell(*arguments: Any) -> Any:
            self.on_consume()
            return consume(*arguments)

        consumer.consume = consume_and_tell  # type: ignore[method-assign, assignment]
        asking = cast("Any", Asking(consumer, self.on_request))
        letters = GroupLetters(
            lambda: Asking(self.broker.consumer(reader_config(config)), self.on_request),
            config,
            self.identity,
            PayloadReader({}),
            RowReader(Decoder({})),
        )

        def read_batch(
            table: str, wanted: Sequence[ItemKey], sleep: Sleep
        ) -> Mapping[ItemKey, Item]:
            self.on_read()
            return read_items(client, table, keys[table], wanted, sleep=sleep)

        def scan(table: str) -> Iterator[tuple[ItemKey, Item]]:
            for found in self.dynamodb.items(table):
                self.on_read()
                yield item_identity(keys[table], found), found

        opened = Baseline.open(baseline) if baseline else None
        if opened:
            opened.check(TOPIC, self.identity)
        written = Snapshot(snapshot) if snapshot else None
        recount = Recount(
            RowReader(Decoder(keys, min_incr=config.min_incr, max_incr=config.max_incr)), sample
        )
        try:
            verdict = Comparison(
                config,
                asking,
                GroupState(asking, self.admin, config, self.identity),
                read_batch,
                scan,
                recount,
                self.identity,
                opened,
                written,
                letters,
            ).run()
            if written and verdict.ok:
                written.complete()
        finally:
            consumer.close()
            if written:
                written.__exit__()
        return verdict


def differences(verdict: VerifyReport) -> dict[str, int]:
    """Return the differences by key."""
    return {str(d.item): d.difference for d in verdict.differences}


def first_line(verdict: VerifyReport, limit: int = 20) -> str:
    return next(iter(verdict.text(limit)))


AFTER = "{} events are after the committed offsets"
