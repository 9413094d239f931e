"""A consumer that counts exactly once, one small step at a time.

The counter `NEVER` is text in each item, so its events become dead letters. The letters of an item
are stored before its fence is set, and all letters of a window before its offset is committed.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from dynatomic.dynamodb.tables import describe
from dynatomic.events.decoder import Decoder
from tests.support.verify_world import GROUP, TOPIC, World

NEVER = "never"
MAX_EVENTS = 60
"""Events of a partition; a comparison asks for each of them, and each request is a step."""
COUNTERS = ("count", "views", NEVER)


@dataclass
class ItemWrite:
    """What is left to do for one item of a window: letters to store, then sums to add."""

    key: str
    sums: Counter[str]
    letters: list[int]
    first: int
    last: int


class Counting:
    """Plays a consumer that counts exactly once, one small step at a time."""

    def __init__(self, world: World, partitions: int, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.decoder = Decoder({"hits": describe(cast("Any", world.dynamodb), "hits")})
        self.at = [0] * partitions
        self.todo: dict[int, list[ItemWrite]] = {}
        self.closed: dict[int, int] = {}
        self.counts: dict[str, Counter[str]] = {}
        self.fences: dict[str, dict[int, int]] = {}
        self.stored: set[tuple[int, int]] = set()
        for number in range(6):
            self.write(f"k{number}")

    def step(self) -> None:
        """Emit, close a window, store a letter, write one item, commit, or crash."""
        partition = self.chance.randrange(len(self.at))
        log = self.world.broker.logs[TOPIC][partition]
        if self.chance.random() < 0.4 and log.high < MAX_EVENTS:
            key, counter = f"k{self.chance.randrange(6)}", self.chance.choice(COUNTERS)
            incr = self.chance.randint(-3, 9)
            self.world.emit(key, incr=incr, partition=partition, counter=counter)
        elif self.chance.random() < 0.05:
            self._crash(partition)
        elif writes := self.todo.get(partition):
            self._work(partition, writes)
        elif partition in self.closed:
            self.world.broker.group(GROUP).offsets[TOPIC, partition] = self.closed.pop(partition)
        elif log.high > self.at[partition]:
            self._close(partition, min(log.high, self.at[partition] + self.chance.randint(1, 5)))

    def _crash(self, partition: int) -> None:
        """Start again at the committed offset, with windows that end elsewhere."""
        self.todo.pop(partition, None)
        self.closed.pop(partition, None)
        self.at[partition] = self.world.broker.committed(GROUP, TOPIC, partition) or 0

    def _work(self, partition: int, writes: list[ItemWrite]) -> None:
        write = self.chance.choice(writes)
        if write.letters:
            offset = write.letters.pop()
            self.world.letter(offset, partition)
            self.stored.add((partition, offset))
            return
        writes.remove(write)
        fences = self.fences.setdefault(write.key, {})
        first = max(write.first, fences.get(partition, -1) + 1)
        if added := self._sums(partition, first, write.last).get(write.key):
            self.counts.setdefault(write.key, Counter()).update(added)
            fences[partition] = write.last
            self.write(write.key)

    def write(self, key: str, wrong_by: int = 0) -> None:
        """Put an item as it is counted, or one counter of it wrong."""
        counts = dict(self.counts.get(key, {}))
        if wrong_by:
            counts[min(counts)] += wrong_by
        more: dict[str, Any] = {NEVER: {"S": "text"}}
        if "views" in counts:
            more["views"] = {"N": str(counts["views"])}
        self.world.item(key, counts.get("count"), self.fences.get(key), **more)

    def _events(self, partition: int, first: int, last: int) -> Iterator[tuple[int, Any, int]]:
        log = self.world.broker.logs[TOPIC][partition]
        for message in log.messages[first - log.low : last + 1 - log.low]:
            assert message is not None
            ((ref, incr),) = self.decoder.decode([message.value()]).increments
            yield cast("int", message.offset()), ref, incr

    def _sums(self, partition: int, first: int, last: int) -> dict[str, Counter[str]]:
        sums: dict[str, Counter[str]] = {}
        for _, ref, incr in self._events(partition, first, last):
            if ref.name != NEVER:
                sums.setdefault(ref.key, Counter())[ref.name] += incr
        return sums

    def _close(self, partition: int, end: int) -> None:
        first, last = self.at[partition], end - 1
        sums = self._sums(partition, first, last)
        letters: dict[str, list[int]] = {}
        for offset, ref, _ in self._events(partition, first, last):
            if ref.name == NEVER:
                letters.setdefault(ref.key, []).append(offset)
        self.todo[partition] = [
            ItemWrite(key, sums.get(key, Counter()), letters.get(key, []), first, last)
            for key in sorted(sums.keys() | letters.keys())
        ]
        self.closed[partition] = self.at[partition] = end
