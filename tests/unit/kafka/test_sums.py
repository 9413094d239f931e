"""An Emitter that sums rows: nothing is lost, nothing waits too long, and memory is bounded."""

import threading
import time
from functools import partial
from typing import Any

import pytest

from dynatomic.errors import ConfigError, DeliveryError, RowError
from dynatomic.events.row import INT64_MAX, INT64_MIN, Row
from dynatomic.kafka import sums as module
from dynatomic.kafka.emitter import Emitter
from dynatomic.testing.embedded import free_port
from tests.support.emitting import ROWS, Producer, decoded, total_of
from tests.support.waiting import wait_until

LONG_MS = 60_000
"""An interval that does not end in a test."""


def test_rows_of_a_counter_are_sent_as_one() -> None:
    producer = Producer()
    with Emitter(producer=producer, sum_ms=LONG_MS) as emit:
        for row in ROWS * 3:
            emit(row)
        assert producer.taken == 0
        emit.flush()
        assert producer.taken == len({row[:4] for row in ROWS})
        emit(ROWS[0])
    assert producer.taken == emit.confirmed == len({row[:4] for row in ROWS}) + 1
    sums = total_of(producer.values)
    assert sums[ROWS[0][:4]] == 3 * (1 + 5) + 1
    assert sums[ROWS[3][:4]] == -21


def test_sums_are_sent_in_time_without_another_row() -> None:
    producer = Producer()
    emit = Emitter(producer=producer, sum_ms=1)
    for expected in (1, 2):  # the thread continues
        emit(ROWS[0])
        wait_until(partial(producer.has_taken, expected), "sent")
    emit.close()
    assert producer.taken == 2


def test_closing_ends_the_thread_whatever_it_does() -> None:
    for number in range(100):
        emit = Emitter(producer=Producer(), sum_ms=1)
        emit(ROWS[0])
        time.sleep(0.0008 + number * 0.000005)  # about when the interval ends
        emit.close()
        assert emit.confirmed == 1


def test_closing_sends_and_waits_for_the_broker() -> None:
    producer = Producer()
    emit = Emitter(producer=producer, sum_ms=LONG_MS)
    emit(ROWS[0])
    emit.close()
    assert emit.confirmed == 1
    with pytest.raises(RuntimeError, match="closed"):
        emit(ROWS[0])
    assert emit._sums is not None
    with pytest.raises(RuntimeError, match="closed"):
        emit._sums.add(ROWS[0])  # of a thread that was just before it
    assert not [t for t in threading.enumerate() if t.name == "emitter-sums"]


@pytest.mark.parametrize(("limit", "value"), [("MAX_SUMS", 10), ("MAX_BYTES", 5_000)])
def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(module, limit, value)
    producer = Producer()
    with Emitter(producer=producer, sum_ms=LONG_MS) as emit:
        assert emit._sums is not None
        for number in range(500):
            emit(Row("usage", f"customer-{number % 50:03}"))
            assert len(emit._sums._sums) <= 16
    assert 250 <= producer.taken <= 500
    assert set(total_of(producer.values).values()) == {10}


def test_a_sum_stays_an_int64() -> None:
    producer = Producer()
    with Emitter(producer=producer, sum_ms=LONG_MS) as emit:
        for incr in (1, INT64_MAX, 2**61, 1, -5, INT64_MIN):
            emit(Row("usage", "k", incr=incr))
        with pytest.raises(RowError):
            emit(Row("usage", "k", incr=2**63))
    found = [decoded(value).incr for value in producer.values]
    assert found == [INT64_MAX, 1, 2**61, INT64_MIN, -4]


@pytest.mark.parametrize(
    "row",
    [
        Row("usage", ""),
        Row("usage", "k", incr=2**63),
        Row("usage", "k", incr=True),
        Row("usage", ["k"]),  # type: ignore[arg-type]
        Row("usage", "k", incr=1.0),  # type: ignore[arg-type]
    ],
)
def test_an_invalid_row_is_refused_at_the_call(row: Row) -> None:
    producer = Producer()
    with Emitter(producer=producer, sum_ms=LONG_MS) as emit:
        emit(Row("usage", "k", incr=-7))
        with pytest.raises(RowError):
            emit(row)
    assert total_of(producer.values) == {("usage", "k", None, None): -7}


def test_threads_lose_nothing() -> None:
    producer = Producer(room=10**9)
    emit = Emitter(producer=producer, sum_ms=1)

    def work() -> None:
        for number in range(3000):
            emit(Row("usage", f"k{number % 20}"))
            if number % 500 == 0:
                emit.flush()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    emit.close()
    assert set(total_of(producer.values).values()) == {600}
    assert emit.confirmed == producer.taken


def test_sums_that_find_no_room_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Producer):
        def poll(self, timeout: float) -> int:
            now[0] += timeout
            return 0

    now = [0.0]
    emit = Emitter(producer=Stuck(room=1), timeout_s=5, sum_ms=LONG_MS, clock=lambda: now[0])
    for number in range(4):
        emit(Row("usage", f"k{number}"))
    with pytest.raises(DeliveryError, match=r"3 of 4 rows .*\(3: .*queue stayed full for 5 s"):
        emit.close()
    assert "events not delivered" in caplog.messages
    assert now[0] == pytest.approx(5)


def test_a_full_queue_is_no_room_for_a_caller_that_does_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_SUMS", 1)
    producer = Producer(room=0)
    emit = Emitter(producer=producer, sum_ms=LONG_MS)
    assert emit.try_emit(ROWS[0])
    assert emit.try_emit(ROWS[1])  # the same counter
    assert not emit.try_emit(ROWS[2])
    producer.room = 1
    emit.close()
    assert total_of(producer.values) == {ROWS[0][:4]: 6}


def test_a_dead_broker_is_reported_when_it_is_closed() -> None:
    emit = Emitter(f"127.0.0.1:{free_port()}", sum_ms=1, timeout_s=0.5)
    emit(ROWS[0])
    emit(ROWS[1])
    with pytest.raises(DeliveryError, match=r"1 of 1 rows are not confirmed"):
        emit.close()


@pytest.mark.parametrize("value", [0, -1, 60_001, float("nan")])
def test_an_interval_has_a_range(value: Any) -> None:
    with pytest.raises(ConfigError, match="use 1 to 60000"):
        Emitter(producer=Producer(), sum_ms=value)
