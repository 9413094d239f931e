"""Sums, confirmations and the asyncio form of the emitter on every broker."""

import asyncio
from collections import Counter

from dynatomic.events.row import Row
from dynatomic.kafka.async_emitter import AsyncEmitter
from tests.support.brokers import Broker, MakeTopic
from tests.support.emitting import ROWS, decoded, emitter, read, total_of


def test_a_confirmed_row_is_in_the_topic(broker: Broker, topic: MakeTopic) -> None:
    name = topic(3)
    with emitter(broker, name) as emit:
        emit.confirm(ROWS[0])
        (found,) = read(broker, name, 1)
    assert decoded(found.value()) == ROWS[0]


def test_the_sums_are_those_of_the_rows(broker: Broker, topic: MakeTopic) -> None:
    name = topic(3)
    rows = [Row("usage", f"k{number % 7}", incr=number) for number in range(1000)]
    with emitter(broker, name, sum_ms=5) as emit:
        for row in rows:
            emit(row)
    found = read(broker, name, emit.confirmed)
    expected: Counter[tuple[object, ...]] = Counter()
    for row in rows:
        expected[row[:4]] += row.incr
    assert total_of(message.value() for message in found) == expected


def test_asyncio_stores_every_row(broker: Broker, topic: MakeTopic) -> None:
    name = topic(3)

    async def work() -> None:
        async with AsyncEmitter(emitter(broker, name)) as emit:
            await asyncio.gather(*[emit.confirm(row) for row in ROWS])
            for row in ROWS:
                await emit(row)

    asyncio.run(work())
    assert len(read(broker, name, 2 * len(ROWS))) == 2 * len(ROWS)
