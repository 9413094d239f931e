"""The emitter without a broker: what it refuses, and how it reports rows that fail."""

import os

import pytest
from confluent_kafka import KafkaError, KafkaException

from dynatomic.errors import ConfigError, DeliveryError, RowError
from dynatomic.events.encoder import message_key
from dynatomic.events.row import Row
from dynatomic.kafka.emitter import Emitter
from dynatomic.testing.embedded import free_port
from tests.support.emitting import ROWS, Producer


@pytest.mark.parametrize(
    ("row", "key"),
    [
        (Row("page-views", "home"), b"page-views/home"),
        (Row("page-views", "home", counter="other", incr=9), b"page-views/home"),
        (Row("page-views", "home", range="2026"), b"page-views/home/2026"),
        (Row("t.t", "é"), "t.t/é".encode()),
    ],
)
def test_the_key_is_the_item(row: Row, key: bytes) -> None:
    assert message_key(row) == key


@pytest.mark.parametrize(
    "row",
    [
        Row("page-views", ""),
        Row("page-views", "k" * 2049),
        Row("page-views", "k", range=""),
        Row("page-views", "k", range="r" * 1025),
        Row("arn:aws:dynamodb:us-east-1:1:table/t", "k"),
        Row("page-views", "k", counter='c"'),
        Row("page-views", "k", incr=2**63),
        Row("page-views", "k", incr=True),
        Row("page-views", "k", incr=1.5),  # type: ignore[arg-type]
        Row("page-views", 7),  # type: ignore[arg-type]
    ],
)
def test_a_row_that_cannot_be_counted_is_refused_at_the_call(row: Row) -> None:
    producer = Producer()
    with Emitter(producer=producer) as emit:
        with pytest.raises(RowError):
            emit(row)
        emit(ROWS[0])
    assert producer.taken == 1


def test_a_property_of_any_simple_type_is_taken() -> None:
    properties = {"linger.ms": 7, "socket.keepalive.enable": True, "client.id": "mine"}
    Emitter("127.0.0.1:1", properties=properties)


