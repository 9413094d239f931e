"""Compares the tables with the topic, exactly.

The committed offsets and the fences say which events an item must contain. An event below the
committed offset is in the table or is a dead letter. Otherwise the consumer lost it. With
exactly-once, the same is true for an event up to the fence of its item. Fences are read together
with the counters. Consumers may run at the same time, because of the order of reading:

1. the committed offsets;
2. the dead letters, because those of events below the committed offsets are stored by now;
3. the topic up to its end;
4. the items, with their counters and fences;
5. the dead letters that were added, because those of events up to a fence are stored by now;
6. the topic again, from the committed offsets up to the highest fence.

A counter with events only after the committed offsets and fences is compared only if it is a
number, because each of these events may become a dead letter. With at-least-once, nothing records
what was written after the committed offsets, so the group must be idle. A baseline replaces all
events below its offsets. A baseline that is written without another one contains all items of the
tables, because the topic may later name an item that it does not name now.

Memory: 200 MB, plus about 150 MB for a million counters of each partition. With exactly-once,
0.4 kB for each item that changes during the comparison, and 0.5 kB for each difference.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from dynatomic.config.checks import COUNTER_NAME
from dynatomic.config.settings import Settings
from dynatomic.console import progress_bar
from dynatomic.dynamodb.answers import Item
from dynatomic.dynamodb.fence import damaged_fences, fences_of
from dynatomic.dynamodb.items import ItemKey
from dynatomic.kafka.client import Watermarks, watermarks
from dynatomic.verify.baseline import Baseline, BaselineItem, Snapshot, check_starts, require_listed
from dynatomic.verify.changing import ChangingItems
from dynatomic.verify.group_state import GroupState
from dynatomic.verify.letters import GroupLetters
from dynatomic.verify.recount import BASE, Recount, Span
from dynatomic.verify.report import Difference, TableValue, VerifyReport
from dynatomic.verify.table_reader import ReadBatch, read_table
from dynatomic.verify.topic_reader import no_batch, read

MEMBERS_UNKNOWN = (
    "the brokers do not report whether the group has members; its committed offsets did not move"
)

Scan = Callable[[str], Iterable[tuple[ItemKey, Item]]]
"""Takes a table and returns all its items."""

_EMPTY = Watermarks(0, 0)


class Comparison:
    """One comparison. Only ``read_batch`` is called by several threads."""

    def __init__(  # noqa: PLR0913 - each is replaced in a test
        self,
        settings: Settings,
        consumer: Any,
        group: GroupState,
        read_batch: ReadBatch,
        scan: Scan,
        recount: Recount,
        identity: str | None,
        baseline: Baseline | None = None,
        snapshot: Snapshot | None = None,
        letters: GroupLetters | None = None,
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
        self._letters = letters
        self._letter_count = 0
        self._unnamed = self._unfenced = self._expired = 0
        self._changing = ChangingItems(recount.fences)
        self._verdict = VerifyReport(compared=snapshot is None or baseline is not None)

    def run(self) -> VerifyReport:
        """Compare, and return the report."""
        topic, verdict, recount = self._settings.topic, self._verdict, self._recount
        rests_on_idle = not self._settings.exactly_once
        members = self._group.members() if rests_on_idle else None
        committed = self._group.committed(watermarks(self._consumer, topic))
        self._refresh_letters()
        marks = watermarks(self._consumer, topic)
        if verdict.compared:
            check_starts(topic, marks, self._baseline)
        if rests_on_idle:
            self._group.check_committed(committed, marks)
        elif not committed and any(low < high for low, high in marks.values()):
            verdict.notes.append(
                f"group {self._group.name} has no committed offset of topic {topic}, so only "
                "fences show what is in the tables; check --group-id"
            )
        spans = {
            partition: self._span(partition, *marks[partition], committed) for partition in marks
        }
        self._load_baseline()
        with progress_bar("events", sum(s.end - s.start for s in spans.values())) as advance:
            ranges = {partition: (span.start, span.end) for partition, span in spans.items()}
            recount.scan(self._read(ranges, advance), spans)
        verdict.events = recount.events + self._letter_count
        verdict.rejected = recount.rejected + self._letter_count
        verdict.uncommitted = recount.uncommitted
        if self._snapshot is not None:
            offsets = {partition: span.cut for partition, span in spans.items()}
            self._snapshot.write_head(topic, self._identity, offsets, self._settings.tables)
        with progress_bar("items") as advance:
            for table in self._settings.tables:
                self._compare_table(table, spans, advance)
        verdict.notes += self._notes()
        self._refresh_letters()
        after = watermarks(self._consumer, topic)
        if rests_on_idle:
            grew = any(mark.high != marks.get(n, _EMPTY).high for n, mark in after.items())
            to_count = grew or verdict.uncommitted > 0
            if not self._group.check_idle(after, members, committed, to_count=to_count):
                verdict.notes.append(MEMBERS_UNKNOWN)
        if verdict.compared:
            self._compare_changing(spans, after)
        verdict.waiting = self._letters.waiting() if self._letters else None
        return verdict

    def _read(
        self, ranges: Mapping[int, tuple[int, int]], advance: Callable[[int], None]
    ) -> Iterator[tuple[int, list[Any]]]:
        """Yield the messages of the ranges that are not dead letters of the group."""
        skipped = self._letters.skipped_batch if self._letters else no_batch
        for partition, run in read(
            self._consumer, self._settings, ranges, advance, skipped=skipped
        ):
            left = self._letters.without(partition, run) if self._letters else run
            self._letter_count += len(run) - len(left)
            if left:
                yield partition, left

    def _refresh_letters(self) -> None:
        if self._letters is not None:
            self._letters.refresh()

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
                    f"table {table} is not in the baseline: its counters are assumed to start at 0"
                )

    def _notes(self) -> Iterator[str]:
        if self._unnamed:
            yield f"the snapshot also contains {self._unnamed:,} items that the topic does not name"
        if self._expired:
            yield f"{self._expired:,} items have expired and are not compared"
        if self._unfenced:
            yield (
                f"{self._unfenced:,} items have events of a partition but no fence for it: they "
                "were counted with at-least-once, or the fence was removed; if these events are "
                "read again, they count twice"
            )

    def _compare_table(
        self, table: str, spans: Mapping[int, Span], advance: Callable[[int], None]
    ) -> None:
        partition_sums = self._recount.partition_sums(table)
        items = self._recount.items(table)
        threads = self._settings.max_requests
        for item, item_found in read_table(self._read_batch, table, items, threads):
            if self._recount.is_expired(table, item):
                self._expired += 1
                advance(1)
                continue
            sums = self._recount.sums_of(table, item, partition_sums)
            values = {name: TableValue.of(item_found, name) for name in sums}
            fences = self._fences_ahead(item_found, spans)
            damage = self._damaged_fences(item_found, sums)
            if self._snapshot is not None:
                self._snapshot.add(_baseline_item(table, item, item_found or {}, values, fences))
            if fences and self._verdict.compared and not damage:
                self._changing.add(table, item, values, fences)
            else:
                self._compare_item(table, item, sums, values, damage)
            advance(1)
        if self._snapshot is not None:
            for other in self._other_items(table, spans):
                if other.others:
                    self._snapshot.add(other)
                    self._unnamed += 1
                advance(1)

    def _other_items(self, table: str, spans: Mapping[int, Span]) -> Iterator[BaselineItem]:
        """Yield the items that neither an event nor the baseline names."""
        if self._baseline is not None and table in self._baseline.tables:
            yield from self._recount.unnamed(table)
            return
        named = [items for _, _, items in self._recount.partition_sums(table)]
        for item, item_found in self._scan(table):
            if not any(item in items for items in named):
                yield _baseline_item(
                    table, item, item_found, {}, self._fences_ahead(item_found, spans)
                )

    def _fences_ahead(self, item_found: Item | None, spans: Mapping[int, Span]) -> dict[int, int]:
        """Return the fences that are beyond the committed offsets."""
        if item_found is None or self._identity is None or not self._settings.exactly_once:
            return {}
        nothing = Span(0, 0, 0)  # a partition was added
        fences = fences_of(item_found, self._identity)
        return {n: offset for n, offset in fences.items() if offset >= spans.get(n, nothing).cut}

    def _damaged_fences(
        self, item_found: Item | None, sums: Mapping[str, Mapping[int, int]]
    ) -> str:
        """Return a note if a fence is not a number, and count the item if a fence is missing."""
        if item_found is None or self._identity is None or not self._settings.exactly_once:
            return ""
        if damaged := damaged_fences(item_found, self._identity):
            return f"{damaged[0]} is not a number, so no event can be added to this item"
        fences = fences_of(item_found, self._identity)
        self._unfenced += any(n >= 0 and n not in fences for by in sums.values() for n in by)
        return ""

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
            if not value.is_number and max(sums[name], default=BASE) < BASE:
                continue  # none of its events was written yet, and each may become a dead letter
            verdict.counters += 1
            verdict.in_topic += expected
            verdict.in_table += value.value
            same = value.is_number and value.value == expected and not note
            if verdict.compared and not same:
                verdict.differences.append(Difference(table, item, name, sums[name], value, note))

    def _compare_changing(self, spans: Mapping[int, Span], after: Mapping[int, Watermarks]) -> None:
        """Add the events up to the fences of changing items, and compare these items."""
        ranges = self._changing.ranges(spans, after)
        event_count = sum(max(0, end - start) for start, end in ranges.values())
        with progress_bar("events again", event_count) as advance:
            for partition, run in self._read(ranges, advance):
                self._recount.add(partition, run, self._changing.contain)
        for table, items in self._changing.by_table():
            partition_sums = self._recount.partition_sums(table)
            for item, changing in items.items():
                sums = self._recount.sums_of(table, item, partition_sums)
                note = changing.impossible_fence(after)
                self._compare_item(table, item, sums, dict(changing.values), note)


def _baseline_item(
    table: str,
    item: ItemKey,
    item_found: Item,
    values: Mapping[str, TableValue],
    fences: Mapping[int, int],
) -> BaselineItem:
    """Return the baseline item; its fences may be beyond the recount."""
    numbers = {name: value.value for name, value in values.items() if value.is_number}
    names = (name for name in item_found if name not in values and COUNTER_NAME.fullmatch(name))
    others = {name: value for name in names if (value := TableValue.of(item_found, name)).is_number}
    return BaselineItem(table, item, numbers, {name: v.value for name, v in others.items()}, fences)
