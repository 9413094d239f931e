"""A batch that kills the process that reads it: what lies before it counts, and the rest stops."""

from collections.abc import Iterable
from typing import Any, cast

import pytest
from confluent_kafka import TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.kafka.bounded_read import FatalBatch, StoredEvent
from dynatomic.kafka.guarded import GuardedConsumer
from dynatomic.service.fatal_batches import suspects
from tests.support.clients import GROUP, TOPIC
from tests.support.harness import World, world


def guarded(w: World, partition: int, start: int, offset: int) -> None:
    """Let members of this world have a batch at an offset that they must not read."""
    stored: list[StoredEvent] = [
        (m.offset() or 0, m.key(), m.value(), m.headers(), m.timestamp(), m.leader_epoch())
        for m in w.broker.logs[TOPIC][partition].messages
        if m is not None and start <= (m.offset() or 0) < offset
    ]
    batches = {partition: FatalBatch(offset, tuple(stored))}
    make = w._consumer
    w._consumer = lambda config: cast("Any", GuardedConsumer(make(config), TOPIC, batches))  # type: ignore[method-assign]


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_events_before_the_batch_count_and_its_partition_stops(
    guarantee: str, caplog: pytest.LogCaptureFixture
) -> None:
    with world(2) as w:
        w.emit("a", "b", "a", "never", "never", partition=0)
        w.emit("other", partition=1)
        guarded(w, 0, 0, 3)
        member = w.worker(processing_guarantee=guarantee)
        w.until(lambda: w.committed(0) == 3 and w.committed(1) == 1, step_s=1)
        assert w.counts() == {"a": 2, "b": 1, "other": 1}
        reason = member.worker.partitions[0].stop_reason or ""
        assert "has a batch at offset 3 " in reason
        assert f"dlq skip-batch -g {GROUP} -t {TOPIC} --partition 0 --offset 3" in reason
        assert [r.getMessage() for r in caplog.records].count("partition stopped") == 1
        w.emit("more", partition=1)
        w.until(lambda: w.committed(1) == 2, step_s=1)
        assert "never" not in w.counts()


def test_it_starts_at_the_committed_offset() -> None:
    with world() as w:
        w.emit("a", "b", "c", "never")
        w.set_committed(0, 2)
        guarded(w, 0, 0, 3)
        w.worker(processing_guarantee="exactly-once")
        w.until(lambda: w.committed() == 3, step_s=1)
        assert w.counts()["c"] == 1


def test_another_member_that_gets_the_partition_reads_no_more_of_it() -> None:
    with world() as w:
        w.emit("a", "never")
        guarded(w, 0, 0, 1)
        first, second = w.worker(), w.worker()
        w.until(lambda: w.committed() == 1, step_s=1)
        (first if first.owned else second).kill()
        w.advance(60)
        w.until(lambda: len([m for m in w.members if m.alive and m.owned]) == 1, step_s=1)
        w.turn(20)
        assert w.counts() == {"a": 1}


class Times:
    """A client of brokers that know when events came."""

    def __init__(self, ages: dict[int, Iterable[float]], committed: dict[int, int]) -> None:
        self._ages = {p: list(of) for p, of in ages.items()}
        self._committed = committed

    def list_topics(self, topic: str, timeout: float) -> Any:  # noqa: ARG002 - as the client's
        partitions = dict.fromkeys(self._ages)
        found = type("Topic", (), {"error": None, "partitions": partitions})
        return type("Metadata", (), {"topics": {topic: found}})

    def get_watermark_offsets(self, place: TopicPartition, _timeout: float) -> tuple[int, int]:
        return 0, len(self._ages[place.partition])

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:  # noqa: ARG002
        offsets = [self._committed.get(p.partition, -1001) for p in places]
        return [
            TopicPartition(p.topic, p.partition, offset)
            for p, offset in zip(places, offsets, strict=True)
        ]

    def offsets_for_times(self, places: list[TopicPartition], timeout: float) -> Any:  # noqa: ARG002
        now_ms = 10_000_000
        found = []
        for p in places:
            later = [
                n
                for n, age in enumerate(self._ages[p.partition])
                if now_ms - age * 1000 >= p.offset
            ]
            found.append(TopicPartition(p.topic, p.partition, later[0] if later else -1))
        return found


def test_only_partitions_whose_next_event_is_old_are_suspicious() -> None:
    client = Times(
        {0: [500, 300, 5], 1: [500, 5], 2: [500, 400], 3: [500, 400], 4: [5], 5: []},
        {0: 1, 1: 1, 2: 2},
    )
    settings = Settings(topic=TOPIC, group_id=GROUP, tables=("hits",))
    assert suspects(settings, client, lambda: 10_000.0) == {0: 1, 3: 0}
