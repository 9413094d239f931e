"""Which offsets are committed, and what happens when a commit fails."""

from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.kafka.client import watermarks
from dynatomic.service.exit_conditions import DrainCondition
from dynatomic.worker.offsets import COMMIT_TIMEOUT_S, RETRY_S
from tests.support.clients import TOPIC
from tests.support.harness import World, world
from tests.support.log_records import logged
from tests.support.member import Member

REFUSALS = (
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.OFFSET_METADATA_TOO_LARGE,
    KafkaError._TIMED_OUT,
)


def commits(w: World) -> list[dict[int, int]]:
    return [offered for what, offered in w.asked if what == "commit"]


def as_consumer(member: Member) -> Consumer:
    return cast("Consumer", member.consumer)


def test_what_is_committed_is_the_offset_after_the_last_event() -> None:
    with world() as w:
        w.worker()
        w.emit("a", "b", "c")
        w.window()
        assert w.committed() == 3
        assert commits(w)[-1] == {0: 3}


def test_a_window_is_committed_while_the_next_one_fills() -> None:
    # The end of the partition, which would be committed when nothing is held, says nothing here.
    with world() as w:
        w.worker()
        w.emit("a", "b", "c")
        w.gate.close("hits")
        w.window()
        w.emit("d")
        w.gate.open()
        w.turn(4)
        assert w.committed() == 3
        assert commits(w) == [{0: 3}]
        w.window()
        assert commits(w) == [{0: 3}, {0: 4}]


def test_the_end_of_a_partition_is_committed_although_its_last_offsets_hold_no_event() -> None:
    with world() as w:
        w.worker()
        w.emit("a")
        w.broker.append_gap(TOPIC, 0, 2)  # a marker of a transaction, and what compaction took
        w.window()
        w.turn(2)
        assert w.committed() == 3


def test_the_end_of_an_empty_partition_is_committed() -> None:
    with world(2) as w:
        w.worker()
        w.emit("a", partition=1)
        w.window()
        assert (w.committed(0), w.committed(1)) == (0, 1)


def test_an_idle_partition_commits_nothing_twice() -> None:
    with world() as w:
        w.worker()
        w.emit("a")
        w.window()
        before = commits(w)
        for _ in range(20):
            w.window()
        assert commits(w) == before


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("stored", [False, True])
def test_a_refused_commit_is_sent_again(code: int, *, stored: bool) -> None:
    with world() as w:
        w.worker()
        w.turn(4)
        w.asked.clear()
        w.broker.faults.fail_commits(code, 3, applied=stored)
        w.emit("a")
        w.window()
        w.until(lambda: len(commits(w)) == 4, step_s=0.1)
        assert w.committed() == 1
        w.window()
        assert commits(w) == [{0: 1}] * 4
        assert w.counts() == {"a": 1}


def test_a_refused_commit_is_not_sent_again_at_once(caplog: pytest.LogCaptureFixture) -> None:
    with world() as w:
        member = w.worker()
        w.turn(4)
        w.asked.clear()
        w.broker.faults.fail_commits(KafkaError.COORDINATOR_NOT_AVAILABLE, 1000)
        w.emit("a")
        w.window()
        assert len(commits(w)) == 1
        w.advance(RETRY_S)
        w.turn(3)
        assert len(commits(w)) == 2
        assert member.offsets.last_error == "COORDINATOR_NOT_AVAILABLE"
        assert logged(caplog, "commit failed") == [{"cause": "COORDINATOR_NOT_AVAILABLE"}]
        w.broker.faults.commits.clear()
        w.until(w.all_committed, step_s=RETRY_S)
        w.turn()
        assert member.offsets.last_error is None


def test_a_commit_that_librdkafka_does_not_take_is_sent_again() -> None:
    with world() as w:
        w.worker()
        w.turn(4)
        w.commit_raises = KafkaException(KafkaError(KafkaError._STATE))
        w.emit("a")
        w.window()
        assert w.committed() == 0
        w.commit_raises = None
        w.advance(RETRY_S)
        w.turn(2)
        assert w.committed() == 1


