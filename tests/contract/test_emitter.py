"""The emitter on brokers: every row is stored and confirmed, or its caller hears of it."""

import collections
import multiprocessing
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError

from dynatomic.errors import DeliveryError
from dynatomic.events.encoder import message_key
from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.kafka.emitter import Emitter
from dynatomic.testing.mock_broker import MockBroker
from tests.support.brokers import Broker, HasBootstrapServers, MakeTopic, create_kafka_topic
from tests.support.emitting import ROWS, emitter, read
from tests.support.names import unique

# What Kafka's own Java client computes for these keys and 6 partitions
# (toPositive(murmur2(key)) % 6 of org.apache.kafka.common.utils.Utils, 4.4.0).
JAVA = {"page-views/home": 4, "tab/k1": 0, "tab/k2": 0, "tab/é": 2}
PRODUCE = 0  # Kafka's number of the request


def test_rows_are_in_the_topic_when_the_block_is_left(broker: Broker, topic: MakeTopic) -> None:
    name = topic(3)
    with emitter(broker, name) as emit:
        for row in ROWS:
            emit(row)
    assert emit.confirmed == len(ROWS)
    found = read(broker, name, len(ROWS))
    assert sorted(m.value() for m in found) == sorted(encode(row) for row in ROWS)
    assert {m.key() for m in found} == {message_key(row) for row in ROWS}


def test_rows_of_an_item_keep_their_order(broker: Broker, topic: MakeTopic) -> None:
    name = topic(3)
    sent = [Row("page-views", "home", incr=n) for n in range(100)]
    with emitter(broker, name) as emit:
        for row in sent:
            emit(row)
    found = read(broker, name, len(sent))
    assert len({m.partition() for m in found}) == 1
    assert [m.value() for m in found] == [encode(row) for row in sent]


@pytest.fixture
def mock() -> Iterator[MockBroker]:
    server = MockBroker()
    server.create_topic("six", 6)
    yield server
    server.close()


def test_partitions_are_those_of_kafkas_java_client(mock: MockBroker) -> None:
    names = [key.split("/") for key in JAVA]
    rows = [Row(table, key) for table, key in names]
    found: dict[str, int] = {}
    with Emitter(mock.bootstrap_servers, topic="six") as emit:
        producer = emit._delivery.producer

        class Seeing:
            """Lets everything through and looks at the delivery reports."""

            def __getattr__(self, name: str) -> Any:
                return getattr(producer, name)

            def produce(self, topic: str, value: bytes, key: bytes, *, on_delivery: Any) -> None:
                def seen(error: Any, message: Any) -> None:
                    found[key.decode()] = message.partition()
                    on_delivery(error, message)

                producer.produce(topic, value, key, on_delivery=seen)

        emit._delivery.producer = Seeing()
        for row in rows:
            emit(row)
    assert found == {key: JAVA[key] for key in found}
    assert len(found) == len(rows) == 4


def test_kcat_puts_the_same_key_into_the_same_partition(
    kafka_real: HasBootstrapServers, kcat: str, tmp_path: Path
) -> None:
    topic = unique("kcat")
    create_kafka_topic(kafka_real.bootstrap_servers, topic, 6)
    with Emitter(kafka_real.bootstrap_servers, topic=topic) as emit:
        for row in ROWS:
            emit(row)
    connect = [kcat, "-b", kafka_real.bootstrap_servers, "-t", topic]
    for row in ROWS:
        file = tmp_path / "row.avro"
        file.write_bytes(encode(row))
        hashed = ["-X", "topic.partitioner=murmur2_random", "-k", message_key(row).decode()]
        subprocess.run([*connect, "-P", *hashed, str(file)], check=True, timeout=30)
    seen = subprocess.run(
        [*connect, "-C", "-e", "-q", "-f", "%k\t%p\n"],
        check=True, timeout=30, capture_output=True, text=True, encoding="utf-8",
    ).stdout  # fmt: skip
    counts = collections.Counter(seen.splitlines())
    assert counts.total() == 2 * len(ROWS)
    # As many different pairs of key and partition as keys: no key is in two partitions.
    assert len(counts) == len({message_key(row) for row in ROWS})


def test_leaving_by_an_error_still_delivers(broker: Broker, topic: MakeTopic) -> None:
    name = topic(1)

    def block() -> None:
        with emitter(broker, name) as emit:
            emit(ROWS[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    assert len(read(broker, name, 1)) == 1


def test_a_full_queue_makes_the_caller_wait_and_loses_nothing(mock: MockBroker) -> None:
    small = {"queue.buffering.max.messages": 10, "linger.ms": 1}
    with Emitter(mock.bootstrap_servers, topic="six", properties=small) as emit:
        for number in range(500):
            emit(Row("page-views", f"k{number}"))
    assert emit.confirmed == 500


def test_rows_that_are_not_confirmed_in_time_are_given_up(mock: MockBroker) -> None:
    with Emitter(mock.bootstrap_servers, topic="six", timeout_s=30) as emit:
        emit(ROWS[0])
        emit.flush()
        mock.set_rtt(60_000)
        emit(ROWS[1])
        emit(ROWS[2])
        with pytest.raises(DeliveryError, match=r"2 of 3 rows .*not confirmed in time"):
            emit.flush(0.3)
        mock.set_rtt(0)
        emit(ROWS[3])
    assert emit.confirmed == 2


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "Topic authorization failed"),
        (KafkaError.MSG_SIZE_TOO_LARGE, "Message size too large"),
    ],
)
def test_what_the_broker_refuses_is_reported(mock: MockBroker, code: int, words: str) -> None:
    mock.push_errors(PRODUCE, [code])
    with (
        pytest.raises(DeliveryError, match=f"1 of 1 rows .*{words}"),
        Emitter(mock.bootstrap_servers, topic="six") as emit,
    ):
        emit(ROWS[0])


@pytest.mark.parametrize(
    "code", [KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.REQUEST_TIMED_OUT, KafkaError._TRANSPORT]
)
def test_what_passes_is_sent_again(mock: MockBroker, code: int) -> None:
    mock.push_errors(PRODUCE, [code])
    with Emitter(mock.bootstrap_servers, topic="six") as emit:
        emit(ROWS[0])
    assert emit.confirmed == 1


def test_a_producer_that_breaks_for_good_reports_every_row(mock: MockBroker) -> None:
    emit = Emitter(mock.bootstrap_servers, topic="six")
    emit(ROWS[0])
    emit.flush()
    # An idempotent producer that lost count of its messages gives up: a fatal error.
    mock.push_errors(PRODUCE, [KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER] * 2)
    with pytest.raises(DeliveryError, match="3 of 4 rows are not confirmed"):  # noqa: PT012
        for _ in range(3):
            emit(ROWS[0])
        emit.flush()
    mock.clear_errors(PRODUCE)
    with pytest.raises(DeliveryError, match="takes no rows"):
        emit(ROWS[0])
    emit.close()


def test_threads_may_share_it(mock: MockBroker) -> None:
    def run() -> None:
        for number in range(500):
            emit(Row("page-views", f"k{number}"))

    small = {"queue.buffering.max.messages": 100}
    with Emitter(mock.bootstrap_servers, topic="six", properties=small) as emit:
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert emit.confirmed == 2000


def _send_from_child(servers: str) -> None:
    with Emitter(servers, topic="six") as emit:
        emit(ROWS[0])


def test_a_process_of_its_own_can_emit(mock: MockBroker) -> None:
    child = multiprocessing.get_context("spawn").Process(
        target=_send_from_child, args=(mock.bootstrap_servers,)
    )
    child.start()
    child.join(60)
    assert child.exitcode == 0
