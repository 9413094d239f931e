"""The result of `dynatomic verify`, as text or as JSON. No client, no clock."""

import heapq
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from dynatomic.console import plural, printable, table_lines
from dynatomic.dynamodb.answers import Item
from dynatomic.dynamodb.items import ItemKey, key_of
from dynatomic.verify.letters import WaitingLetters
from dynatomic.verify.recount import BASE, ahead

_LONGEST_KEY = 60
_HEADINGS = ("table", "item", "counter", "in topic", "in table", "difference", "partitions")
_RIGHT_ALIGNED = {3, 4, 5}


@dataclass(frozen=True, slots=True)
class TableValue:
    """The value of a counter in a table; ``note`` is the reason if there is no number."""

    value: int = 0
    note: str = ""

    @property
    def is_number(self) -> bool:
        """Whether it can be compared. A missing counter counts as 0."""
        return not self.note or self.note.startswith("missing")

    @classmethod
    def of(cls, item: Item | None, name: str) -> "TableValue":
        """Return the value of a counter of an item; None is a missing item."""
        if item is None:
            return cls(note="missing item")
        if name not in item:
            return cls(note="missing")
        text = item[name].get("N")
        if text is None:
            return cls(note="no number")
        try:
            return cls(int(text))
        except ValueError:
            value, parts = Decimal(text).as_integer_ratio()  # 1E+2 is whole too
            return cls(value) if parts == 1 else cls(note="no whole number")


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter whose value differs from the topic.

    ``sums`` is the sum of the events by partition. The sum of the baseline has the key
    `recount.BASE`.
    """

    table: str
    item: ItemKey
    counter: str
    sums: Mapping[int, int]
    value: TableValue
    note: str = ""

    @property
    def expected(self) -> int:
        """The value that the table should have."""
        return sum(self.sums.values())

    @property
    def difference(self) -> int:
        """The value in the table minus the expected value."""
        return self.value.value - self.expected

    @property
    def partitions(self) -> list[int]:
        """The partitions that have events of the counter."""
        return sorted({max(n, ahead(n)) for n in self.sums if n != BASE})

    def cells(self) -> tuple[str, ...]:
        """Return a row of the table of differences."""
        parts = [part for part in key_of(self.item) if part is not None]
        in_table = f"{self.value.value:,}" if not self.value.note else self.value.note
        return (
            self.table,
            printable("/".join(parts), _LONGEST_KEY),
            self.counter,
            f"{self.expected:,}",
            in_table,
            f"{self.difference:+,}" if self.value.is_number else "?",
            ", ".join(map(str, self.partitions)) + (f"  {self.note}" if self.note else ""),
        )

    def fields(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        key, range_ = key_of(self.item)
        return {
            "table": self.table,
            "key": key,
            "range": range_,
            "counter": self.counter,
            "in_topic": self.expected,
            "in_table": self.value.value if self.value.is_number else None,
            "difference": self.difference if self.value.is_number else None,
            "partitions": self.partitions,
            "baseline": self.sums.get(BASE),
            "note": self.note or self.value.note or None,
        }


@dataclass(slots=True)
class VerifyReport:
    """The result of one comparison: numbers of counters and events, and sums over all counters.

    ``compared`` is False if the values were only written to a snapshot.
    """

    counters: int = 0
    in_topic: int = 0
    in_table: int = 0
    events: int = 0
    rejected: int = 0
    uncommitted: int = 0
    waiting: WaitingLetters | None = None
    compared: bool = True
    notes: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether each counter has the value that the topic gives."""
        return not self.differences

    def text(self, limit: int) -> Iterator[str]:
        """Yield the lines, with at most ``limit`` differences, the largest first."""
        counters = f"{self.counters:,} {plural(self.counters, 'counter')}"
        if not self.compared:
            yield f"{counters}, sum {self.in_table:,}; nothing was compared"
        elif self.ok:
            yield f"OK  {counters}, sum {self.in_topic:,} = {self.in_table:,}"
        else:
            yield (
                f"DIFFERENT  {len(self.differences):,} of {counters}, "
                f"sum in topic {self.in_topic:,}, in table {self.in_table:,}"
            )
            yield from self._table(limit)
        # The topic keeps the first event of a letter that was replayed, and it is rejected again.
        replayed = self.waiting.replayed if self.waiting is not None else 0
        if self.rejected > replayed:
            yield f"dead letters, not counted: {self.rejected - replayed:,}"
        if self.waiting is not None and (line := self.waiting.line()):
            yield line
        if self.uncommitted:
            yield f"{self.uncommitted:,} events are after the committed offsets"
        yield from self.notes

    def _table(self, limit: int) -> Iterator[str]:
        shown = heapq.nlargest(limit, self.differences, key=lambda d: abs(d.difference))
        if shown:
            rows = [_HEADINGS, *(difference.cells() for difference in shown)]
            yield from table_lines(rows, _RIGHT_ALIGNED)
        if hidden := len(self.differences) - len(shown):
            yield f"and {hidden:,} more: increase --limit, or use -o json"

    def json(self) -> str:
        """Return the report as one JSON object."""
        fields = {
            "ok": self.ok if self.compared else None,
            "counters": self.counters,
            "in_topic": self.in_topic if self.compared else None,
            "in_table": self.in_table,
            "events": self.events,
            "rejected": self.rejected,
            "uncommitted": self.uncommitted,
            "waiting_letters": None if self.waiting is None else asdict(self.waiting),
            "notes": self.notes,
            "differences": [difference.fields() for difference in self.differences],
        }
        return json.dumps(fields)
