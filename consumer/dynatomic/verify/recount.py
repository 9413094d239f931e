"""Recounting a topic: what its events add to each counter, for each partition.

It reads events with the reader of the consumer, so it rejects the same ones. If the payload alone
decides what an event adds, equal payloads are counted before they are decoded. So most events need
no Python code of their own.
"""

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any, NamedTuple

from dynatomic.dynamodb.items import ItemKey, item_key, key_of
from dynatomic.events.decoded import Decoded
from dynatomic.events.row import CounterRef
from dynatomic.kafka.event_reader import EventReader, read_all
from dynatomic.kafka.messages import offset_of, value_of
from dynatomic.verify.baseline import BaselineItem
from dynatomic.verify.sample import CounterSample

CHUNK, CHUNK_BYTES = 100_000, 16 * 1024 * 1024

BASE = -1
"""The key of the baseline in a dict by partition."""


def ahead(partition: int) -> int:
    """Return the key of a partition for counters that have events only after its cut.

    The function is its own inverse.
    """
    return BASE - 1 - partition


Counts = dict[tuple[str, str], dict[ItemKey, int]]
"""Values by table and counter, then by item."""

PartitionSums = tuple[int, str, dict[ItemKey, int]]
"""A partition, a counter, and the sums of the items of a table."""


class Span(NamedTuple):
    """The offsets of a partition to recount.

    All events from ``begin`` up to ``cut`` are in the tables. Events from ``cut`` up to ``end``
    may be in the tables.
    """

    start: int
    cut: int
    end: int


