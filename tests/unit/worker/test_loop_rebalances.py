"""Partitions that come and go."""

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from dynatomic.worker.loop import REVOKE_WAIT_S
from tests.support.clients import GROUP, TOPIC
from tests.support.harness import world


def test_messages_of_a_partition_that_is_not_owned_are_dropped() -> None:
    with world(2) as w:
        member = w.worker()
        w.emit("a", partition=0)
        w.emit("b", partition=1)
        w.turn()
        member.worker.abandon([0])  # its messages may still be on their way
        w.emit("a", partition=0)
        w.put(b"bad", partition=0)
        w.window()
        assert w.counts() == {"b": 1}
        assert w.letters() == {}
        assert (w.committed(0), w.committed(1)) == (None, 1)


def test_a_partition_that_is_revoked_and_assigned_again_goes_on_where_it_was() -> None:
    with world(2) as w:
        first = w.worker()
        w.turn(2)
        for _ in range(4):
            w.emit("a", "a", partition=0)
            w.emit("b", partition=1)
            w.turn()
            second = w.worker()
            w.until(lambda member=second: len(member.owned) == 1)  # type: ignore[misc]
            w.emit("a", partition=0)
            w.turn()
            second.alive = False
            assert second.worker.shut_down()
            w.until(lambda: first.owned == [0, 1])
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 12, "b": 4}


def test_a_partition_that_is_lost_and_assigned_again_begins_anew() -> None:
    with world() as w:
        first = w.worker()
        w.gate.close("hits")
        w.emit("a")
        w.window()
        w.emit("b")
        w.turn()
        first.expire()
        w.turn(2)
        assert first.owned == [0]
        w.gate.open()
        w.until(w.all_committed, step_s=1)
        # The request that was on its way when it was lost cannot be called back.
        assert w.counts() == {"a": 2, "b": 1} or w.counts() == {"a": 1, "b": 1}


def test_the_answer_to_a_commit_of_a_former_ownership_changes_nothing() -> None:
    with world() as w:
        first = w.worker()
        w.emit("a")
        w.broker.faults.answers_held = True
        w.window()
        first.expire()
        w.turn(2)
        w.broker.faults.answers_held = False
        w.emit("b")
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 1, "b": 1}


def test_partitions_added_later_begin_at_the_beginning() -> None:
    with world() as w:
        w.worker()
        w.emit("a")
        w.window()
        w.broker.create_topic(TOPIC, 3)
        w.emit("a", "b", partition=2)  # before the group has seen the partition
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 2, "b": 1}


def test_a_revocation_never_assigns(monkeypatch: pytest.MonkeyPatch) -> None:
    with world(2) as w:
        first = w.worker()

        def no_answer(*_args: object, **_named: object) -> None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

        monkeypatch.setattr(first.consumer, "committed", no_answer)
        w.turn(2)  # no partition knows yet where to begin
        monkeypatch.undo()
        w.worker().turn()  # joins, so that the next turn of the first one is a revocation
        w.emit("a", partition=0)
        w.emit("a", partition=1)
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 2}


def test_a_revoked_partition_whose_start_is_not_known_waits_only_shortly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with world(2) as w:
        first = w.worker()

        def no_answer(*_args: object, **_named: object) -> None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

        group = w.broker.group(GROUP)
        for partition in range(2):
            w.emit("a", partition=partition)
            group.offsets[TOPIC, partition] = 0
            group.metadata[TOPIC, partition] = ""
        monkeypatch.setattr(first.consumer, "committed", no_answer)
        w.turn(3)
        assert not any(p.start_confirmed for p in first.worker.partitions.values())
        assert sum(p.held_events() for p in first.worker.partitions.values()) == 2
        began = w.clock()
        second = w.worker()
        w.until(lambda: len(first.owned) == 1)
        assert w.clock() - began <= REVOKE_WAIT_S + 1
        assert w.counts() == {}
        monkeypatch.undo()
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 2}
        assert second.alive


def test_partitions_can_be_read_without_the_group() -> None:
    with world(2) as w:
        member = w.worker(join=False, commits=False)
        w.emit("old", "a", partition=1)
        member.worker.assign([TopicPartition(TOPIC, 1, 1)])
        w.window()
        assert w.counts() == {"a": 1}
        assert w.broker.group(GROUP).members == []
        assert w.committed(1) is None
