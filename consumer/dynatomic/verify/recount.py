"""Recounting a topic: what its events add to every counter, partition by partition.

It reads beside the group, as no member of it, and by the rules of the consumer: the same decoder
tells rows from dead letters. Equal payloads are counted before they are decoded, so that most
events never reach Python's own code.
"""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.dynamodb.items import ItemKey, item_key, key_of
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.events.decoder import Decoder
from dynatomic.events.row import CounterRef
from dynatomic.kafka.client import AUTO_OFFSET_RESET, PARTITION_EOF
from dynatomic.kafka.messages import check_error, error_of, offset_of, partition_of, value_of
from dynatomic.verify.baseline import BaselineItem
from dynatomic.verify.sample import CounterSample

BATCH, POLL_S = 10_000, 0.2
CHUNK, CHUNK_BYTES = 100_000, 16 * 1024 * 1024
PATIENCE_S = 60.0

# librdkafka asks for such a batch for ever, or takes its bytes for offsets and jumps there.
DAMAGED = (KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION)  # noqa: SLF001 - no public names

BASE = -1
"""Stands for the baseline where a partition is named."""

Counts = dict[tuple[str, str], dict[ItemKey, int]]
"""Numbers by table and counter, then by item."""

Place = tuple[int, str, dict[ItemKey, int]]
"""A partition, a counter, and the sums of a table's items there."""


class Span(NamedTuple):
    """The offsets of a partition to recount.

    From ``begin`` up to ``cut`` every event is known to be in the tables. From there up to
    ``end`` events may be.
    """

    begin: int
    cut: int
    end: int


