"""What was emitted in the model, and what must hold for each event at any moment."""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any, cast

from dynatomic.counting.definition import CountersFile
from dynatomic.dynamodb.fence import fence_name, fences_of
from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.kafka.commit_metadata import parse
from tests.support import model_events
from tests.support.clients import LETTERS, TOPIC
from tests.support.harness import World
from tests.support.model_members import Stepped

TABLES = ("hits", "slow")
BAD = {("hits", "s", "count"), ("hits", "f", "count")}
"""Counters that can take nothing: one is a string, one has 38 nines."""

LARGE_KEY, FIRST_LARGE_INCR, LARGE_EVENTS = "x", 2**45, 9
"""Events of this item may have large increments: this one times a power of 4, each only once."""
MAX_STRICT_INCR = FIRST_LARGE_INCR - 1
"""With strict settings members reject the large increments, and no others."""

Place = tuple[str, int]
"""A partition: the topic's id, and its number."""
Counter = tuple[str, str, str]
"""Table, key and attribute."""


@dataclass(slots=True)
class Line:
    """What the events of one partition add to one counter: their offsets and running sums."""

    offsets: list[int] = field(default_factory=list)
    totals: list[int] = field(default_factory=lambda: [0])

    def add(self, offset: int, incr: int) -> None:
        """Append an event."""
        self.offsets.append(offset)
        self.totals.append(self.totals[-1] + incr)

    def upto(self, offset: int) -> tuple[int, int]:
        """Return how many events there are up to an offset, it included, and their sum."""
        count = bisect_right(self.offsets, offset)
        return count, self.totals[count]


@dataclass(frozen=True, slots=True)
class LargeEvent:
    """An event that some members count and others reject: it is the only one of its increment."""

    offset: int
    number: int
    counter: Counter
    incr: int


