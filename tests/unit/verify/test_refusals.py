"""A topic that cannot be recounted, and brokers that send nothing."""

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from dynatomic.config.settings import ProcessingGuarantee, Settings
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.kafka.client import consumer_config
from dynatomic.verify.topic_reader import read
from tests.support.clients import Clock
from tests.support.verify_world import FENCED, TOPIC, UNFENCED, World, differences, first_line


@pytest.mark.parametrize("guarantee", [FENCED, UNFENCED])
def test_a_topic_that_lost_its_beginning_is_refused_not_judged(
    guarantee: ProcessingGuarantee, tmp_path: Path
) -> None:
    w, file = World(2), tmp_path / "base"
    w.emit("a", "b", "a")
    w.item("a", 2, {0: 2})
    w.item("b", 1, {0: 1})
    w.commit(3)
    w.verify(guarantee, snapshot=file)
    w.broker.delete_before(TOPIC, 0, 2)
    with pytest.raises(ConfigError, match=r"partition 0 .* begins at offset 2.*--baseline FILE"):
        w.verify(guarantee)
    assert w.verify(guarantee, baseline=file).ok
    w.emit("a", "c", incr=4)
    w.item("a", 6, {0: 3})
    w.item("c", 4, {0: 4})
    w.commit(5)
    w.broker.delete_before(TOPIC, 0, 3)
    assert first_line(w.verify(guarantee, baseline=file)) == "OK  3 counters, sum 11 = 11"
    w.item("b", 2, {0: 1})
    assert differences(w.verify(guarantee, baseline=file)) == {"b": 1}
    w.broker.delete_before(TOPIC, 0, 4)
    with pytest.raises(ConfigError, match=r"begins at offset 4.*the baseline reaches 3; use a new"):
        w.verify(guarantee, baseline=file)


def test_events_that_retention_takes_while_they_are_read_are_noticed() -> None:
    w = World()
    w.emit(*["a"] * 30_000)
    w.on_consume = lambda: w.broker.delete_before(TOPIC, 0, 20_000)
    with pytest.raises(ConfigError, match="lost events while it was read"):
        w.verify()


def test_brokers_that_give_no_message_are_told_in_time() -> None:
    w, clock = World(), Clock()
    w.emit("a")
    config = Settings(topic=TOPIC, tables=("hits",))
    consumer = w.broker.consumer(consumer_config(config, eof=True))
    w.broker.sleep = clock.advance
    w.broker.faults.down = True
    with pytest.raises(UnavailableError, match="no broker sent a message for 60 s"):
        list(read(consumer, config, {0: (0, 1)}, lambda _: None, clock=clock))


def test_errors_are_no_messages_so_brokers_that_only_err_are_told_in_time() -> None:
    w, clock = World(), Clock()
    w.emit("a")
    config = Settings(topic=TOPIC, tables=("hits",))
    consumer = w.broker.consumer(consumer_config(config, eof=True))
    consume = consumer.consume

    def err(*arguments: Any) -> Any:
        clock.advance(1)
        assert clock.now < 2_000, "it does not end"
        w.broker.emit_error(consumer, KafkaError.LEADER_NOT_AVAILABLE, topic=TOPIC, partition=0)
        return consume(*arguments)

    consumer.consume = err  # type: ignore[method-assign, assignment]
    with pytest.raises(UnavailableError, match="no broker sent a message for 60 s"):
        list(read(consumer, config, {0: (0, 9)}, lambda _: None, clock=clock))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (KafkaError._BAD_MSG, r"partition 0 .* offset 1.* is damaged"),
        (KafkaError._BAD_COMPRESSION, r"partition 0 .* unpack the batch at offset 1 .*skip-batch"),
    ],
    ids=["damaged", "not-unpacked"],
)
def test_a_batch_that_cannot_be_read_ends_the_recount(code: int, message: str) -> None:
    w = World()
    w.emit("a", "a")
    config = Settings(topic=TOPIC, tables=("hits",))
    consumer = w.broker.consumer(consumer_config(config, eof=True))
    w.broker.emit_error(consumer, code, topic=TOPIC, partition=0, offset=1)
    reset = KafkaError._AUTO_OFFSET_RESET  # where it jumped to there is nothing
    w.broker.emit_error(consumer, reset, topic=TOPIC, partition=0, offset=2**60)
    with pytest.raises(DynatomicError, match=message):
        list(read(consumer, config, {0: (0, 2)}, lambda _: None))


def test_gaps_and_what_comes_after_the_end_are_not_waited_for() -> None:
    w, log = World(2), World(1).broker.logs[TOPIC][0]
    assert not log.messages
    w.broker.append_gap(TOPIC, 0, 3)
    w.emit("a")
    w.broker.append_gap(TOPIC, 0, 2)
    config = Settings(topic=TOPIC, tables=("hits",))
    consumer = w.broker.consumer(consumer_config(config, eof=True))
    seen: list[int] = []
    runs = read(consumer, config, {0: (0, 6), 1: (0, 0)}, seen.append)
    assert [(number, [m.offset() for m in run]) for number, run in runs] == [(0, [3])]
    w.emit("b", "c")
    runs = read(consumer, config, {0: (0, 7)}, seen.append)
    assert [(number, [m.offset() for m in run]) for number, run in runs] == [(0, [3, 6])]
    assert sum(seen) == 3
    assert consumer.position([TopicPartition(TOPIC, 0)])[0].offset < 0  # nothing is read any more
