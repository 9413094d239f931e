"""The items that consumers change while they are compared."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dynatomic.dynamodb.items import ItemKey, item_key
from dynatomic.events.row import CounterRef
from dynatomic.kafka.client import Watermarks
from dynatomic.verify.recount import Span
from dynatomic.verify.report import TableValue


class ChangingItem(NamedTuple):
    """The values and the fences of an item that contains events at or after the cut."""

    values: tuple[tuple[str, TableValue], ...]
    fences: tuple[tuple[int, int], ...]

    def impossible_fence(self, marks: Mapping[int, Watermarks]) -> str:
        """Return a note if a fence is beyond the end of its partition."""
        for partition, offset in self.fences:
            end = marks[partition].high if partition in marks else 0
            if offset >= end:
                return f"fence {offset} of partition {partition}, which ends at {end}"
        return ""


class ChangingItems:
    """The items with fences beyond the cut. They are compared after their later events are read.

    ``baseline_fences`` has the fences of the baseline by table and item: the numbers of the
    baseline contain the events up to these fences.
    """

    def __init__(self, baseline_fences: Mapping[tuple[str, ItemKey], Mapping[int, int]]) -> None:
        self._baseline_fences = baseline_fences
        self._items: dict[str, dict[ItemKey, ChangingItem]] = {}

    def add(
        self,
        table: str,
        item: ItemKey,
        values: Mapping[str, TableValue],
        fences: Mapping[int, int],
    ) -> None:
        """Add an item with its values and its fences beyond the cut."""
        changing = ChangingItem(tuple(values.items()), tuple(fences.items()))
        self._items.setdefault(table, {})[item] = changing

    def by_table(self) -> Iterator[tuple[str, Mapping[ItemKey, ChangingItem]]]:
        """Yield the items of each table."""
        yield from self._items.items()

    def ranges(
        self, spans: Mapping[int, Span], marks: Mapping[int, Watermarks]
    ) -> dict[int, tuple[int, int]]:
        """Return the offsets to read by partition: from the cut up to the highest fence."""
        ranges: dict[int, tuple[int, int]] = {}
        for items in self._items.values():
            for partition, offset in (fence for item in items.values() for fence in item.fences):
                start = spans[partition].cut if partition in spans else 0
                end = min(offset + 1, marks[partition].high) if partition in marks else 0
                ranges[partition] = (start, max(end, ranges.get(partition, (0, 0))[1]))
        return ranges

    def contain(self, partition: int, offset: int, ref: CounterRef) -> bool:
        """Return whether the value of a counter contains an event at or after the cut."""
        item = item_key(ref.key, ref.range)
        changing = self._items.get(ref.table, {}).get(item)
        if changing is None or all(ref.name != name for name, _ in changing.values):
            return False
        base = self._baseline_fences.get((ref.table, item), {})
        return base.get(partition, -1) < offset <= dict(changing.fences).get(partition, -1)