def read(  # noqa: PLR0913 - the last two are for tests
    consumer: Any,
    settings: Settings,
    ranges: Mapping[int, tuple[int, int]],
    advance: Callable[[int], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    patience_s: float = PATIENCE_S,
) -> Iterator[tuple[int, list[Any]]]:
    """Yield the messages at ``[begin, end)`` of each partition, in runs of one partition.

    Nothing is committed and no group is joined. Raises ConfigError if the topic no longer has an
    offset or may not be read, UnavailableError after ``patience_s`` seconds without a message,
    DynatomicError if one is damaged.
    """
    ends = {number: end for number, (begin, end) in ranges.items() if begin < end}
    places = [TopicPartition(settings.topic, n, ranges[n][0]) for n in ends]
    consumer.assign(places)
    consumer.resume(places)  # librdkafka keeps a pause over assignments
    deadline = clock() + patience_s
    while ends:
        messages = consumer.consume(BATCH, POLL_S)
        done = []
        if any(map(error_of, messages)):
            done = [n for n, offset in _ends_of(messages, settings) if offset >= ends.get(n, 0)]
            messages = [message for message in messages if message.error() is None]
        if messages or done:
            deadline = clock() + patience_s
        elif clock() >= deadline:
            raise UnavailableError(
                f"topic {settings.topic!r}: no broker gave a message for {patience_s:.0f} s; "
                "check that Kafka is running, and try again"
            )
        position = 0
        for number, same in groupby(map(partition_of, messages)):
            begin, position = position, position + len(list(same))
            if number not in ends:
                continue  # read ahead before it was paused
            run = messages[begin:position]
            if run[-1].offset() >= ends[number] - 1:
                run = run[: bisect_left(run, ends[number], key=offset_of)]
                done.append(number)
            if run:
                yield number, run
            advance(len(run))
        stopped = [TopicPartition(settings.topic, n) for n in done if ends.pop(n, None) is not None]
        if stopped and ends:
            consumer.pause(stopped)
    consumer.assign([])


def _ends_of(messages: Iterable[Any], settings: Settings) -> Iterator[tuple[int, int]]:
    """Yield the partitions whose end was reached, and where; raise the errors among messages."""
    for message in messages:
        if (error := message.error()) is None:
            continue
        if error.code() == PARTITION_EOF:
            yield message.partition(), message.offset()
        elif error.code() in DAMAGED:
            raise DynatomicError(
                f"partition {message.partition()} of {settings.topic}: the batch at offset "
                f"{message.offset()} is damaged ({error.name()}), so its events cannot be "
                "recounted; check the disk of the partition's leader"
            )
        elif error.code() == AUTO_OFFSET_RESET:
            raise ConfigError(
                f"partition {message.partition()} of {settings.topic} lost events while it was "
                "read: retention removed them; verify with a newer --baseline, or raise "
                "retention.ms"
            )
        else:
            check_error(message, settings)


@dataclass(slots=True)
class Recount:
    """What the events add, by partition.

    Of the baseline come the numbers under `BASE`, ``others``, which become such a number once the
    topic names them as counters, and ``fences``, which hide the events that are in those numbers.

    ``events`` were read, ``rejected`` of them cannot be counted, ``uncommitted`` stand at or after
    the cut: their counters are known, with nothing added yet.
    """

    decoder: Decoder
    sample: CounterSample | None = None
    sums: dict[int, Counts] = field(default_factory=dict)
    others: Counts = field(default_factory=dict)
    fences: dict[tuple[str, ItemKey], Mapping[int, int]] = field(default_factory=dict)
    events: int = 0
    rejected: int = 0
    uncommitted: int = 0
    _held: dict[tuple[int, bool], list[bytes | None]] = field(default_factory=dict)
    _held_count: int = 0
    _held_bytes: int = 0

    def begin(self, held: BaselineItem) -> None:
        """Begin the counters of an item with what a baseline holds."""
        key, range_ = key_of(held.item)
        groups = self.sums.setdefault(BASE, {})
        for name, number in held.counters.items():
            self._add(groups, CounterRef(held.table, key, range_, name), number)
        for name, number in held.others.items():
            self.others.setdefault((held.table, name), {})[held.item] = number
        if held.fences:
            self.fences[held.table, held.item] = held.fences

    def scan(self, runs: Iterable[tuple[int, list[Any]]], spans: Mapping[int, Span]) -> None:
        """Take in all events of the spans."""
        hidden = self._hidden()
        for number, run in runs:
            span = spans[number]
            self.events += len(run)
            clear = min(max(hidden.get(number, 0), span.begin), span.cut)
            if run[0].offset() >= clear and run[-1].offset() < span.cut:
                self._hold(number, run, counted=True)
                continue
            careful = bisect_left(run, clear, key=offset_of)
            cut = bisect_left(run, span.cut, key=offset_of)
            self._scan_carefully(number, run[:careful])
            self._hold(number, run[careful:cut], counted=True)
            self._hold(number, run[cut:], counted=False)
        self._fold_all()

    def _hidden(self) -> dict[int, int]:
        """Return, by partition, the offset from which on no fence of the baseline hides events."""
        found: dict[int, int] = {}
        for fences in self.fences.values():
            for number, offset in fences.items():
                found[number] = max(found.get(number, 0), offset + 1)
        return found

    def add(
        self, number: int, run: list[Any], counts: Callable[[int, int, CounterRef], bool]
    ) -> None:
        """Add the events that ``counts`` takes, given partition, offset and counter."""
        groups = self.sums.setdefault(number, {})
        for offset, ref, incr in self._decoded(run):
            if counts(number, offset, ref):
                self._add(groups, ref, incr)

    def _scan_carefully(self, number: int, run: list[Any]) -> None:
        groups, good = self.sums.setdefault(number, {}), 0
        for offset, ref, incr in self._decoded(run):
            fences = self.fences.get((ref.table, item_key(ref.key, ref.range)), {})
            self._add(groups, ref, incr if offset > fences.get(number, -1) else 0)
            good += 1
        self.rejected += len(run) - good

    def _decoded(self, run: list[Any]) -> Iterator[tuple[int, CounterRef, int]]:
        decoded = self.decoder.decode(list(map(value_of, run)))
        events = zip(map(offset_of, run), decoded.increments, strict=True)
        for index, (offset, (ref, incr)) in enumerate(events):
            if index not in decoded.rejected:
                yield offset, ref, incr

    def _hold(self, number: int, run: list[Any], *, counted: bool) -> None:
        """Keep payloads until there are enough of them that many are equal."""
        if not run:
            return
        payloads = list(map(value_of, run))
        self._held.setdefault((number, counted), []).extend(payloads)
        self._held_count += len(payloads)
        self._held_bytes += sum(map(len, filter(None, payloads)))
        if self._held_count >= CHUNK or self._held_bytes >= CHUNK_BYTES:
            self._fold_all()

    def _fold_all(self) -> None:
        for (number, counted), payloads in self._held.items():
            self._fold(number, payloads, counted=counted)
        self._held.clear()
        self._held_count = self._held_bytes = 0

    def _fold(self, number: int, payloads: list[bytes | None], *, counted: bool) -> None:
        times = Counter(payloads)
        decoded = self.decoder.decode(list(times))
        groups = self.sums.setdefault(number, {})
        bad = 0
        events = zip(decoded.increments, times.values(), strict=True)
        for index, ((ref, incr), count) in enumerate(events):
            if index in decoded.rejected:
                bad += count
                continue
            items = groups.get((ref.table, ref.name))
            item = ref.key if ref.range is None else (ref.key, ref.range)
            if items is None or item not in items:
                self._add(groups, ref, incr * count if counted else 0)
            elif counted:
                items[item] += incr * count
        self.rejected += bad
        if not counted:
            self.uncommitted += len(payloads) - bad

    def _add(self, groups: Counts, ref: CounterRef, number: int) -> None:
        item = item_key(ref.key, ref.range)
        group = (ref.table, ref.name)
        if self.sample is not None and not self.sample.takes(ref, self._evict):
            return
        items = groups.setdefault(group, {})
        items[item] = items.get(item, 0) + number

    def _evict(self, ref: CounterRef) -> None:
        item = item_key(ref.key, ref.range)
        for groups in self.sums.values():
            groups.get((ref.table, ref.name), {}).pop(item, None)

    def sums_of(
        self, table: str, item: ItemKey, places: Iterable[Place]
    ) -> dict[str, dict[int, int]]:
        """Return the sums of one item, by counter and partition."""
        sums: dict[str, dict[int, int]] = {}
        for number, name, items in places:
            if (added := items.get(item)) is not None:
                sums.setdefault(name, {})[number] = added
        for name, parts in sums.items():
            if (other := self.others.get((table, name), {}).get(item)) is not None:
                parts.setdefault(BASE, other)
        return sums

    def places(self, table: str) -> list[Place]:
        """Return the sums of a table's items, by partition and counter."""
        return [
            (number, name, items)
            for number, groups in sorted(self.sums.items())
            for (found, name), items in sorted(groups.items())
            if found == table
        ]

    def items(self, table: str) -> Iterator[ItemKey]:
        """Yield every item of a table that an event or the baseline names, once."""
        return _each_once(items for _, _, items in self.places(table))

    def unnamed(self, table: str) -> Iterator[BaselineItem]:
        """Yield the other items of a table that a baseline has."""
        others = {name: items for (found, name), items in self.others.items() if found == table}
        named = [items for _, _, items in self.places(table)]
        for item in _each_once(others.values()):
            if not any(item in items for items in named):
                held = {name: items[item] for name, items in others.items() if item in items}
                yield BaselineItem(table, item, {}, held, {})  # no event that a fence could hide


def _each_once(groups: Iterable[Mapping[ItemKey, int]]) -> Iterator[ItemKey]:
    seen: list[Mapping[ItemKey, int]] = []
    for items in groups:
        yield from (i for i in items if not any(i in others for others in seen))
        seen.append(items)