@pytest.mark.parametrize(
    ("properties", "words"),
    [({"acks": 1}, "acks: can only be all"), ({"no.such": "1"}, "no.such")],
)
def test_a_refused_property_is_a_configuration_error(
    properties: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Emitter("127.0.0.1:1", properties=properties)


def timed_out() -> KafkaError:
    return KafkaError(KafkaError._MSG_TIMED_OUT)


def test_rows_that_fail_are_counted_with_the_reason() -> None:
    emit = Emitter(producer=Producer(fate=timed_out))
    emit(ROWS[0])
    emit(ROWS[1])
    with pytest.raises(DeliveryError, match=r"2 of 2 rows .*'row-events' \(2: .*\(partition 3\)\)"):
        emit.close()


def test_a_failure_is_told_once() -> None:
    producer = Producer(fate=timed_out)
    with Emitter(producer=producer) as emit:
        emit(ROWS[0])
        with pytest.raises(DeliveryError, match="1 of 1 rows"):
            emit.flush()
        producer.fate = lambda: None
        emit(ROWS[0])
        emit.flush()
    assert emit.confirmed == 1


def test_an_error_of_the_block_is_not_masked() -> None:
    def block() -> None:
        with Emitter(producer=Producer(fate=timed_out)) as emit:
            emit(ROWS[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        block()
    assert "1 of 1 rows are not confirmed" in caught.value.__notes__[0]


def test_a_queue_that_stays_full_is_an_error_for_the_row_in_hand() -> None:
    class Stuck(Producer):
        def poll(self, timeout: float) -> int:
            now[0] += timeout
            return 0

    now = [0.0]
    producer = Stuck(room=1)
    emit = Emitter(producer=producer, timeout_s=5, clock=lambda: now[0])
    emit(ROWS[0])
    with pytest.raises(DeliveryError, match="queue stayed full for 5 s"):
        emit(ROWS[1])
    assert now[0] == pytest.approx(5)
    assert producer.taken == 1


def test_brokers_that_are_away_are_told_of_in_time() -> None:
    server = f"127.0.0.1:{free_port()}"
    with (
        pytest.raises(DeliveryError, match="1 of 1 rows are not confirmed to be in topic 'six'"),
        Emitter(server, topic="six", timeout_s=0.5) as emit,
    ):
        emit(ROWS[0])


def test_a_fatal_error_that_eats_its_reports_still_counts_them() -> None:
    producer = Producer()
    emit = Emitter(producer=producer)
    producer.poll = lambda _timeout: 0  # type: ignore[method-assign]
    emit(ROWS[0])
    emit(ROWS[1])
    producer.raises = KafkaException(KafkaError(KafkaError._FATAL, "it broke"))
    with pytest.raises(DeliveryError, match=r"2 of 2 rows .*\(2: it broke\)"):
        emit.flush()


def test_rows_whose_reports_do_not_come_are_not_taken_for_stored() -> None:
    producer = Producer()
    emit = Emitter(producer=producer)
    producer.poll = lambda _timeout: 0  # type: ignore[method-assign]
    emit(ROWS[0])
    emit(ROWS[1])
    producer.flush = lambda _timeout: 2  # type: ignore[method-assign] # a busy machine
    with pytest.raises(DeliveryError, match=r"2 of 2 rows .*\(2: not confirmed in time\)"):
        emit.flush()
    assert emit.confirmed == 0
    producer.flush = lambda _timeout: 0  # type: ignore[method-assign]
    emit.close()


def test_a_closed_one_takes_no_rows() -> None:
    producer = Producer()
    with Emitter(producer=producer) as emit:
        emit(ROWS[0])
    with pytest.raises(RuntimeError, match="closed"):
        emit(ROWS[1])
    emit.close()
    assert producer.taken == 1


def test_a_fork_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    emit = Emitter(producer=Producer())
    parent = os.getpid()
    monkeypatch.setattr("dynatomic.kafka.emitter.os.getpid", lambda: parent + 1)
    with pytest.raises(RuntimeError, match="make one after fork"):
        emit(ROWS[0])
    with pytest.raises(RuntimeError, match="make one after fork"):
        emit.flush()


def test_one_row_is_confirmed_or_its_error_raised() -> None:
    producer = Producer()
    with Emitter(producer=producer, sum_ms=60_000) as emit:
        emit.confirm(ROWS[0])  # it is not summed
        assert (producer.taken, emit.confirmed) == (1, 1)
        producer.fate = timed_out
        with pytest.raises(DeliveryError, match="was not stored in topic 'row-events'"):
            emit.confirm(ROWS[1])
        emit.flush()  # it has been reported
        with pytest.raises(RowError):
            emit.confirm(Row("usage", ""))


def test_a_confirmation_in_time_is_not_a_confirmation_too_late() -> None:
    producer = Producer()
    emit = Emitter(producer=producer)
    poll, producer.poll = producer.poll, lambda _timeout: 0  # type: ignore[method-assign]
    with pytest.raises(DeliveryError, match="may still be stored"):
        emit.confirm(ROWS[0], timeout_s=0)
    producer.poll = poll  # type: ignore[method-assign]
    producer.fate = timed_out
    with pytest.raises(DeliveryError, match="1 of 1 rows"):
        emit.close()


def test_a_caller_that_does_not_wait_is_told_that_the_queue_is_full() -> None:
    producer = Producer(room=1)
    producer.poll = lambda _timeout: 0  # type: ignore[method-assign]
    emit = Emitter(producer=producer)
    assert emit.try_emit(ROWS[0])
    assert not emit.try_emit(ROWS[1])
    emit.close()
    assert producer.taken == emit.confirmed == 1


def test_reports_are_served_without_a_flush() -> None:
    now = [0.0]
    producer = Producer(room=10**6)
    emit = Emitter(producer=producer, clock=lambda: now[0])
    for _ in range(600):
        emit(ROWS[0])
    assert 1 <= producer.polls <= 10  # not at every row
    before = emit.confirmed
    assert before >= 500
    now[0] += 1  # however few rows come
    emit(ROWS[0])
    assert emit.confirmed == 601
    emit.close()
