"""Sending row events from files and samples to the mock cluster."""

import collections
import functools
import io
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, DeliveryError, RowError, UnavailableError
from dynatomic.events.row import Row
from dynatomic.events.samples import samples
from dynatomic.events.schema import encode
from dynatomic.kafka.client import topic_partitions
from dynatomic.operations.produce import produce_file, produce_samples
from dynatomic.testing.embedded import free_port
from dynatomic.testing.mock_broker import MockBroker
from tests.support.names import unique


@pytest.fixture(scope="module")
def mock() -> Iterator[MockBroker]:
    server = MockBroker()
    yield server
    server.close()


@pytest.fixture
def settings(mock: MockBroker) -> Settings:
    topic = unique("topic")
    mock.create_topic(topic, 4)
    return Settings(bootstrap_servers=mock.bootstrap_servers, topic=topic)


def test_an_interrupt_says_how_many_rows_are_stored(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted() -> Iterator[str]:
        yield from ['{"table": "hits", "key": "a"}'] * 1234
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        produce_file(settings, interrupted())
    assert [getattr(record, "sentence", None) for record in caplog.records] == [
        f"interrupted: 1,234 events are stored in topic {settings.topic}"
    ]


def stored(settings: Settings, count: int) -> collections.Counter[bytes]:
    """Read that many messages, and see that there are no more."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": "reads without it",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
        }
    )
    consumer.assign([TopicPartition(settings.topic, p, OFFSET_BEGINNING) for p in range(4)])
    found: list[Any] = []
    ends = set()
    for _ in range(300):
        for message in consumer.consume(1000, 0.1):
            if (error := message.error()) is None:
                found.append(message.value())
            elif error.code() == KafkaError._PARTITION_EOF:
                ends.add(message.partition())
        if len(ends) == 4:
            break
    consumer.close()
    assert len(found) == count
    return collections.Counter(found)


def test_each_line_is_a_row(settings: Settings) -> None:
    lines = """
        {"table": "page-views", "key": "home"}

        {"table": "page-views", "key": "home", "incr": 5, "range": null, "counter": null}
        {"table": "bytes", "key": "k\u00e9", "range": "2026", "counter": "total", "incr": -3}
    """
    assert produce_file(settings, io.StringIO(lines)) == 3
    assert stored(settings, 3) == collections.Counter(
        encode(row)
        for row in (
            Row("page-views", "home"),
            Row("page-views", "home", incr=5),
            Row("bytes", "ké", range="2026", counter="total", incr=-3),
        )
    )


def test_an_empty_file_is_no_error(settings: Settings) -> None:
    assert produce_file(settings, io.StringIO("\n \n")) == 0


GOOD = '{"table": "page-views", "key": "home"}'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "not JSON"),
        ('["page-views", "home"]', "not a JSON object"),
        ('{"table": "page-views"}', "field missing: key"),
        (
            '{"table": "page-views", "key": "k", "incr": true}',
            "incr must be a whole number, not bool",
        ),
        (
            '{"table": "page-views", "key": "k", "incr": 1.5}',
            "incr must be a whole number, not 1.5",
        ),
        (
            '{"table": "page-views", "key": "k", "incr": NaN}',
            "incr must be a whole number, not nan",
        ),
        (
            '{"table": "page-views", "key": "k", "incr": "1"}',
            "incr must be a whole number, not str",
        ),
        ('{"table": "page-views", "key": "k", "incr": 9223372036854775808}', "not an int64"),
        ('{"table": "page-views", "key": 7}', "key must be text, not int"),
        ('{"table": "page-views", "key": "k", "count": 1}', "no such field: 'count'"),
        ('{"table": "page-views", "key": ""}', "the key is empty"),
        ('{"table": "x", "key": "k"}', "not a table name"),
        ('{"table": "page-views", "key": "\\ud800"}', "not Unicode"),
    ],
)
def test_a_bad_line_is_named_and_the_rows_before_it_are_stored(
    settings: Settings, line: str, words: str
) -> None:
    with pytest.raises(RowError, match=r"line 4: .*the 2 rows before it were sent") as caught:
        produce_file(settings, [GOOD, "", GOOD, line, GOOD])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert stored(settings, 2) == {encode(Row("page-views", "home")): 2}


def test_progress_adds_up_to_the_rows(settings: Settings) -> None:
    steps: list[int] = []
    produce_file(settings, itertools.repeat(GOOD, 2345), progress=steps.append)
    assert sum(steps) == 2345
    assert len(steps) < 10


def test_a_missing_topic_is_told_at_once(mock: MockBroker) -> None:
    settings = Settings(bootstrap_servers=mock.bootstrap_servers, topic="no-such")
    with pytest.raises(ConfigError, match="topic 'no-such' does not exist"):
        produce_file(settings, [GOOD])


def test_absent_brokers_are_told_before_a_row_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = functools.partial(topic_partitions, timeout_s=0.3)
    monkeypatch.setattr("dynatomic.operations.produce.topic_partitions", hasty)
    settings = Settings(bootstrap_servers=f"127.0.0.1:{free_port()}")
    lines = iter([GOOD])
    with pytest.raises(UnavailableError, match="no broker answered"):
        produce_file(settings, lines)
    assert list(lines) == [GOOD]


def test_rows_that_the_brokers_refuse_are_an_error(settings: Settings, mock: MockBroker) -> None:
    mock.push_errors(0, [KafkaError.TOPIC_AUTHORIZATION_FAILED])
    with pytest.raises(DeliveryError, match="1 of 1 rows"):
        produce_file(settings, [GOOD])


def test_samples_are_sent(settings: Settings) -> None:
    wanted = {"table": "page-views", "count": 3000, "rows": 50, "seed": 4}
    assert produce_samples(settings, **wanted) == 3000  # type: ignore[arg-type]
    expected = collections.Counter(encode(row) for row in samples(**wanted))  # type: ignore[arg-type]
    assert stored(settings, 3000) == expected


def test_samples_for_what_is_no_table_are_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="not the ARN"):
        produce_samples(settings, table="arn:aws:dynamodb:eu-west-1:1:table/t", count=1)
