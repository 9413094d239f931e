"""Each event that was read is counted, kept out by a fence, a dead letter, or given up."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import TopicPartition

from dynatomic.worker.event_counts import EventCounts
from tests.support.clients import GROUP, TOPIC
from tests.support.harness import world
from tests.support.health_checks import status_of
from tests.support.member import Member
from tests.support.refusals import failing
from tests.support.served import Served

if TYPE_CHECKING:
    from dynatomic.worker.snapshot import ConsumerSnapshot


def snapshot_of(member: Member) -> "ConsumerSnapshot":
    return status_of(member).take_snapshot()


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_counted_events_and_dead_letters_are_all_that_was_read(guarantee: str) -> None:
    with world(2) as w:
        member = w.worker(processing_guarantee=guarantee)
        w.spoil("spoiled")
        w.emit("a", "a", "b", partition=1)
        w.put(b"bad", partition=1)
        w.emit("spoiled", "a", partition=1)
        w.until(w.all_committed, step_s=1)
        counts = snapshot_of(member).event_counts
        assert counts[1] == EventCounts(read=6, counted=4, dead_letters=2)
        assert counts[0] == EventCounts()


def test_events_that_a_fence_kept_out_are_told_from_counted_ones() -> None:
    with world() as w:
        w.worker(processing_guarantee="exactly-once")
        w.emit("a", "a", "b")
        w.until(w.all_committed, step_s=1)
        w.members[0].kill()
        w.broker.group(GROUP).offsets[TOPIC, 0] = 0
        second = w.worker(processing_guarantee="exactly-once")
        w.emit("a")
        w.advance(60)
        w.until(lambda: w.committed() == 4, step_s=1)
        assert snapshot_of(second).event_counts[0] == EventCounts(read=4, counted=1, suppressed=3)


def test_the_events_of_a_lost_partition_are_abandoned_and_their_counts_are_kept() -> None:
    with world() as w:
        member = w.worker(window_ms=60_000)
        w.emit("a", "b")
        w.turn(3)
        assert snapshot_of(member).partitions[0].held_events == 2
        member.worker._on_lost(None, [TopicPartition(TOPIC, 0)])
        snapshot = snapshot_of(member)
        assert snapshot.partitions == ()
        assert snapshot.event_counts[0] == EventCounts(read=2, abandoned=2)


def test_a_sum_that_is_never_written_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that loses a change: all that it sent is answered, so the window is complete."""
    with pytest.raises(AssertionError, match="without an outcome"), world() as w:  # noqa: PT012
        member = w.worker()
        add_tasks = member.writer._add_tasks

        def lose_one(
            write: Any, table: str, step: Any, changes: Sequence[Any], *rest: Any, **named: Any
        ) -> None:
            add_tasks(write, table, step, changes[:1], *rest, **named)

        monkeypatch.setattr(member.writer, "_add_tasks", lose_one)
        monkeypatch.setattr(w, "check_committed", lambda *_: None)  # it sees the lost event first
        w.emit("a", "b")
        w.until(w.all_committed, step_s=1)
        assert w.counts() == {"a": 1}
        assert status_of(member).report()["unaccounted_events"] == 2


def test_requests_of_unknown_outcome_are_counted_and_throttled_ones_are_not(
    served: Served,
) -> None:
    with world() as w:
        member = w.worker()
        served.pages.attach(status_of(member))
        w.refuse = failing("ThrottlingException")
        w.emit("a")
        w.window()
        assert snapshot_of(member).unknown_outcomes == {"hits": 0}
        w.refuse = None
        w.until(w.all_committed, step_s=1)
        w.lose_answers()
        w.emit("a")
        w.window()
        w.lose_answers(lost=False)
        w.until(w.all_committed, step_s=1)
        unknown = snapshot_of(member).unknown_outcomes["hits"]
        assert unknown >= 1
        assert 2 < w.counts()["a"] <= 2 + unknown, "the bound of counting twice"
        page = served.metrics().decode()
        assert f'dynatomic_dynamodb_unknown_outcomes_total{{table="hits"}} {unknown}.0' in page
        assert 'dynatomic_partition_events_total{outcome="counted",partition="0"} 2.0' in page
        assert 'dynatomic_partition_events_read_total{partition="0"} 2.0' in page
        assert 'dynatomic_unaccounted_events{partition="0"} 0.0' in page
        (partition,) = served.json("/status")[1]["partitions"]
        assert partition["event_counts"] == {
            "read": 2,
            "counted": 2,
            "suppressed": 0,
            "dead_letters": 0,
            "unmatched": 0,
            "tombstones": 0,
            "abandoned": 0,
        }
