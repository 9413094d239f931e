"""Comparing the tables with the topic, exactly.

Which events an item must hold is known from outside. An event below the committed offset is in the
tables, or the consumer broke its promise: the committed offsets are read before the tables. With
exactly-once the item's own fences, read together with its counters, say which later ones are in as
well. So the topic is read to its end once, then the items, and then once more from the committed
offsets up to the furthest fence: that is exact while consumers run. With at-least-once nothing
says what came after the committed offsets, so the group must be idle. A baseline stands for all
events up to where it was taken. The first one is taken of all items of the tables, for what the
topic does not name any more it may name again.

Memory: 200 MB, and about 150 MB for a million counters, a partition that they are in; with
exactly-once 0.4 kB more for each item that was counted while it was read, and 0.5 kB for a
difference.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from threading import Event
from typing import Any, NamedTuple

from dynatomic.config.checks import COUNTER_NAME
from dynatomic.config.settings import Settings
from dynatomic.console import progress_bar
from dynatomic.dynamodb.answers import Item
from dynatomic.dynamodb.fence import fences_of
from dynatomic.dynamodb.items import BATCH_GET, ItemKey, Sleep, item_key
from dynatomic.events.row import CounterRef
from dynatomic.kafka.client import Watermarks, watermarks
from dynatomic.verify.baseline import Baseline, BaselineItem, Snapshot, check_starts, require_listed
from dynatomic.verify.group_state import GroupState
from dynatomic.verify.recount import Recount, Span
from dynatomic.verify.report import Difference, TableValue, VerifyReport
from dynatomic.verify.topic_reader import read

MEMBERS_UNKNOWN = (
    "the brokers do not tell whether the group has members; its committed offsets did not move"
)

Read = Callable[[str, Sequence[ItemKey], Sleep], Mapping[ItemKey, Item]]
"""Takes a table, up to `BATCH_GET` items and what pauses; returns those that are there."""

Scan = Callable[[str], Iterable[tuple[ItemKey, Item]]]
"""Takes a table and gives all its items."""

Counted = Callable[[int, list[Any]], list[Any]]
"""Takes a run of messages of a partition, and returns those that have no dead letter."""

_EMPTY = Watermarks(0, 0)


class ChangingItem(NamedTuple):
    """An item that holds events from after the cut: settled by a second look at those."""

    values: tuple[tuple[str, TableValue], ...]
    fences: tuple[tuple[int, int], ...]


class Comparison:
    """One comparison. ``read_batch`` is called by several threads; the rest stays on one."""

    def __init__(  # noqa: PLR0913 - its parts, each replaced in a test
        self,
        settings: Settings,
        consumer: Any,
        group: GroupState,
        read_batch: Read,
        scan: Scan,
        recount: Recount,
        identity: str | None,
        baseline: Baseline | None = None,
        snapshot: Snapshot | None = None,
        counted: Counted = lambda _, run: run,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._group = group
        self._read_batch = read_batch
        self._scan = scan
        self._recount = recount
        self._identity = identity
        self._baseline = baseline
        self._snapshot = snapshot
        self._counted = counted
        self._letters = 0
        self._unnamed = 0
        self._changing: dict[str, dict[ItemKey, ChangingItem]] = {}
        self._verdict = VerifyReport(compared=snapshot is None or baseline is not None)

    def run(self) -> VerifyReport:
        """Return what was found."""
        topic, verdict, recount = self._settings.topic, self._verdict, self._recount
        rests_on_idle = not self._settings.exactly_once
        members = self._group.members() if rests_on_idle else None
        committed = self._group.committed(watermarks(self._consumer, topic))
        marks = watermarks(self._consumer, topic)
        if verdict.compared:
            check_starts(topic, marks, self._baseline)
        if rests_on_idle:
            self._group.check_committed(committed, marks)
        elif not committed and any(low < high for low, high in marks.values()):
            verdict.notes.append(
                f"group {self._group.name} has committed nothing of topic {topic}, so only fences "
                "say what is in the tables; check --group-id"
            )
        spans = {
            partition: self._span(partition, *marks[partition], committed) for partition in marks
        }
        self._load_baseline()
        with progress_bar("events", sum(s.end - s.start for s in spans.values())) as advance:
            ranges = {partition: (span.start, span.end) for partition, span in spans.items()}
            recount.scan(self._read(ranges, advance), spans)
        verdict.events = recount.events + self._letters
        verdict.rejected = recount.rejected + self._letters
        verdict.uncommitted = recount.uncommitted
        if self._snapshot is not None:
            offsets = {partition: span.cut for partition, span in spans.items()}
            self._snapshot.write_head(topic, self._identity, offsets, self._settings.tables)
        with progress_bar("items") as advance:
            for table in self._settings.tables:
                self._compare_table(table, spans, advance)
        if self._unnamed:
            verdict.notes.append(
                f"{self._unnamed:,} items that the topic does not name are in the snapshot too"
            )
        after = watermarks(self._consumer, topic)
        if rests_on_idle:
            grew = any(mark.high != marks.get(n, _EMPTY).high for n, mark in after.items())
            to_count = grew or verdict.uncommitted > 0
            if not self._group.check_idle(after, members, committed, to_count=to_count):
                verdict.notes.append(MEMBERS_UNKNOWN)
        if verdict.compared:
            self._compare_changing(spans, after)
        return verdict

    def _read(
        self, ranges: Mapping[int, tuple[int, int]], advance: Callable[[int], None]
    ) -> Iterator[tuple[int, list[Any]]]:
        """Yield what `recount.read` does, but for the group's dead letters."""
        for partition, run in read(self._consumer, self._settings, ranges, advance):
            left = self._counted(partition, run)
            self._letters += len(run) - len(left)
            if left:
                yield partition, left

    def _span(self, partition: int, low: int, high: int, committed: Mapping[int, int]) -> Span:
        start = low
        if self._baseline:
            start = max(low, self._baseline.offsets.get(partition, 0))
        return Span(start, max(start, min(committed.get(partition, start), high)), high)

    def _load_baseline(self) -> None:
        if self._baseline is None:
            return
        for item in require_listed(self._baseline.items(), self._settings.tables):
            self._recount.add_baseline_item(item)
        for table in self._settings.tables:
            if table not in self._baseline.tables:
                self._verdict.notes.append(
                    f"table {table} is not in the baseline: its counters are taken to begin at 0"
                )

    # --- the tables --------------------------------------------------------------------------

    def _compare_table(
        self, table: str, spans: Mapping[int, Span], advance: Callable[[int], None]
    ) -> None:
        partition_sums = self._recount.partition_sums(table)
        for item, item_found in self._items(table):
            sums = self._recount.sums_of(table, item, partition_sums)
            values = {name: TableValue.of(item_found, name) for name in sums}
            fences = self._fences_ahead(item_found, spans)
            if self._snapshot is not None:
                self._snapshot.add(_baseline_item(table, item, item_found or {}, values, fences))
            if fences and self._verdict.compared:
                changing = ChangingItem(tuple(values.items()), tuple(fences.items()))
                self._changing.setdefault(table, {})[item] = changing
            else:
                self._compare_item(table, item, sums, values)
            advance(1)
        if self._snapshot is not None:
            for other in self._other_items(table, spans):
                if other.others:
                    self._snapshot.add(other)
                    self._unnamed += 1
                advance(1)

    def _other_items(self, table: str, spans: Mapping[int, Span]) -> Iterator[BaselineItem]:
        """Yield the items that no event and no counter of the baseline names."""
        if self._baseline is not None and table in self._baseline.tables:
            yield from self._recount.unnamed(table)
            return
        named = [items for _, _, items in self._recount.partition_sums(table)]
        for item, item_found in self._scan(table):
            if not any(item in items for items in named):
                yield _baseline_item(
                    table, item, item_found, {}, self._fences_ahead(item_found, spans)
                )

    def _items(self, table: str) -> Iterator[tuple[ItemKey, Item | None]]:
        """Yield the items that were recounted, read from the table by several threads."""
        names = self._recount.items(table)
        threads, ended = self._settings.max_requests, Event()

        def read_batch(batch: Sequence[ItemKey]) -> Mapping[ItemKey, Item]:
            return self._read_batch(table, batch, ended.wait)

        with ThreadPoolExecutor(threads) as pool, ExitStack() as stack:
            stack.callback(ended.set)  # or the pool would wait as long as a throttled table lets it
            while wanted := list(islice(names, 4 * threads * BATCH_GET)):
                batches = [wanted[i : i + BATCH_GET] for i in range(0, len(wanted), BATCH_GET)]
                answers = pool.map(read_batch, batches)
                for batch, items_found in zip(batches, answers, strict=True):
                    for item in batch:
                        yield item, items_found.get(item)

    def _fences_ahead(self, item_found: Item | None, spans: Mapping[int, Span]) -> dict[int, int]:
        """Return the fences that say more than the committed offsets do."""
        if item_found is None or self._identity is None or not self._settings.exactly_once:
            return {}
        nothing = Span(0, 0, 0)  # of a partition added since
        fences = fences_of(item_found, self._identity)
        return {n: offset for n, offset in fences.items() if offset >= spans.get(n, nothing).cut}

    def _compare_item(
        self,
        table: str,
        item: ItemKey,
        sums: Mapping[str, Mapping[int, int]],
        values: Mapping[str, TableValue],
        note: str = "",
    ) -> None:
        verdict = self._verdict
        for name, value in values.items():
            expected = sum(sums[name].values())
            verdict.counters += 1
            verdict.in_topic += expected
            verdict.in_table += value.value
            same = value.is_number and value.value == expected and not note
            if verdict.compared and not same:
                verdict.differences.append(Difference(table, item, name, sums[name], value, note))

    # --- what moved ---------------------------------------------------------------------------

    def _compare_changing(self, spans: Mapping[int, Span], after: Mapping[int, Watermarks]) -> None:
        """Add what the fences of moving items say is in, and settle them."""
        ranges: dict[int, tuple[int, int]] = {}
        for items in self._changing.values():
            fences = (fence for changing in items.values() for fence in changing.fences)
            for partition, offset in fences:
                start = spans[partition].cut if partition in spans else 0
                end = min(offset + 1, after[partition].high) if partition in after else 0
                ranges[partition] = (start, max(end, ranges.get(partition, (0, 0))[1]))
        event_count = sum(max(0, end - start) for start, end in ranges.values())
        with progress_bar("events again", event_count) as advance:
            for partition, run in self._read(ranges, advance):
                self._recount.add(partition, run, self._is_in)
        for table, items in self._changing.items():
            partition_sums = self._recount.partition_sums(table)
            for item, changing in items.items():
                sums = self._recount.sums_of(table, item, partition_sums)
                note = _impossible_fence(changing, after)
                self._compare_item(table, item, sums, dict(changing.values), note)

    def _is_in(self, partition: int, offset: int, ref: CounterRef) -> bool:
        item = item_key(ref.key, ref.range)
        changing = self._changing.get(ref.table, {}).get(item)
        if changing is None or all(ref.name != name for name, _ in changing.values):
            return False
        base = self._recount.fences.get((ref.table, item), {})
        return base.get(partition, -1) < offset <= dict(changing.fences).get(partition, -1)


def _baseline_item(
    table: str,
    item: ItemKey,
    item_found: Item,
    values: Mapping[str, TableValue],
    fences: Mapping[int, int],
) -> BaselineItem:
    """Return what a baseline keeps of an item, whose fences may be ahead of what was recounted."""
    numbers = {name: value.value for name, value in values.items() if value.is_number}
    names = (name for name in item_found if name not in values and COUNTER_NAME.fullmatch(name))
    others = {name: value for name in names if (value := TableValue.of(item_found, name)).is_number}
    return BaselineItem(table, item, numbers, {name: v.value for name, v in others.items()}, fences)


def _impossible_fence(changing: ChangingItem, after: Mapping[int, Watermarks]) -> str:
    """Say which fence no event can have set."""
    for partition, offset in changing.fences:
        end = after[partition].high if partition in after else 0
        if offset >= end:
            return f"fence {offset} of partition {partition}, which ends at {end}"
    return ""
