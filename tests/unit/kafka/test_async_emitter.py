"""The Emitter for asyncio: the loop continues, and every failure reaches its caller."""

import asyncio
import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from dynatomic.errors import DeliveryError, RowError
from dynatomic.events.row import Row
from dynatomic.kafka.async_emitter import AsyncEmitter
from dynatomic.kafka.emitter import Emitter
from tests.support.emitting import ROWS, Producer, total_of

SECONDS = 30


def timed_out() -> KafkaError:
    return KafkaError(KafkaError._MSG_TIMED_OUT)


class Held(Producer):
    """A producer that reports nothing before the test lets it, and waits for that in flush."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.let = threading.Event()

    def poll(self, timeout: float) -> int:
        return super().poll(timeout) if self.let.wait(min(timeout, 0.01)) else 0

    def flush(self, timeout: float) -> int:
        assert self.let.wait(SECONDS), "the event loop did not go on"
        return super().flush(timeout)


def test_rows_are_stored_when_the_block_is_left() -> None:
    producer = Producer()

    async def work() -> None:
        async with AsyncEmitter(Emitter(producer=producer, sum_ms=60_000)) as emit:
            for row in ROWS:
                await emit(row)
            with pytest.raises(RowError):
                await emit(Row("usage", ""))
            await emit.flush()
            await emit(ROWS[0])

    asyncio.run(work())
    assert total_of(producer.values)[ROWS[0][:4]] == 7


def test_the_loop_goes_on_while_the_queue_is_full_and_while_it_flushes() -> None:
    producer = Held(room=1)

    async def work() -> None:
        emit = AsyncEmitter(Emitter(producer=producer))
        await emit(ROWS[0])
        waiting = asyncio.create_task(emit(ROWS[1]))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        producer.let.set()
        await waiting
        producer.let.clear()
        closing = asyncio.create_task(emit.close())
        await asyncio.sleep(0.05)
        assert not closing.done()
        producer.let.set()
        await closing

    asyncio.run(work())
    assert producer.taken == 2


def test_one_row_is_confirmed_while_others_are_not_waited_for() -> None:
    producer = Held()

    async def work() -> None:
        async with AsyncEmitter(Emitter(producer=producer)) as emit:
            confirmations = [asyncio.create_task(emit.confirm(row)) for row in ROWS]
            await asyncio.sleep(0.05)
            assert not any(task.done() for task in confirmations)
            producer.let.set()
            await asyncio.gather(*confirmations)

    asyncio.run(work())
    assert producer.taken == len(ROWS)


def test_a_failed_confirmation_is_the_callers_alone() -> None:
    producer = Producer(fate=timed_out)

    async def work() -> None:
        async with AsyncEmitter(Emitter(producer=producer)) as emit:
            with pytest.raises(DeliveryError, match=r"was not stored .*timed out"):
                await emit.confirm(ROWS[0])

    asyncio.run(work())  # the end of the block has nothing to report


def test_a_confirmation_that_takes_too_long_says_that_it_may_still_come() -> None:
    producer = Held(fate=timed_out)

    async def work() -> None:
        async with AsyncEmitter(Emitter(producer=producer)) as emit:
            with pytest.raises(DeliveryError, match="may still be stored"):
                await emit.confirm(ROWS[0], timeout_s=0.01)
            producer.let.set()

    with pytest.raises(DeliveryError, match="1 of 1 rows are not confirmed"):
        asyncio.run(work())


def test_a_producer_that_breaks_ends_every_confirmation() -> None:
    class Broken(Producer):
        def poll(self, _timeout: float) -> int:
            raise KafkaException(KafkaError(KafkaError._FATAL, "it broke"))

    async def work() -> list[Any]:
        emitter = Emitter(producer=Broken(), clock=lambda: -1.0)  # it polls for confirmations only
        emit = AsyncEmitter(emitter)
        tasks = [emit.confirm(row) for row in ROWS[:2]]
        try:
            return await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            with pytest.raises(DeliveryError):
                producer_fails(emitter)

    def producer_fails(emitter: Emitter) -> None:
        emitter._delivery.producer.raises = KafkaException(KafkaError(KafkaError._FATAL, "broke"))
        emitter.close()

    errors = asyncio.run(work())
    assert [type(error) for error in errors] == [DeliveryError] * 2
    assert "it broke" in str(errors[0])
