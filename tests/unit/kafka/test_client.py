"""The configuration of the Kafka clients: what is refused, what passes, what the topics are."""

import logging
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic

from dynatomic.config.properties import CONSUMER_ONLY, PRODUCER_ONLY, check_properties, for_kind
from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.kafka.client import (
    Watermarks,
    admin_config,
    consumer_config,
    new_admin,
    new_consumer,
    new_producer,
    producer_config,
    reset_policy,
    topic_partitions,
    wait_for_kafka,
    watermarks,
)
from dynatomic.kafka.log_filter import RateLimitFilter
from dynatomic.kafka.topics import Topic, check_not_compacted, create_topics
from dynatomic.testing.embedded import free_port
from dynatomic.testing.mock_broker import MockBroker
from tests.support.brokers import HasBootstrapServers
from tests.support.names import unique

# The kind of value that a property takes, where "1" is none of it.
VALUES = {
    "auto.offset.reset": "latest",
    "compression.codec": "lz4",
    "compression.type": "lz4",
    "fetch.max.bytes": "20000000",
    "group.instance.id": "one",
    "group.protocol.type": "consumer",
    "isolation.level": "read_committed",
    "max.poll.interval.ms": "60000",
    "message.timeout.ms": "60000",
    "delivery.timeout.ms": "60000",
    "offset.store.method": "broker",
    "partition.assignment.strategy": "cooperative-sticky",
    "partitioner": "murmur2",
    "queuing.strategy": "fifo",
    "session.timeout.ms": "10000",
    "enable.auto.commit": "false",
    "auto.commit.enable": "false",
    "enable.auto.offset.store": "false",
    "enable.partition.eof": "false",
    "delivery.report.only.error": "false",
    "acks": "all",
    "request.required.acks": "all",
    "enable.gapless.guarantee": "false",
    "transaction.timeout.ms": "60000",
}
# Refused, or only for share consumers.
NEVER_GIVEN = {
    "group.id",
    "group.protocol",
    "group.remote.assignor",
    "offset.store.path",
    "transactional.id",
    "max.poll.records",
    "share.acknowledgement.mode",
}


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("enable.auto.commit", "true", "can only be false: the worker commits"),
        ("enable.auto.commit", " TRUE", "can only be false"),
        ("auto.commit.enable", "1", "can only be false"),
        ("enable.auto.offset.store", "t", "can only be false"),
        ("offset.store.method", "none", "can only be broker"),
        ("offset.store.method", "file", "can only be broker"),
        ("enable.partition.eof", "true", "can only be false"),
        ("isolation.level", "read_uncommitted", "can only be read_committed"),
        ("check.crcs", "false", "can only be true"),
        ("auto.offset.reset", "smallest", "can only be earliest or latest or error"),
        ("partition.assignment.strategy", "range", "can only be cooperative-sticky"),
        ("partition.assignment.strategy", "range,cooperative-sticky", "can only be"),
        ("acks", "1", "can only be all: a row that was confirmed could be lost"),
        ("request.required.acks", "0", "can only be all"),
        ("topic.acks", "0", "write acks"),
        ("topic.request.required.acks", "0", "write request.required.acks"),
        ("topic.auto.offset.reset", "latest", "write auto.offset.reset"),
        ("enable.idempotence", "false", "can only be true"),
        ("delivery.report.only.error", "true", "can only be false"),
        ("group.id", "x", r"use the setting group_id \(-g\)"),
        ("bootstrap.servers", "x", "use the setting bootstrap_servers"),
        ("metadata.broker.list", "x", "use the setting bootstrap_servers"),
        ("group.protocol", "consumer", "use the setting group_protocol"),
        ("plugin.library.paths", "x.so", "it can run code"),
        ("sasl.kerberos.kinit.cmd", "true", "it can run code"),
        ("sasl.kerberos.principal", "me; rm x", "can run code"),
        ("sasl.kerberos.principal", "$(x)", "can run code"),
        ("sasl.kerberos.keytab", 'x" -k; y', "can run code"),
        ("ssl.providers", "../evil", "can run code"),
        ("ssl.engine.location", "x.so", "it can run code"),
        ("ssl.engine.id", "x", "it can run code"),
        ("transactional.id", "x", "not sent in transactions"),
        ("internal.termination.signal", "15", "signals are for"),
        ("error_cb", "print", "it takes code"),
        ("oauthbearer_token_refresh_cb", "x", "it takes code"),
        ("ut_handle_ProduceResponse", "x", "it takes code"),
        ("test.mock.num.brokers", "1", "it takes code"),
        ("logger", "x", "it takes code"),
        ("on_delivery", "x", "it takes code"),
        ("default.topic.config", "x", "one by one"),
    ],
)
def test_a_property_that_breaks_the_promise_is_refused(name: str, value: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        check_properties({name: value})
    assert str(caught.value).startswith(f"librdkafka property {name}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [consumer_config, producer_config, admin_config])
def test_every_client_checks_the_properties(make: Callable[[Settings], object]) -> None:
    with pytest.raises(ConfigError, match=r"plugin\.library\.paths"):
        make(Settings(librdkafka={"plugin.library.paths": "x"}))


@pytest.mark.parametrize(
    "name",
    [
        "session.timeout.ms",
        "heartbeat.interval.ms",
        "partition.assignment.strategy",
        "group.protocol.type",
    ],
)
def test_what_the_new_group_protocol_leaves_to_the_brokers_is_refused_with_it(name: str) -> None:
    properties = {name: VALUES.get(name, "1000")}
    check_properties(properties, "classic")
    with pytest.raises(ConfigError, match=f"{name}: only for the group protocol 'classic'"):
        check_properties(properties, "consumer")


def test_the_value_of_a_refused_property_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        check_properties({"sasl.kerberos.principal": "hunter2;"})
    assert "hunter2" not in str(caught.value)


def test_harmless_properties_pass() -> None:
    check_properties(
        {
            "enable.auto.commit": "False",
            "acks": "-1",
            "security.protocol": "sasl_ssl",
            "sasl.username": "u",
            "sasl.password": "p;$(x)",
            "sasl.kerberos.principal": "kafka/host.example@EXAMPLE.ORG",
            "ssl.ca.location": "/etc/ca.pem",
            "topic.metadata.refresh.interval.ms": "1000",
            "group.instance.id": "host-1",
            "fetch.queue.backoff.ms": "100",
        }
    )


def test_the_consumer_keeps_what_the_promise_needs_whatever_the_user_says() -> None:
    same = {"enable.auto.commit": "f", "auto.offset.reset": "latest", "check.crcs": "t"}
    config = consumer_config(Settings(group_id="g", librdkafka=same))
    assert config["enable.auto.commit"] == config["enable.auto.offset.store"] == "false"
    assert config["auto.offset.reset"] == "error"
    assert config["isolation.level"] == "read_committed"
    assert config["check.crcs"] == "true"
    assert config["group.id"] == "g"


def test_the_users_properties_win_over_the_defaults() -> None:
    settings = Settings(librdkafka={"fetch.queue.backoff.ms": "70", "client.id": "mine"})
    config = consumer_config(settings)
    assert config["fetch.queue.backoff.ms"] == "70"
    assert config["client.id"] == producer_config(settings)["client.id"] == "mine"
    assert consumer_config(Settings())["fetch.queue.backoff.ms"] == "10"
    partitioner = {"partitioner": "consistent_random"}
    assert producer_config(Settings(librdkafka=partitioner))["partitioner"] == "consistent_random"


@pytest.mark.parametrize("size", [None, "5000000"])
def test_little_is_read_ahead_unless_messages_are_large(size: str | None) -> None:
    settings = Settings(librdkafka={"message.max.bytes": size} if size else {})
    config = consumer_config(settings)
    assert int(config["queued.min.messages"]) <= 20_000
    assert ("fetch.max.bytes" in config) == (size is None)
    new_consumer(config).close()


def test_end_of_partition_events_are_off_unless_asked_for() -> None:
    assert consumer_config(Settings())["enable.partition.eof"] == "false"
    assert consumer_config(Settings(), eof=True)["enable.partition.eof"] == "true"


def test_the_reset_policy_is_the_users_or_earliest() -> None:
    assert reset_policy(Settings()) == "earliest"
    assert reset_policy(Settings(librdkafka={"auto.offset.reset": "latest"})) == "latest"


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_librdkafka_accepts_our_own_configuration(protocol: str) -> None:
    settings = Settings(bootstrap_servers="127.0.0.1:1", group_protocol=protocol)  # type: ignore[arg-type]
    new_consumer(consumer_config(settings)).close()
    new_producer(producer_config(settings))
    new_admin(admin_config(settings))


@pytest.mark.parametrize(("made", "foreign"), [("producer", "consumer"), ("consumer", "producer")])
def test_no_client_is_given_a_property_of_the_other_kind(
    made: str, foreign: str, caplog: pytest.LogCaptureFixture
) -> None:
    names = (CONSUMER_ONLY if foreign == "consumer" else PRODUCER_ONLY) - NEVER_GIVEN
    properties = {name: VALUES.get(name, "1") for name in names}
    settings = Settings(bootstrap_servers="127.0.0.1:1", librdkafka=properties)
    config = producer_config(settings) if made == "producer" else consumer_config(settings)
    warned = _warnings_of(made, config, caplog)
    assert not [line for line in warned if "DEPRECATED" not in line.upper()]


@pytest.mark.parametrize("kind", ["producer", "consumer"])
def test_every_property_of_the_lists_is_known_and_of_that_kind_only(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = "consumer" if kind == "producer" else "producer"
    for name in sorted((CONSUMER_ONLY if foreign == "consumer" else PRODUCER_ONLY) - NEVER_GIVEN):
        caplog.clear()
        base = {
            "bootstrap.servers": "127.0.0.1:1",
            "logger": logging.getLogger("dynatomic.kafka.client"),
        }
        config = {**base, name: VALUES.get(name, "1")}
        if kind == "consumer":
            config |= {"group.id": "g"}
        # An alias is reported by the name that it stands for.
        assert f"is a {foreign} property" in "".join(_warnings_of(kind, config, caplog)), name


def _warnings_of(
    kind: str, config: dict[str, object], caplog: pytest.LogCaptureFixture
) -> list[str]:
    if kind == "producer":
        new_producer(config).poll(0)
    else:
        consumer = new_consumer(config)
        consumer.poll(0)
        consumer.close()
    return [r.getMessage() for r in caplog.records if "CONFWARN" in r.getMessage()]


def test_properties_of_no_list_go_to_every_client() -> None:
    properties = {"client.rack": "a", "linger.ms": "1", "fetch.min.bytes": "2"}
    assert for_kind(properties, "consumer") == {"client.rack": "a", "fetch.min.bytes": "2"}
    assert for_kind(properties, "producer") == {"client.rack": "a", "linger.ms": "1"}
    assert for_kind(properties, "admin") == {"client.rack": "a"}


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"no.such": "1"}, 'No such configuration property: "no.such"'),
        ({"session.timeout.ms": "x"}, "session.timeout.ms"),
        ({"security.protocol": "sasl_plaintext", "sasl.mechanism": "X"}, "SASL mechanism"),
    ],
)
def test_what_librdkafka_refuses_is_one_line(properties: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        new_consumer(consumer_config(Settings(librdkafka=properties)))
    assert words in str(caught.value)
    assert "-X" in str(caught.value)
    assert "\n" not in str(caught.value)


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


def test_a_broker_that_is_not_there_in_time_is_named() -> None:
    server = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=f"{server} within 0.5 s .*refused") as caught:
        wait_for_kafka(Settings(bootstrap_servers=server), 0.5)
    assert time.monotonic() - began < 10
    assert "\n" not in str(caught.value)


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