@dataclass(slots=True)
class Recount:
    """What the events add to each counter, by partition.

    The baseline gives three things: the counters, whose sums have the key `BASE`; ``others``, which
    are moved there when an event names them as counters; and ``fences``, which show the events that
    these numbers already contain.

    ``events`` is the number of events that were read. ``rejected`` of them cannot be counted, and
    ``unmatched`` add to no counter. ``uncommitted`` of them are at or after the cut. Their counters
    are known under `ahead` of the partition, with a sum 0. ``expires_s`` has the end of the life of
    items, in seconds of Unix time, and ``ttl_names`` the TTL attribute of tables that have one.
    """

    reader: EventReader
    sample: CounterSample | None = None
    sums: dict[int, Counts] = field(default_factory=dict)
    others: Counts = field(default_factory=dict)
    fences: dict[tuple[str, ItemKey], Mapping[int, int]] = field(default_factory=dict)
    events: int = 0
    ttl_names: Mapping[str, str] = field(default_factory=dict)
    unix_time: float = field(default_factory=time.time)
    expires_s: dict[tuple[str, ItemKey], int] = field(default_factory=dict)
    rejected: int = 0
    unmatched: int = 0
    uncommitted: int = 0
    _buffered: dict[tuple[int, bool], list[Any]] = field(default_factory=dict)
    _buffered_count: int = 0
    _buffered_bytes: int = 0

    def add_baseline_item(self, item: BaselineItem) -> None:
        """Add an item of the baseline."""
        key, range_ = key_of(item.item)
        groups = self.sums.setdefault(BASE, {})
        for name, value in item.counters.items():
            self._add(groups, CounterRef(item.table, key, range_, name), value)
        for name, value in item.others.items():
            self.others.setdefault((item.table, name), {})[item.item] = value
        if item.fences:
            self.fences[item.table, item.item] = item.fences

    def scan(self, runs: Iterable[tuple[int, list[Any]]], spans: Mapping[int, Span]) -> None:
        """Count all events of the spans."""
        hidden = self._hidden()
        for partition, run in runs:
            span = spans[partition]
            self.events += len(run)
            clear = min(max(hidden.get(partition, 0), span.start), span.cut)
            if run[0].offset() >= clear and run[-1].offset() < span.cut:
                self._buffer(partition, run, counted=True)
                continue
            careful = bisect_left(run, clear, key=offset_of)
            cut = bisect_left(run, span.cut, key=offset_of)
            self._scan_carefully(partition, run[:careful])
            self._buffer(partition, run[careful:cut], counted=True)
            self._buffer(partition, run[cut:], counted=False)
        self._decode_buffered()

    def _hidden(self) -> dict[int, int]:
        """Return, by partition, the offset after the highest fence of the baseline."""
        offsets: dict[int, int] = {}
        for fences in self.fences.values():
            for partition, offset in fences.items():
                offsets[partition] = max(offsets.get(partition, 0), offset + 1)
        return offsets

    def add(
        self, partition: int, run: list[Any], counts: Callable[[int, int, CounterRef], bool]
    ) -> None:
        """Add the events for which ``counts(partition, offset, counter)`` is true."""
        groups = self.sums.setdefault(partition, {})
        for offset, ref, incr in _increments(read_all(self.reader, run), run):
            if counts(partition, offset, ref):
                self._add(groups, ref, incr)

    def _scan_carefully(self, partition: int, run: list[Any]) -> None:
        groups, decoded = self.sums.setdefault(partition, {}), read_all(self.reader, run)
        for offset, ref, incr in _increments(decoded, run):
            fences = self.fences.get((ref.table, item_key(ref.key, ref.range)), {})
            self._add(groups, ref, incr if offset > fences.get(partition, -1) else 0)
        self._keep_lives(decoded)
        self._count_outcomes(decoded)

    def _buffer(self, partition: int, run: list[Any], *, counted: bool) -> None:
        """Collect messages until many of them are equal."""
        if not run:
            return
        self._buffered.setdefault((partition, counted), []).extend(run)
        self._buffered_count += len(run)
        self._buffered_bytes += sum(map(len, filter(None, map(value_of, run))))
        if self._buffered_count >= CHUNK or self._buffered_bytes >= CHUNK_BYTES:
            self._decode_buffered()

    def _decode_buffered(self) -> None:
        for (partition, counted), messages in self._buffered.items():
            self._decode_chunk(partition, messages, counted=counted)
        self._buffered.clear()
        self._buffered_count = self._buffered_bytes = 0

    def _decode_chunk(self, partition: int, messages: list[Any], *, counted: bool) -> None:
        groups = self.sums.setdefault(partition if counted else ahead(partition), {})
        if self.reader.reads_only_payloads:
            equal = {value_of(message): message for message in messages}
            repeats = Counter(map(value_of, messages))
            distinct, counts = list(equal.values()), list(map(repeats.__getitem__, equal))
        else:
            distinct, counts = messages, None
        decoded = read_all(self.reader, distinct)
        for ref, total in _sums(decoded, counts):
            items = groups.get((ref.table, ref.name))
            item = ref.key if ref.range is None else (ref.key, ref.range)
            if items is None or item not in items:
                self._add(groups, ref, total if counted else 0)
            elif counted:
                items[item] += total
        self._keep_lives(decoded)
        accepted = self._count_outcomes(decoded, counts)
        if not counted:
            self.uncommitted += accepted

    def _keep_lives(self, decoded: Decoded) -> None:
        """Keep until when the items of a counters file live."""
        if self.reader.reads_only_payloads:
            return
        for unit in set(decoded.unit_increments):
            if (expires_s := getattr(unit, "expires_s", None)) is not None:
                self.expires_s[unit.ref.table, item_key(unit.ref.key, unit.ref.range)] = expires_s

    def is_expired(self, table: str, item: ItemKey) -> bool:
        """Return whether DynamoDB may have deleted an item, because its time to live has passed.

        The time is known from the events that name the item, or from the baseline.
        """
        expires_s = self.expires_s.get((table, item))
        if expires_s is None and table in self.ttl_names:
            expires_s = self.others.get((table, self.ttl_names[table]), {}).get(item)
        return expires_s is not None and expires_s <= self.unix_time

    def _count_outcomes(self, decoded: Decoded, repeats: list[int] | None = None) -> int:
        """Count the events by what becomes of them, and return how many add to a counter."""
        rejected = sum(1 if repeats is None else repeats[index] for index in decoded.rejected)
        self.rejected += rejected
        if decoded.counts is not None:
            accepted = len(decoded.counts) - decoded.counts.count(0)
            self.unmatched += len(decoded.counts) - accepted - rejected
            return accepted
        return (len(decoded.unit_increments) if repeats is None else sum(repeats)) - rejected

    def _add(self, groups: Counts, ref: CounterRef, value: int) -> None:
        item = item_key(ref.key, ref.range)
        group = (ref.table, ref.name)
        if self.sample is not None and not self.sample.takes(ref, self._evict):
            return
        items = groups.setdefault(group, {})
        items[item] = items.get(item, 0) + value

    def _evict(self, ref: CounterRef) -> None:
        item = item_key(ref.key, ref.range)
        for groups in self.sums.values():
            groups.get((ref.table, ref.name), {}).pop(item, None)

    def sums_of(
        self, table: str, item: ItemKey, partition_sums: Iterable[PartitionSums]
    ) -> dict[str, dict[int, int]]:
        """Return the sums of one item, by counter and partition."""
        sums: dict[str, dict[int, int]] = {}
        for partition, name, items in partition_sums:
            if (added := items.get(item)) is not None:
                sums.setdefault(name, {})[partition] = added
        for name, by_partition in sums.items():
            if (other := self.others.get((table, name), {}).get(item)) is not None:
                by_partition.setdefault(BASE, other)
        return sums

    def partition_sums(self, table: str) -> list[PartitionSums]:
        """Return the sums of a table's items, by partition and counter."""
        return [
            (partition, name, items)
            for partition, groups in sorted(self.sums.items())
            for (counter, name), items in sorted(groups.items())
            if counter == table
        ]

    def items(self, table: str) -> Iterator[ItemKey]:
        """Yield every item of a table that an event or the baseline names, once."""
        return _distinct(items for _, _, items in self.partition_sums(table))

    def unnamed(self, table: str) -> Iterator[BaselineItem]:
        """Yield the items of a table that only the baseline names."""
        others = {name: items for (owner, name), items in self.others.items() if owner == table}
        named = [items for _, _, items in self.partition_sums(table)]
        for item in _distinct(others.values()):
            if not any(item in items for items in named):
                values = {name: items[item] for name, items in others.items() if item in items}
                yield BaselineItem(table, item, {}, values, {})  # no event, so no fence matters


