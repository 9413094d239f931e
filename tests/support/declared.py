"""A world whose events are JSON, counted as a counters file says."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dynatomic.counting.file import loads
from tests.support.clients import TOPIC
from tests.support.harness import World, world
from tests.support.member import Member

if TYPE_CHECKING:
    from dynatomic.counting.definition import CountersFile

FILE = """
[[counter]]
name = "daily"
when = "kind != 'internal'"
table = "usage"
key = "{tenant}"
range = "day#{time|day}"
add = { requests = 1, bytes = "size" }
expires = "2d"

[[counter]]
name = "route"
when = "route"
table = "usage"
key = "{tenant}"
range = "route#{route}"
add = { requests = 1 }

[[counter]]
name = "all"
table = "totals"
key = "{_kafka.partition}"
when = "kind != 'internal'"
add = { requests = 1 }
"""

Values = dict[tuple[str, str, str | None, str], int]
"""Counters by table, key, range and attribute."""


class DeclaredWorld:
    """A world with the tables of `FILE`, and what its events add."""

    def __init__(self, made: World, text: str = FILE) -> None:
        self.world = made
        self.definition: CountersFile = loads(text)

    def worker(self, **settings: Any) -> Member:
        """Start a worker that counts by the file."""
        return self.world.worker(definition=self.definition, **settings)

    def emit(self, *events: Any, partition: int = 0, **more: Any) -> int:
        """Put events into a partition; None is a tombstone, and bytes are put as they are."""
        for event in events:
            is_raw = event is None or isinstance(event, bytes)
            payload = event if is_raw else json.dumps(event).encode()
            offset = self.world.broker.append(
                TOPIC, partition, more.get("key"), payload, more.get("headers") or []
            )
        return offset

    def values(self, *, hidden: tuple[str, ...] = ("pk", "rk", "expires_at")) -> Values:
        """Return all counters of the tables."""
        found: Values = {}
        for table in self.world.tables:
            for item in self.world.dynamodb.items(table):
                for name, value in item.items():
                    if name not in hidden and "N" in value and not name.startswith("fence_"):
                        range_ = item["rk"]["S"] if "rk" in item else None
                        found[table, item["pk"]["S"], range_, name] = int(value["N"])
        return found

    def outcomes(self) -> Counter[str]:
        """Return the events of all members by outcome."""
        total: Counter[str] = Counter()
        for member in self.world.members:
            for counts in member.worker.event_counts.values():
                total.update({name: getattr(counts, name) for name in counts.__slots__})
        return +total


@contextmanager
def declared(partitions: int = 1, text: str = FILE) -> Iterator[DeclaredWorld]:
    """Make such a world; ends its members afterwards."""
    with world(partitions, tables=()) as made:
        made.table("usage", range_key=True, ttl="expires_at")
        made.table("totals")
        yield DeclaredWorld(made, text)
