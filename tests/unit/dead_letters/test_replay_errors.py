"""A replay that the brokers refuse or do not answer: what it reports and what it retries."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.sender import sender_config, transactional_id
from dynatomic.errors import ConfigError, DeliveryError, DynatomicError, UnavailableError
from tests.support.dead_letter_lab import FENCED, Killed, Lab


def error(code: int, *, retriable: bool = False) -> KafkaException:
    return KafkaException(KafkaError(code, "injected", False, retriable))


def test_a_commit_that_may_be_repeated_is(lab: Lab) -> None:
    lab.row(1)
    producer = lab.producer()
    producer.failures = [("commit", error(KafkaError._TIMED_OUT, retriable=True))] * 2
    assert lab.replay(producer).to_replay == 1
    assert lab.replayed() == ["0:1"]


@pytest.mark.parametrize(
    ("call", "failure", "kind", "text"),
    [
        (
            "init",
            error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
            ConfigError,
            "transactional id 'row-events.dlq.replay' is denied; allow Write and Describe on it",
        ),
        (
            "commit",
            error(KafkaError.TOPIC_AUTHORIZATION_FAILED),
            ConfigError,
            "allow Write on both; 0 letters are known",
        ),
        (
            "commit",
            error(KafkaError.INVALID_RECORD),
            ConfigError,
            "set cleanup.policy=delete on it; 0 letters are known",
        ),
        ("commit", error(KafkaError.INVALID_TXN_STATE), DeliveryError, "no letter is replayed"),
    ],
)
def test_an_error_says_what_to_do_and_what_was_replayed(
    lab: Lab, call: str, failure: KafkaException, kind: type[DynatomicError], text: str
) -> None:
    lab.row(1)
    producer = lab.producer()
    producer.failures = [(call, failure)]
    with pytest.raises(kind, match=text):
        lab.replay(producer)
    assert lab.replayed() == []
    assert lab.replay().to_replay == 1


def test_brokers_that_do_not_answer_end_it_within_its_bound(lab: Lab) -> None:
    lab.row(1)
    producer = lab.producer()

    def hang(_timeout: float) -> None:
        lab.clock.advance(_timeout)
        raise error(KafkaError._TIMED_OUT, retriable=True)

    producer.commit_transaction = hang  # type: ignore[method-assign]
    with pytest.raises(UnavailableError, match="0 letters are known"):
        lab.replay(producer)
    assert lab.clock() < 1_000 + 40


def test_a_row_that_the_topic_does_not_take_aborts_its_transaction(lab: Lab) -> None:
    lab.row(1)
    producer = lab.producer()
    producer.refuses = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    with pytest.raises(DeliveryError, match=r"(?i)size.*0 letters are known"):
        lab.replay(producer)
    assert (producer.calls["abort"], lab.replayed()) == (1, [])


def test_a_fatal_error_that_breaks_a_delivery_report_is_told(lab: Lab) -> None:
    lab.row(1)
    producer = lab.producer()

    def broken(_timeout: float) -> int:
        raise SystemError("returned a result with an exception set") from FENCED

    producer.flush = broken  # type: ignore[method-assign]
    with pytest.raises(DynatomicError, match="has taken over"):
        lab.replay(producer)
    assert lab.replayed() == []


def test_a_defect_is_no_error_of_the_brokers(lab: Lab) -> None:
    lab.row(1)
    producer = lab.producer()

    def broken(_timeout: float) -> int:
        raise SystemError("a defect")

    producer.flush = broken  # type: ignore[method-assign]
    with pytest.raises(SystemError, match="a defect"):
        lab.replay(producer)


def test_an_interrupt_aborts_the_transaction(lab: Lab) -> None:
    lab.row(1)
    producer = lab.producer(("produce", 0))
    with pytest.raises(Killed):
        lab.replay(producer)
    assert producer.calls["abort"] == 1


def test_the_producer_is_transactional_whatever_the_user_set() -> None:
    settings = Settings(librdkafka={"delivery.timeout.ms": "1", "linger.ms": "7"})
    config = sender_config(settings)
    assert config["transactional.id"] == transactional_id(settings) == "row-events.dlq.replay"
    assert config["delivery.timeout.ms"] == config["transaction.timeout.ms"] == "30000"
    assert (config["linger.ms"], config["enable.idempotence"]) == ("7", "true")
