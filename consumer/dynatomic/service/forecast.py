"""What a dry run says in the end: sums of each counter, and what writing them would cost.

The forecast is for a consumer that is not behind: it writes an item once for each window in which
an event of a partition adds to it. Windows are taken by the Kafka timestamps of the events, so a
backlog that is read at once gives the same as the same events over days.

Source of the price: AWS, *Pricing for On-Demand Capacity* of DynamoDB, us-east-1.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import Any

from dynatomic.console import duration
from dynatomic.events.decoded import Decoded
from dynatomic.events.window import ItemRef
from dynatomic.kafka.counters_reader import name_of
from dynatomic.kafka.event_reader import EventReader, WrappingReader

US_DOLLARS_PER_MILLION_WRITE_UNITS = 0.625
MAX_ITEM_PARTITIONS = 1_000_000
"""How many items of partitions are counted separately. Each takes about 300 bytes."""

_MILLION = 1_000_000


class Forecast(WrappingReader):
    """Reads what another reader reads, and keeps what a forecast needs."""

    def __init__(self, reader: EventReader, window_ms: int, *, exactly_once: bool) -> None:
        super().__init__(reader)
        self._window_ms = window_ms
        self._exactly_once = exactly_once
        self._last_windows: dict[tuple[str, str, str | None, int], int] = {}
        self._items: set[ItemRef] = set()
        self._sums: Counter[str] = Counter()
        self._events_by_counter: Counter[str] = Counter()
        self._first_ms, self._last_ms = 0, 0
        self.events = self.counted = self.rejected = self.writes = 0

    def read(self, messages: Sequence[Any]) -> Decoded:
        """Return what each message adds."""
        decoded = self._reader.read(messages)
        self._record(messages, decoded)
        return decoded

    def _record(self, messages: Sequence[Any], decoded: Decoded) -> None:
        decoded = decoded.with_counts(len(messages))
        counts, units = decoded.counts or [], decoded.unit_increments
        multipliers = decoded.multipliers or [1] * len(units)
        self.events += len(messages)
        self.rejected += len(decoded.rejected)
        self.counted += len(counts) - counts.count(0)
        stamps = [message.timestamp()[1] for message in messages]
        known = [stamp for stamp in stamps if stamp > 0]
        if known:
            self._first_ms = min(known) if not self._first_ms else min(self._first_ms, *known)
            self._last_ms = max(self._last_ms, *known)
        owners = chain.from_iterable(map(repeat, range(len(messages)), counts))
        for unit, multiplier, index in zip(units, multipliers, owners, strict=True):
            name = name_of(unit).removeprefix("/")
            self._sums[name] += unit.incr * multiplier
            self._events_by_counter[name] += 1
            self._count_write(unit.ref[:3], messages[index].partition(), stamps[index])

    def _count_write(self, item: ItemRef, partition: int, stamp_ms: int) -> None:
        owner, window = (*item, partition), stamp_ms // self._window_ms
        if self._last_windows.get(owner) != window:
            self.writes += 1
            if owner in self._last_windows or len(self._last_windows) < MAX_ITEM_PARTITIONS:
                self._last_windows[owner] = window
                self._items.add(item)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the report."""
        span = duration((self._last_ms - self._first_ms) / 1000)
        unmatched = self.events - self.counted - self.rejected
        others = [f"{unmatched:,} taken by no counter"] if unmatched else []
        others += [f"{self.rejected:,} dead letters"] if self.rejected else []
        outcomes = ", ".join([f"{self.counted:,} counted", *others])
        yield f"{self.events:,} events of {span}: {outcomes}"
        if not self.writes:
            return
        width = max(map(len, self._sums))
        for name in sorted(self._sums):
            events, total = self._events_by_counter[name], self._sums[name]
            yield f"  {name:<{width}}  {events:>13,} events  sum {total:>17,}"
        more = "at least " if len(self._last_windows) >= MAX_ITEM_PARTITIONS else ""
        items, item_partitions = len(self._items), len(self._last_windows)
        per_write = self.counted / self.writes
        yield (
            f"with windows of {self._window_ms:,} ms: {per_write:,.1f} events per write, "
            f"{more}{items:,} items, {item_partitions / items:.1f} partitions per item"
        )
        units = self.writes * _MILLION // self.events
        dollars = units * US_DOLLARS_PER_MILLION_WRITE_UNITS / _MILLION
        once = item_partitions if self._exactly_once else items
        what = "new items and fences" if self._exactly_once else "new items"
        yield (
            f"a million such events: {units:,} write units, {dollars:.4f} US dollars on demand, "
            f"for items below 1 kB; and {more}{once:,} write units once, for {what}"
        )
