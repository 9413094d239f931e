"""What was emitted on the fakes, and what became of it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from confluent_kafka import Message

from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.kafka.commit_metadata import parse
from dynatomic.testing.dynamodb.client import FakeDynamoDB
from dynatomic.testing.kafka.broker import FakeBroker
from tests.support.clients import GROUP, LETTERS, TOPIC, Clock, headers_of

Headers = list[tuple[str, bytes | None]]


@dataclass
class Ledger:
    """A broker and tables, what was emitted, and what became of it."""

    clock: Clock = field(default_factory=Clock)
    dynamodb: FakeDynamoDB = field(default_factory=FakeDynamoDB)
    tables: list[str] = field(default_factory=list)
    emitted: dict[tuple[int, int], Row | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.broker = FakeBroker(sleep=self.clock.advance, clock=self.clock)
        self._producer = self.broker.producer()

    def table(self, name: str, *, range_key: bool = False, ttl: str | None = None) -> None:
        """Make a table with the hash key ``pk``, and a range key ``rk`` and a TTL attribute."""
        self.tables.append(name)
        self.make_table(name, **({"pk": "S", "rk": "S"} if range_key else {}))
        if ttl is not None:
            self.dynamodb.update_time_to_live(
                TableName=name,
                TimeToLiveSpecification={"Enabled": True, "AttributeName": ttl},
            )

    def make_table(self, name: str, **keys: str) -> None:
        """Make a table with these keys and types, the hash key first; it is ``pk`` without any."""
        keys = keys or {"pk": "S"}
        self.dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[
                {"AttributeName": key, "KeyType": kind}
                for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
            ],
            AttributeDefinitions=[
                {"AttributeName": key, "AttributeType": kind} for key, kind in keys.items()
            ],
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
        current_id = self.broker.topic_ids[TOPIC]
        ours = [
            n for n, _ in self.emitted if parse(about.get((TOPIC, n), "")).topic_id == current_id
        ]
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
