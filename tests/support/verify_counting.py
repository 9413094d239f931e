"""A consumer that counts exactly once, one small step at a time."""

import random
from collections import Counter
from typing import Any, cast

from dynatomic.dynamodb.tables import describe
from dynatomic.events.decoder import Decoder
from tests.support.verify_world import GROUP, TOPIC, World


class Counting:
    """Plays a consumer that counts exactly once, one small step at a time."""

    def __init__(self, world: World, partitions: int, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.at = [0] * partitions
        self.todo: dict[int, list[tuple[str, Counter[str], int, int]]] = {}
        self.closed: dict[int, int] = {}
        self.counts: dict[str, Counter[str]] = {}
        self.fences: dict[str, dict[int, int]] = {}

    def step(self) -> None:
        """Emit, close a window, write one item of one, or commit."""
        number = self.chance.randrange(len(self.at))
        log = self.world.broker.logs[TOPIC][number]
        if self.chance.random() < 0.4:
            key, counter = f"k{self.chance.randrange(6)}", self.chance.choice(["count", "views"])
            incr = self.chance.randint(-3, 9)
            self.world.emit(key, incr=incr, partition=number, counter=counter)
        elif self.todo.get(number):
            key, sums, first, last = self.todo[number].pop()
            fences = self.fences.setdefault(key, {})
            if fences.get(number, -1) < first:
                self.counts.setdefault(key, Counter()).update(sums)
                fences[number] = last
                self.write(key)
        elif number in self.closed:
            offsets = [self.world.broker.committed(GROUP, TOPIC, n) for n in range(len(self.at))]
            offsets[number] = self.closed.pop(number)
            for n, offset in enumerate(offsets):
                if offset is not None:
                    self.world.broker.group(GROUP).offsets[TOPIC, n] = offset
        elif log.high > self.at[number]:
            self._close(number, min(log.high, self.at[number] + self.chance.randint(1, 5)))

    def write(self, key: str, wrong_by: int = 0) -> None:
        """Put an item as it is counted, or one counter of it wrong."""
        counts = dict(self.counts[key])
        counts[min(counts)] += wrong_by
        more = {"views": {"N": str(counts["views"])}} if "views" in counts else {}
        self.world.item(key, counts.get("count"), self.fences[key], **more)

    def _close(self, number: int, end: int) -> None:
        first, last = self.at[number], end - 1
        sums: dict[str, Counter[str]] = {}
        log = self.world.broker.logs[TOPIC][number]
        for message in log.messages[first - log.low : end - log.low]:
            assert message is not None
            (ref, incr), *_ = self.decoder.decode([message.value()]).increments
            sums.setdefault(ref.key, Counter())[ref.name] += incr
        self.todo[number] = [(key, added, first, last) for key, added in sums.items()]
        self.closed[number] = self.at[number] = end

    @property
    def decoder(self) -> Decoder:
        client = cast("Any", self.world.dynamodb)
        return Decoder({"hits": describe(client, "hits")})
