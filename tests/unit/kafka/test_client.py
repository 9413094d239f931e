"""The configuration of the Kafka clients, and brokers that do not answer."""

import contextlib
import logging
import socket
import time
from contextlib import closing
from threading import Thread

import pytest

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.kafka.client import (
    admin_config,
    consumer_config,
    new_admin,
    new_consumer,
    new_producer,
    producer_config,
    reset_policy,
    topic_partitions,
)
from dynatomic.kafka.log_filter import CLIENT_MESSAGE, ClientMessageFilter, RateLimitFilter
from dynatomic.kafka.reachability import wait_for_kafka
from dynatomic.testing.embedded import free_port


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


def test_a_broker_that_is_not_there_in_time_is_named() -> None:
    server = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=f"{server} within 0.5 s .*refused") as caught:
        wait_for_kafka(Settings(bootstrap_servers=server), 0.5)
    assert time.monotonic() - began < 10
    assert "\n" not in str(caught.value)


def test_the_port_of_another_service_is_noticed_at_once() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with closing(other.accept()[0]) as connection:
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        Thread(target=answer, daemon=True).start()
        server = f"127.0.0.1:{other.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(ConfigError, match=f"^{server} is no Kafka port.*-b"):
            wait_for_kafka(Settings(bootstrap_servers=server), 600)
        assert time.monotonic() - began < 60


def test_a_line_of_librdkafka_has_a_fixed_event_and_its_text_in_a_field() -> None:
    arguments = ("FAIL", "rdkafka#consumer-1", "[thrd:x]: refused")
    record = logging.LogRecord("n", logging.ERROR, "p", 1, "%s [%s] %s", arguments, None)
    assert ClientMessageFilter().filter(record)
    assert record.event == CLIENT_MESSAGE  # type: ignore[attr-defined]
    assert record.getMessage() == "FAIL [rdkafka#consumer-1] [thrd:x]: refused"
    assert record.fields == {  # type: ignore[attr-defined]
        "kind": "FAIL",
        "client": "rdkafka#consumer-1",
        "text": "[thrd:x]: refused",
    }


def test_a_topic_without_an_answer_is_not_treated_as_missing() -> None:
    server = f"127.0.0.1:{free_port()}"
    admin = new_admin(admin_config(Settings(bootstrap_servers=server)))
    with pytest.raises(UnavailableError, match="topic 'some': no broker answered"):
        topic_partitions(admin, "some", 0.3)


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
    assert "refused" in caplog.records[0].fields["text"]  # type: ignore[attr-defined]
    assert caplog.records[0].name == "dynatomic.kafka.client"
