"""The items that a counter adds to, remembered by the values that name them.

Events repeat their items, and building the names of an item costs more than all other work on an
event. A memo changes no result, and is cleared when it is full.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dynatomic.counting.definition import CounterDefinition
from dynatomic.counting.reasons import EventRejected, RejectReason
from dynatomic.counting.template import Template, TimePart, ValuePart, escape_table
from dynatomic.counting.times import MINUTE_MS, bucket_end_ms, bucket_name
from dynatomic.events.decoded import UnitIncrement
from dynatomic.events.row import MAX_KEY_BYTES, MAX_RANGE_BYTES, CounterRef

_MEMO_BYTES: Final = 16 * 1024 * 1024
_ITEM_BYTES: Final = 600
_MAX_MINUTES: Final = 4096


@dataclass(slots=True, eq=False)
class CounterUnit(UnitIncrement):
    """What ``counter`` (a name in the file) adds to one attribute of one item.

    ``expires_s`` is the Unix time in seconds for the table's TTL attribute, or None.
    """

    counter: str
    expires_s: int | None


KeyParts = list[str | tuple[int, dict[int, str]]]
"""Fixed text, and values by their index, each with the table of its escapes."""


class Items(dict[str | tuple[str, ...], tuple[CounterUnit, ...]]):
    """The units of a counter's items, by the values in their names: one, or a tuple of many.

    Raises EventRejected for a name that no item can have.
    """

    def __init__(
        self,
        counter: CounterDefinition,
        bucket_names: Sequence[str],
        expires_s: int | None,
        remember: Callable[[int], None],
    ) -> None:
        super().__init__()
        self._counter = counter
        names = iter(bucket_names)
        self._key, values = _parts(counter.key, names, 0)
        self._range = None if counter.range is None else _parts(counter.range, names, values)[0]
        self._expires_s = expires_s
        self._remember = remember

    def __missing__(self, values: str | tuple[str, ...]) -> tuple[CounterUnit, ...]:
        counter = self._counter
        texts = (values,) if isinstance(values, str) else values
        key = _rendered(counter.name, counter.key, self._key, texts, MAX_KEY_BYTES)
        range_key = None
        if self._range is not None and counter.range is not None:
            range_key = _rendered(counter.name, counter.range, self._range, texts, MAX_RANGE_BYTES)
        units = tuple(
            CounterUnit(
                ref=CounterRef(counter.table, key, range_key, amount.attribute),
                incr=(-1 if amount.negative else 1)
                * (amount.constant if amount.field is None else 1),
                counter=counter.name,
                expires_s=self._expires_s,
            )
            for amount in counter.amounts
        )
        self._remember(_ITEM_BYTES + 4 * len(key))
        self[values] = units
        return units


def _parts(
    template: Template, bucket_names: Iterator[str], first_value: int
) -> tuple[KeyParts, int]:
    parts: KeyParts = []
    for part in template.parts:
        if isinstance(part, ValuePart):
            parts.append((first_value, escape_table(part.escaped)))
            first_value += 1
        elif isinstance(part, TimePart):
            parts.append(next(bucket_names))
        else:
            parts.append(part)
    return parts, first_value


def _rendered(
    name: str, template: Template, parts: KeyParts, values: Sequence[str], max_bytes: int
) -> str:
    text = "".join(
        [part if isinstance(part, str) else values[part[0]].translate(part[1]) for part in parts]
    )
    if not text:
        raise EventRejected(
            RejectReason.KEY_EMPTY, f"counter {name}: {template.text} gives no text"
        )
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        detail = f"counter {name}: {template.text} gives {size} bytes, the limit is {max_bytes}"
        raise EventRejected(RejectReason.KEY_TOO_LARGE, detail)
    return text


class Moments(dict[int, tuple[Items, ...]]):
    """For each minute of Unix time the items of each counter that belong to it."""

    def __init__(self, counters: Sequence[CounterDefinition], utc_offset_ms: int) -> None:
        super().__init__()
        self._counters = counters
        self._utc_offset_ms = utc_offset_ms
        self._bytes = 0
        self._buckets: dict[tuple[int, tuple[str, ...]], Items] = {}
        self.timeless = tuple(
            Items(counter, (), None, self._remember) for counter in counters if not counter.bucket
        )

    def __missing__(self, minute: int) -> tuple[Items, ...]:
        if len(self) >= _MAX_MINUTES:
            self.clear()
        items = self[minute] = tuple(
            self._at(index, counter, minute * MINUTE_MS)
            for index, counter in enumerate(self._counters)
            if counter.bucket
        )
        return items

    def _at(self, index: int, counter: CounterDefinition, time_ms: int) -> Items:
        templates = [counter.key, *([counter.range] if counter.range else [])]
        names = tuple(
            bucket_name(bucket, self._utc_offset_ms, time_ms)
            for template in templates
            for bucket in template.buckets
        )
        items = self._buckets.get((index, names))
        if items is None:
            expires_s = None
            if counter.expires_s is not None and counter.bucket is not None:
                end_ms = bucket_end_ms(counter.bucket, self._utc_offset_ms, time_ms)
                expires_s = -(-end_ms // 1000) + counter.expires_s
            items = Items(counter, names, expires_s, self._remember)
            self._buckets[index, names] = items
            self._remember(_ITEM_BYTES)
        return items

    def _remember(self, size_bytes: int) -> None:
        """Make room for a new item of this size."""
        self._bytes += size_bytes
        if self._bytes > _MEMO_BYTES:
            self._bytes = size_bytes
            self.clear()
            self._buckets.clear()
            for items in self.timeless:
                items.clear()
