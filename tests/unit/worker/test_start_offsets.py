"""Where a partition begins."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.kafka.client import AUTO_OFFSET_RESET
from dynatomic.kafka.messages import UNREADABLE_BATCH, UNREADABLE_BATCHES
from dynatomic.worker.health import STALLED_AFTER_S
from tests.support.clients import GROUP, TOPIC
from tests.support.harness import world
from tests.support.log_records import logged


def test_without_a_committed_offset_a_partition_begins_at_the_beginning() -> None:
    with world() as w:
        w.emit("a", "a")
        w.worker()
        w.emit("a")
        w.window()
        assert w.counts() == {"a": 3}
        assert ("assign", [0]) in w.asked


def test_without_a_committed_offset_earliest_begins_at_what_retention_has_left() -> None:
    with world() as w:
        w.emit("a", "a", "b")
        w.broker.delete_before(TOPIC, 0, 2)
        w.worker()
        w.emitted = {(0, 2): Row("hits", "b")}
        w.window()
        assert w.counts() == {"b": 1}
        assert w.committed() == 3


def test_without_a_committed_offset_latest_begins_at_the_end() -> None:
    with world() as w:
        w.broker.append(TOPIC, 0, None, encode(Row("hits", "old")), [])
        w.worker(reset="latest")
        w.turn(3)
        assert w.committed() == 1, "the place where it began is not kept"
        w.emit("new")
        w.window()
        assert w.counts() == {"new": 1}


def test_without_a_committed_offset_error_stops_the_partition(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with world(2) as w:
        w.set_committed(1, 0)
        w.worker(reset="error")
        w.emit("a", partition=0)
        w.emit("b", partition=1)
        w.window()
        assert (w.committed(0), w.committed(1)) == (None, 1)
        assert w.counts() == {"b": 1}
        (said,) = logged(caplog, "partition stopped")
        assert said["partition"] == 0
        assert "no committed offset and auto.offset.reset is error" in said["cause"]


@pytest.mark.parametrize("reset", ["earliest", "latest", "error"])
def test_an_offset_that_the_topic_no_longer_has_stops_that_partition_only(
    reset: str, caplog: pytest.LogCaptureFixture
) -> None:
    with world(2) as w:
        w.set_committed(0, 2)
        w.set_committed(1, 0)
        for _ in range(5):
            w.broker.append(TOPIC, 0, None, encode(Row("hits", "a")), [])
        w.broker.delete_before(TOPIC, 0, 4)
        member = w.worker(reset=reset)
        w.emit("b", partition=1)
        w.window()
        w.emit("b", partition=1)
        w.window()
        assert (w.committed(0), w.committed(1)) == (2, 2)
        assert w.counts() == {"b": 2}
        (said,) = logged(caplog, "partition stopped")
        assert said["topic"] == TOPIC
        assert said["partition"] == 0
        assert said["cause"] == (
            f"{TOPIC}:0 no longer has the committed offset 2; to go on without: stop the group, "
            f"then `dynatomic offsets -g {GROUP} -t {TOPIC} --partition 0 --execute`"
        )
        w.advance(STALLED_AFTER_S)
        w.turn()
        assert logged(caplog, "no progress")[0]["cause"] == said["cause"]
        assert member.worker.shut_down(), "a stopped partition has nothing to finish"


def test_an_offset_above_the_end_stops_the_partition(caplog: pytest.LogCaptureFixture) -> None:
    with world() as w:
        w.set_committed(0, 100)
        w.broker.append(TOPIC, 0, None, encode(Row("hits", "a")), [])
        w.worker()
        w.window()
        assert w.counts() == {}
        assert w.committed() == 100
        assert (
            "no longer has the committed offset 100"
            in logged(caplog, "partition stopped")[0]["cause"]
        )


def test_what_was_read_before_the_topic_lost_the_rest_is_counted() -> None:
    with world() as w:
        member = w.worker()
        w.emit("a", "b")
        w.turn(3)
        w.broker.emit_error(
            member.consumer, KafkaError._AUTO_OFFSET_RESET, topic=TOPIC, partition=0, offset=2
        )
        w.window()
        assert w.counts() == {"a": 1, "b": 1}
        assert w.committed() == 2
        assert member.worker.partitions[0].stop_reason


def test_a_position_lost_before_the_first_commit_stops_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with world() as w:
        member = w.worker()
        w.emit("a")
        w.turn(3)
        w.broker.group(GROUP).offsets.clear()
        w.broker.emit_error(
            member.consumer, KafkaError._AUTO_OFFSET_RESET, topic=TOPIC, partition=0, offset=1
        )
        w.turn(2)
        (said,) = logged(caplog, "partition stopped")
        assert "auto.offset.reset is error" not in said["cause"], "it is earliest"
        assert "no longer has the offset 1" in said["cause"]


def test_a_look_up_that_fails_is_made_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world() as w:
        member = w.worker()
        failures = [KafkaError(KafkaError._TIMED_OUT)] * 3
        look_up = member.consumer.committed

        def committed(places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
            if failures:
                raise KafkaException(failures.pop())
            return look_up(places, timeout)

        monkeypatch.setattr(member.consumer, "committed", committed)
        w.emit("a")
        w.turn(3)
        assert len(failures) == 2, "it asks again at once, and blocks the loop each time"
        w.until(w.all_committed, step_s=0.5)
        assert w.counts() == {"a": 1}
        tries = logged(caplog, "committed offset unknown, trying again")
        assert failures == []
        assert tries == [{"partitions": [0], "cause": "_TIMED_OUT"}], "once in ten seconds"


def test_a_committed_offset_wins_over_every_reset() -> None:
    with world() as w:
        w.broker.append(TOPIC, 0, None, encode(Row("hits", "old")), [])
        w.set_committed(0, 1)
        w.worker(reset="earliest")
        w.emit("new")
        w.window()
        assert w.counts() == {"new": 1}
        assert ("assign", [0]) not in w.asked


def test_a_late_word_that_nothing_is_committed_stops_no_partition() -> None:
    # librdkafka requests the offset too, and its answer may come while the partition is read.
    with world() as w:
        member = w.worker()
        w.emit("a")
        w.until(w.all_committed, step_s=1)
        w.broker.group(GROUP).offsets.clear()
        w.broker.emit_error(member.consumer, AUTO_OFFSET_RESET, topic=TOPIC, partition=0)
        w.emit("b")
        w.turn(3)
        assert member.worker.partitions[0].stop_reason is None
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 1, "b": 1}


def test_events_before_a_batch_that_cannot_be_unpacked_are_written_where_one_poll_brings_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with world() as w:
        w.set_committed(0, 0)
        w.emit("a", "b")
        member = w.worker()
        consume = member.consumer.consume

        def with_batch(count: int = 1, timeout: float = -1) -> list[Any]:
            partition = member.worker.partitions.get(0)
            if partition is None or partition.stop_reason is None:
                w.broker.emit_error(
                    member.consumer, UNREADABLE_BATCH, topic=TOPIC, partition=0, offset=2
                )
            errors, messages = consume(count, timeout), consume(count, 0)
            return messages + errors

        monkeypatch.setattr(member.consumer, "consume", with_batch)
        w.window()
        w.turn(3)
        partition = member.worker.partitions[0]
        assert partition.stop_reason is not None
        assert "has a batch at offset 2" in partition.stop_reason
        assert w.counts() == {"a": 1, "b": 1}
        assert w.committed() == 2
        assert member.worker.shut_down()


@pytest.mark.parametrize("code", UNREADABLE_BATCHES)
@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_events_after_a_batch_that_cannot_be_read_are_not_counted_where_one_poll_brings_all(
    code: int, guarantee: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(2) as w:
        w.set_committed(0, 0)
        w.emit("a", "in the batch", "behind it")
        w.emit("other", partition=1)
        member = w.worker(processing_guarantee=guarantee)
        consume = member.consumer.consume

        def damaged(count: int = 1, timeout: float = -1) -> list[Any]:
            messages = consume(count, timeout)
            if (p := member.worker.partitions.get(0)) is not None and p.stop_reason is None:
                w.broker.emit_error(member.consumer, code, topic=TOPIC, partition=0, offset=1)
                messages = consume(count, 0) + messages  # the end of the partition comes last
            return [m for m in messages if m.error() or m.partition() or m.offset() != 1]

        monkeypatch.setattr(member.consumer, "consume", damaged)
        w.until(lambda: w.committed(0) == 1 and w.committed(1) == 1, step_s=1)
        w.turn(5)
        assert w.counts() == {"a": 1, "other": 1}
        assert "has a batch at offset 1" in (member.worker.partitions[0].stop_reason or "")
