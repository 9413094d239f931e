"""The Kafka clients on brokers: waiting for them, their topics and their watermarks."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError
from dynatomic.kafka.client import (
    Watermarks,
    admin_config,
    consumer_config,
    new_admin,
    new_consumer,
    topic_partitions,
    watermarks,
)
from dynatomic.kafka.reachability import wait_for_kafka
from dynatomic.kafka.topics import Topic, check_not_compacted, create_topics
from dynatomic.testing.mock_broker import MockBroker
from tests.support.brokers import HasBootstrapServers
from tests.support.names import unique


@pytest.fixture
def mock() -> Iterator[MockBroker]:
    broker = MockBroker()
    yield broker
    broker.close()


def test_waiting_ends_as_soon_as_a_broker_answers(mock: MockBroker) -> None:
    wait_for_kafka(Settings(bootstrap_servers=mock.bootstrap_servers), 30)


def test_waiting_for_a_broker_that_comes_later(mock: MockBroker) -> None:
    mock.set_broker_down()
    ticks = iter(range(1000))

    def clock() -> float:
        # The third look finds it up.
        tick = next(ticks)
        if tick == 2:
            mock.set_broker_up()
        return tick / 100

    wait_for_kafka(Settings(bootstrap_servers=mock.bootstrap_servers), 30, clock)


def test_brokers_that_refuse_the_login_are_a_configuration_error(
    kafka_real: HasBootstrapServers,
) -> None:
    login = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN"}
    login |= {"sasl.username": "u", "sasl.password": "hunter2"}
    settings = Settings(bootstrap_servers=kafka_real.bootstrap_servers, librdkafka=login)
    with pytest.raises(ConfigError, match=r"check security\.protocol") as caught:
        wait_for_kafka(settings, 1.0)
    assert "hunter2" not in str(caught.value)


def test_topics_are_created_once(kafka_real: HasBootstrapServers) -> None:
    name = unique("made")
    settings = Settings(bootstrap_servers=kafka_real.bootstrap_servers, topic=name)
    assert create_topics(settings, partitions=3) == [
        Topic(name, 3, created=True),
        Topic(f"{name}.dlq", 1, created=True),
    ]
    assert create_topics(settings, partitions=5) == [
        Topic(name, 3, created=False),
        Topic(f"{name}.dlq", 1, created=False),
    ]
    admin = new_admin(admin_config(settings))
    for gone in admin.delete_topics([name, f"{name}.dlq"]).values():
        gone.result(30)


def test_topics_that_cannot_be_created_are_a_configuration_error(
    kafka_real: HasBootstrapServers,
) -> None:
    settings = Settings(bootstrap_servers=kafka_real.bootstrap_servers, topic=unique("many"))
    with pytest.raises(ConfigError, match=f"topic '{settings.topic}' could not be created"):
        create_topics(settings, replication_factor=99)


def test_brokers_that_create_no_topics_say_so(mock: MockBroker) -> None:
    settings = Settings(bootstrap_servers=mock.bootstrap_servers, topic="none")
    with pytest.raises(ConfigError, match="do not let clients create topics"):
        create_topics(settings)


def test_asking_for_a_topic_does_not_make_it(mock: MockBroker) -> None:
    admin = new_admin(admin_config(Settings(bootstrap_servers=mock.bootstrap_servers)))
    for _ in range(2):
        with pytest.raises(ConfigError, match="'none' does not exist; create it with `dynatomic"):
            topic_partitions(admin, "none")
    mock.create_topic("some", 3)
    assert topic_partitions(admin, "some") == [0, 1, 2]


def test_watermarks_are_those_of_every_partition(mock: MockBroker) -> None:
    mock.create_topic("some", 3)
    producer = Producer({"bootstrap.servers": mock.bootstrap_servers})
    for partition in (1, 1, 2):
        producer.produce("some", b"x", partition=partition)
    assert producer.flush(30) == 0
    consumer = new_consumer(consumer_config(Settings(bootstrap_servers=mock.bootstrap_servers)))
    found = watermarks(consumer, "some")
    consumer.close()
    assert found == {0: Watermarks(0, 0), 1: Watermarks(0, 2), 2: Watermarks(0, 1)}


@pytest.mark.parametrize("suffix", ["", ".dlq"])
def test_a_compacted_topic_is_refused(kafka_real: HasBootstrapServers, suffix: str) -> None:
    settings = Settings(bootstrap_servers=kafka_real.bootstrap_servers, topic=unique("compacted"))
    admin, name = new_admin(admin_config(settings)), settings.topic + suffix
    new = NewTopic(name, 1, 1, config={"cleanup.policy": "compact,delete"})
    admin.create_topics([new])[name].result()
    create_topics(settings)
    says = rf"topic '{name}' has .* set cleanup\.policy=delete"
    for topics in ((), (name,)):
        with pytest.raises(ConfigError, match=says):
            check_not_compacted(settings, *topics)
    other = {settings.topic, settings.dead_letters} - {name}
    check_not_compacted(settings, *other)


def test_a_topic_that_is_not_compacted_passes(kafka_real: HasBootstrapServers) -> None:
    settings = Settings(bootstrap_servers=kafka_real.bootstrap_servers, topic=unique("plain"))
    create_topics(settings)
    check_not_compacted(settings)


def test_brokers_that_do_not_tell_are_believed() -> None:
    broker = MockBroker()
    try:
        check_not_compacted(Settings(bootstrap_servers=broker.bootstrap_servers))
    finally:
        broker.close()