def test_a_topic_nobody_can_tell_of_is_not_taken_for_missing() -> None:
    server = f"127.0.0.1:{free_port()}"
    admin = new_admin(admin_config(Settings(bootstrap_servers=server)))
    with pytest.raises(UnavailableError, match="topic 'some': no broker answered"):
        topic_partitions(admin, "some", 0.3)


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


def test_a_repeated_line_is_logged_once_in_a_while() -> None:
    now = [0.0]
    sparse = RateLimitFilter(10, lambda: now[0])

    def passes(text: str, level: int = logging.ERROR) -> bool:
        return sparse.filter(logging.LogRecord("n", level, "p", 1, text, None, None))

    assert passes("refused (after 0ms in state CONNECT)")
    assert not passes("refused (after 12ms in state CONNECT)")
    assert passes("another line")
    assert passes("debug", logging.DEBUG)
    assert passes("debug", logging.DEBUG)
    now[0] = 10.0
    assert passes("refused (after 7ms in state CONNECT)")


def test_librdkafkas_log_goes_to_logging(caplog: pytest.LogCaptureFixture) -> None:
    server = f"127.0.0.1:{free_port()}"
    producer = new_producer(producer_config(Settings(bootstrap_servers=server)))
    deadline = time.monotonic() + 20
    while not caplog.records and time.monotonic() < deadline:
        producer.poll(0.05)
    assert "refused" in caplog.records[0].getMessage()
    assert caplog.records[0].name == "dynatomic.kafka.client"


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