def test_a_commit_that_fails_for_one_partition_is_sent_again_for_that_one() -> None:
    with world(2) as w:
        member = w.worker()
        w.turn(4)
        w.emit("a", partition=0)
        w.emit("b", partition=1)
        # The fake reports one error for all partitions, as librdkafka. Here each has its own.
        w.broker.faults.answers_held = True
        w.window()
        first, second = (member.worker.partitions[n] for n in (0, 1))
        member.offsets.on_commit_result(
            None,
            [_answer(0, 1, KafkaError.NOT_COORDINATOR), _answer(1, 1, None)],
            member.worker.partitions,
        )
        assert (first.committed_offset, second.committed_offset) == (0, 1)
        w.asked.clear()
        w.advance(RETRY_S)
        w.turn(2)
        assert commits(w) == [{0: 1}]


class _Answered(TopicPartition):
    error: KafkaError | None = None


def _answer(number: int, offset: int, code: int | None) -> TopicPartition:
    place = _Answered(TOPIC, number, offset)
    place.error = None if code is None else KafkaError(code)
    return place


def test_one_commit_at_a_time_is_unanswered() -> None:
    with world() as w:
        w.worker()
        w.turn(4)
        w.asked.clear()
        w.broker.faults.answers_held = True
        for _ in range(5):
            w.emit("a")
            w.window()
        assert commits(w) == [{0: 1}]
        w.broker.faults.answers_held = False
        w.turn(3)
        assert commits(w) == [{0: 1}, {0: 5}]


def test_a_commit_that_is_never_answered_is_sent_again() -> None:
    with world() as w:
        member = w.worker()
        w.turn(4)
        w.asked.clear()
        w.broker.faults.answers_held = True
        w.emit("a")
        w.window()
        w.advance(COMMIT_TIMEOUT_S)
        w.turn()
        assert commits(w) == [{0: 1}, {0: 1}], "given up, though the partition is idle"
        w.broker.faults.answers_held = False
        w.turn(2)
        assert member.worker.partitions[0].committed_offset == 1


def test_a_broker_that_is_down_for_a_while_delays_the_commit() -> None:
    with world() as w:
        w.worker()
        w.emit("a")
        w.turn(2)
        w.advance(1)
        w.broker.faults.down = True
        w.turn(5)
        w.advance(100)
        w.turn(5)
        w.broker.faults.down = False
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 1}


def test_a_partition_of_which_nothing_was_read_is_given_up_without_a_commit() -> None:
    with world() as w:
        w.set_committed(0, 7)
        w.broker.append_gap(TOPIC, 0, 7)
        member = w.worker()
        w.broker.append(TOPIC, 0, None, encode(Row("hits", "a")), [])
        member.consumer.consume(0)  # joins, reads nothing
        assert member.worker.shut_down()
        assert commits(w) == []
        assert w.committed() == 7


def test_nothing_is_committed_where_commits_are_off() -> None:
    with world() as w:
        member = w.worker(commits=False)
        w.emit("a")
        w.window()
        assert commits(w) == []
        assert member.worker.partitions[0].committed_offset == 1
        assert member.worker.shut_down()


def test_a_drain_ends_when_all_is_committed_and_not_before() -> None:
    with world() as w:
        member = w.worker()
        w.emit("a")
        w.broker.append_gap(TOPIC, 0)
        drain = DrainCondition(
            member.worker, Settings(topic=TOPIC), watermarks(as_consumer(member), TOPIC)
        )
        w.broker.faults.answers_held = True
        w.window()
        assert not drain.done()
        w.broker.faults.answers_held = False
        w.turn(3)
        assert drain.done()


def test_a_drain_ends_when_another_member_has_committed_the_end() -> None:
    with world(2) as w:
        members = [w.worker(), w.worker()]
        w.until(lambda: [m.owned for m in members] in ([[0], [1]], [[1], [0]]))
        w.emit("a", partition=0)
        w.emit("b", partition=1)
        for number in range(2):
            w.broker.append_gap(TOPIC, number)
        ends = watermarks(as_consumer(members[0]), TOPIC)
        drains = [DrainCondition(m.worker, m.worker.settings, ends, w.clock) for m in members]
        assert not any(drain.done() for drain in drains)
        w.window()
        w.advance(1)
        assert all(drain.done() for drain in drains)