def _increments(decoded: Decoded, run: list[Any]) -> Iterator[tuple[int, CounterRef, int]]:
    """Yield offset, counter and increment of all that the messages of a run add."""
    decoded = decoded.with_counts(len(run))
    repeated = chain.from_iterable(map(repeat, map(offset_of, run), decoded.counts or ()))
    for offset, (ref, incr) in zip(repeated, decoded.increments, strict=True):
        yield offset, ref, incr


def _sums(decoded: Decoded, repeats: list[int] | None) -> Iterable[tuple[CounterRef, int]]:
    """Return what events add to each counter, where each comes so many times."""
    if decoded.counts is None:
        counts = repeat(1) if repeats is None else repeats
        events = zip(decoded.increments, counts, strict=False)
        return [
            (ref, incr * count)
            for index, ((ref, incr), count) in enumerate(events)
            if index not in decoded.rejected
        ]
    sums: defaultdict[CounterRef, int] = defaultdict(int)
    for ref, incr in decoded.increments:
        sums[ref] += incr
    return sums.items()


def _distinct(groups: Iterable[Mapping[ItemKey, int]]) -> Iterator[ItemKey]:
    seen: list[Mapping[ItemKey, int]] = []
    for items in groups:
        yield from (item for item in items if not any(item in others for others in seen))
        seen.append(items)