@dataclass
class ModelChecks(World):
    """The harness's world, with exact checks."""

    once: bool = True
    definition: CountersFile | None = None
    lines: dict[Place, dict[Counter, Line]] = field(default_factory=dict)
    broken: dict[Place, list[tuple[int, int]]] = field(default_factory=dict)
    large: dict[Place, list[LargeEvent]] = field(default_factory=dict)
    base: dict[Counter, int] = field(default_factory=dict)
    covered: dict[Place, int] = field(default_factory=dict)
    stored: set[int] = field(default_factory=set)
    kept_items: dict[str, list[Any]] = field(default_factory=dict)
    """The items of each table that has other keys for now."""
    cut: dict[Place, int] = field(default_factory=dict)
    """The logs that lost counted events, with their new ends, until they are repaired."""
    events: int = 0
    _letters_seen: int = 0

    # What was emitted.

    @property
    def topic_id(self) -> str:
        """The id of today's topic."""
        return self.broker.topic_ids[TOPIC]

    @property
    def topic_ids(self) -> set[str]:
        """The ids of all topics that events were emitted to."""
        return {topic_id for topic_id, _ in (*self.lines, *self.large)}

    def send_large(self, partition: int, counter: str | None) -> None:
        """Emit an event that strict settings reject, while its counter has an increment left."""
        name = ("hits", LARGE_KEY, counter or "count")
        sent = [e for events in self.large.values() for e in events if e.counter == name]
        if len(sent) == LARGE_EVENTS:
            return
        incr = FIRST_LARGE_INCR * 4 ** len(sent)
        offset = self._append(partition, Row("hits", LARGE_KEY, counter=counter, incr=incr))
        event = LargeEvent(offset, self.events, name, incr)
        self.large.setdefault((self.topic_id, partition), []).append(event)

    def _append(self, partition: int, row: Row | None) -> int:
        self.events += 1
        headers = [("event", str(self.events).encode())]
        if self.definition is not None:
            payload = model_events.payload(row)
        else:
            payload = encode(row) if row else b"\x02not a row"
        offset = self.broker.append(TOPIC, partition, b"key", payload, headers)
        self.emitted[partition, offset] = row
        return offset

    def send(self, partition: int, row: Row | None) -> None:
        """Emit an event; None is one that cannot be read."""
        offset, number = self._append(partition, row), self.events
        place = self.topic_id, partition
        if row is None:
            self.broken.setdefault(place, []).append((offset, number))
            return
        counter = row.table, row.key, row.counter or "count"
        if counter in BAD:
            self.broken.setdefault(place, []).append((offset, number))
        lines = self.lines.setdefault(place, {})
        lines.setdefault(counter, Line()).add(offset, row.incr)
        if self.definition is not None and row.key != LARGE_KEY:
            lines.setdefault(model_events.ALL_EVENTS, Line()).add(offset, 1)

    def may_lose(self, place: Place, end: int) -> bool:
        """Return whether the model knows what the events from an offset on have added."""
        return place not in self.cut and not any(e.offset >= end for e in self.large.get(place, ()))

    def lose(self, place: Place, end: int, committed: int) -> None:
        """Take note that a log lost the events from an offset on; those below a commit are counted.

        With fences the others are counted up to the fence of their item. What the lost events added
        stays in the counters, and their offsets are given again.
        """
        held = self._items()
        self.cut[place] = end
        self.covered[place] = min(self.covered.get(place, 0), end)
        self.broken[place] = [b for b in self.broken.get(place, ()) if b[0] < end]
        for counter, line in self.lines.get(place, {}).items():
            kept, total = line.upto(end - 1)
            fences = fences_of(held.get(counter[:2], {}), place[0])
            counted = fences.get(place[1], -1) if self.once else committed - 1
            if counter not in BAD and counted >= end:
                self.base[counter] = self.base.get(counter, 0) + line.upto(counted)[1] - total
            del line.offsets[kept:], line.totals[kept + 1 :]
        for partition, offset in list(self.emitted):
            if partition == place[1] and offset >= end:
                del self.emitted[partition, offset]

    # What must hold.

    def see_letters(self) -> None:
        """Take note of the events that are dead letters."""
        letters = self.broker.logs[LETTERS][0].messages
        for message in letters[self._letters_seen :]:
            headers = dict(cast("Any", message).headers())
            if "event" in headers:
                self.stored.add(int(headers["event"]))
            else:  # encoded again: the topic no longer had the message
                assert headers["dynatomic.topic"] == TOPIC.encode()
        self._letters_seen = len(letters)

    def check(self) -> None:
        """Fail if a counter is not what it must be now."""
        self.see_letters()
        held = self._items()
        if self.once:
            for (table, key), item in held.items():
                self._check_item(table, key, item)
        else:
            for counter, least in self._least().items():
                value = held.get(counter[:2], {}).get(counter[2], {"N": "0"})
                have = int(value["N"])
                assert have >= least, f"{counter} is {have}, and {least} was committed"

    def _items(self) -> dict[tuple[str, str], Any]:
        """Return the items of all tables, those of a table with other keys as they were before."""
        found: dict[tuple[str, str], Any] = {}
        for table in TABLES:
            items = self.dynamodb.items(table)
            if (kept := self.kept_items.get(table)) is not None:
                assert items == [], f"written to {table}, which has other keys: {items}"
                items = kept
            found |= {(table, item["pk"]["S"]): item for item in items}
        return found

    def _check_item(self, table: str, key: str, item: Any) -> None:
        fences = {
            # The fence of a lost event hides the events before it.
            (topic_id, partition): min(offset, self.cut.get((topic_id, partition), offset + 1) - 1)
            for topic_id in self.topic_ids
            for partition, offset in fences_of(item, topic_id).items()
        }
        for (name_table, name_key, name), total in self._sums(fences).items():
            if (name_table, name_key) != (table, key) or (table, key, name) in BAD:
                continue
            count, wanted = total
            base = self.base.get((table, key, name), 0)
            have = item.get(name)
            assert have is not None or not count, f"{table}/{key} has a fence, and no {name}"
            value = int(have["N"]) if have else 0
            if key == LARGE_KEY:
                value %= FIRST_LARGE_INCR
            fenced = {fence_name(*place): offset for place, offset in fences.items()}
            assert value == base + wanted, (
                f"{table}/{key}.{name} is {value}, not {base} + {wanted}, by its fences {fenced}"
            )
        for place, offset in fences.items():
            self._check_broken(place, offset, (table, key))
        if key == LARGE_KEY:
            self._check_large(item, fences)

    def _check_large(self, item: Any, fences: dict[Place, int]) -> None:
        """Fail if a large event is counted twice, or is passed and neither counted nor stored."""
        for place, events in self.large.items():
            for event in events:
                value = int(item.get(event.counter[2], {"N": "0"})["N"])
                times = value // event.incr % 4
                is_passed = event.offset <= fences.get(place, -1)
                assert times <= is_passed, f"{event} of {place} is counted {times} times: {fences}"
                is_safe = times == 1 or event.number in self.stored
                assert is_safe or not is_passed, f"{event} of {place} is lost: {fences}"

    def _sums(self, fences: dict[tuple[str, int], int]) -> dict[Counter, tuple[int, int]]:
        found: dict[Counter, tuple[int, int]] = {}
        for place, lines in self.lines.items():
            for counter, line in lines.items():
                count, total = line.upto(fences.get(place, -1))
                before = found.get(counter, (0, 0))
                found[counter] = before[0] + count, before[1] + total
        return found

    def _check_broken(self, place: Place, offset: int, only: tuple[str, str] | None) -> None:
        rows = self.broker.topic_ids[TOPIC] == place[0]
        for at, number in self.broken.get(place, ()):
            if at > offset or number in self.stored:
                continue
            row = self.emitted.get((place[1], at)) if rows else None
            if only is None or (row is not None and (row.table, row.key) == only):
                raise AssertionError(f"event {place[1]}:{at} is passed and no dead letter")

    def _least(self) -> dict[Counter, int]:
        least = {c: base for c, base in self.base.items() if c not in BAD}
        for place, offset in self.covered.items():
            for event in self.large.get(place, ()):
                if event.offset < offset and event.number not in self.stored:
                    least[event.counter] = least.get(event.counter, 0) + event.incr
            for counter, line in self.lines.get(place, {}).items():
                if counter not in BAD:
                    least[counter] = least.get(counter, 0) + line.upto(offset - 1)[1]
        return least

    def check_committed(self, offered: Any, ids: Any) -> None:
        """Fail if a commit covers an event that is neither in its counter nor a dead letter."""
        self.see_letters()
        for number, offset in offered.items():
            if parse(ids[number]).topic_id != self.topic_id:
                continue  # of a topic that is gone
            place = self.topic_id, number
            self._check_broken(place, offset - 1, None)
            self.covered[place] = max(self.covered.get(place, 0), offset)
            if self.once:
                self._check_fences(place, offset)
        self.check()

    def check_sent(self, writer: Stepped, write: Any) -> None:
        """Fail if a request is sent for a partition that was lost, or out of turn."""
        (member,) = [m for m in self.members if m.writer is writer]
        assert member.consumer._serving != "lost", "written while its partition is lost"
        closing = [p.closing for p in member.worker.partitions.values()]
        mine = any(c is not None and c.write is write for c in closing)
        assert mine, "a request of a window that is not the one on its way out"

    def _check_fences(self, place: Place, offset: int) -> None:
        held = self._items()
        large = held.get(("hits", LARGE_KEY), {})
        for event in self.large.get(place, ()):
            if event.offset < offset and event.number not in self.stored:
                fence = fences_of(large, place[0]).get(place[1], -1)
                assert fence >= event.offset, f"commit of {place[1]}:{offset}, but {event} is lost"
        for counter, line in self.lines.get(place, {}).items():
            count, _ = line.upto(offset - 1)
            if not count or counter in BAD:
                continue
            fences = fences_of(held.get(counter[:2], {}), place[0])
            last = line.offsets[count - 1]
            assert fences.get(place[1], -1) >= last, (
                f"commit of {place[1]}:{offset}, but {counter} has not the event at {last}"
            )
