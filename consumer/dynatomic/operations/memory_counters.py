"""Row events and their counters in memory, for tests of producers."""

from types import TracebackType
from typing import Any, Self

from dynatomic.dynamodb.increment_many import increment_many
from dynatomic.events.payload import decode
from dynatomic.events.row import Row
from dynatomic.kafka.emitter import Emitter
from dynatomic.testing.dynamodb.client import FakeDynamoDB
from dynatomic.testing.kafka.broker import FakeBroker

TOPIC = "row-events"


class MemoryCounters:
    """A topic, and tables that are created when the first event names them.

    ``emit`` is an `Emitter` for the code under test. A table has a range key if its first event
    has a range.
    """

    def __init__(self) -> None:
        self._broker = FakeBroker()
        self._broker.create_topic(TOPIC, 1)
        self._client: Any = FakeDynamoDB()
        self._tables: set[str] = set()
        self._read = 0
        self.emit = Emitter("in-memory", topic=TOPIC, producer=self._broker.producer({}))

    def rows(self) -> list[Row]:
        """Return all rows that were emitted. Raises RowError for an event that is no row."""
        self.emit.flush()
        return [decode(message.value() or b"") for message in self._broker.messages(TOPIC)]

    def count(self) -> int:
        """Add the rows since the last call to their counters; return how many they are.

        Raises RowError for an event that no consumer could count.
        """
        rows = self.rows()[self._read :]
        self._read += len(rows)
        for row in rows:
            if row.table not in self._tables:
                self._create(row)
        increment_many(rows, client=self._client)
        return len(rows)

    def value(
        self,
        table: str,
        key: str,
        *,
        range: str | None = None,  # noqa: A002 - the field of the row
        counter: str = "count",
    ) -> int:
        """Count, and return the value of one counter; 0 if nothing was added to it."""
        self.count()
        if table not in self._tables:
            return 0
        item = {"pk": {"S": key}} | ({} if range is None else {"rk": {"S": range}})
        answer = self._client.get_item(TableName=table, Key=item, ConsistentRead=True)
        return int(answer.get("Item", {}).get(counter, {"N": "0"})["N"])

    def _create(self, row: Row) -> None:
        keys = {"pk": "HASH"} | ({} if row.range is None else {"rk": "RANGE"})
        self._client.create_table(
            TableName=row.table,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
        )
        self._tables.add(row.table)

    def __enter__(self) -> Self:
        """Give this object to the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the emitter."""
        self.emit.close()
