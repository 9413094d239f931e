"""The properties of the Kafka clients: which are refused, which pass, which client gets them."""

import logging
from collections.abc import Callable

import pytest

from dynatomic.config.properties import CONSUMER_ONLY, PRODUCER_ONLY, check_properties, for_kind
from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError
from dynatomic.kafka.client import (
    admin_config,
    consumer_config,
    new_consumer,
    new_producer,
    producer_config,
)
from dynatomic.kafka.log_filter import CLIENT_MESSAGE

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
        ("acks", "1", "can only be all: an event that was confirmed could be lost"),
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
        ("internal.termination.signal", "15", "signals are used for"),
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
        # An alias is reported by its full name.
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
    messages = [
        r.__dict__["fields"] for r in caplog.records if getattr(r, "event", "") == CLIENT_MESSAGE
    ]
    return [fields["text"] for fields in messages if fields["kind"] == "CONFWARN"]


def test_properties_of_no_list_go_to_every_client() -> None:
    properties = {"client.rack": "a", "linger.ms": "1", "fetch.min.bytes": "2"}
    assert for_kind(properties, "consumer") == {"client.rack": "a", "fetch.min.bytes": "2"}
    assert for_kind(properties, "producer") == {"client.rack": "a", "linger.ms": "1"}
    assert for_kind(properties, "admin") == {"client.rack": "a"}
