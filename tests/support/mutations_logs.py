"""Changes to what is done about a log that lost its tail, and grew again."""

from typing import Any

import pytest
from confluent_kafka import TopicPartition

from dynatomic.dynamodb.fence import fence_name, fences_of
from dynatomic.kafka.commit_metadata import CommitMetadata
from dynatomic.operations import fences
from dynatomic.worker import intake
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.partition import Partition
from tests.support.mutation_registry import AT_LEAST_ONCE, EXACTLY_ONCE, found_by, found_by_model


@found_by("test_a_log_that_grew_again_stops_the_next_owner_before_it_counts")
def commits_without_the_last_event(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Offsets, "_metadata", lambda self, _partition: CommitMetadata(self._topic_id).encode()
    )


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
@found_by("test_a_log_that_grew_again_stops_the_next_owner_before_it_counts")
def seeks_without_the_leader_epoch(patch: pytest.MonkeyPatch) -> None:
    def validate(self: Offsets, consumer: Any, partition: Partition, start: int) -> None:
        consumer.seek(TopicPartition(self._topic, partition.id, start))
        partition.start_again()

    patch.setattr(Offsets, "_validate_start", validate)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def validates_before_anything_was_read(patch: pytest.MonkeyPatch) -> None:
    ensure_start = Offsets.ensure_start

    def at_once(self: Offsets, consumer: Any, partitions: Any, *, may_assign: bool = True) -> None:
        ensure_start(self, consumer, partitions, may_assign=may_assign)
        for partition in partitions:
            if partition.needs_validation:
                self._validate_start(consumer, partition, partition.start_offset or 0)

    patch.setattr(Offsets, "ensure_start", at_once)


@found_by("test_a_log_that_grew_again_under_a_running_consumer_stops_it")
def takes_a_cut_log_for_one_without_a_committed_offset(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(intake, "truncation_of", lambda _error: None)


@found_by("test_offsets_without_events_of_a_later_leader_are_no_loss")
def takes_the_committed_offset_for_the_end_of_the_last_events_epoch(
    patch: pytest.MonkeyPatch,
) -> None:
    def validate(self: Offsets, consumer: Any, partition: Partition, start: int) -> None:
        epoch = partition.last_event.epoch if partition.last_event else None
        consumer.seek(TopicPartition(self._topic, partition.id, start, leader_epoch=epoch))
        partition.start_again()

    patch.setattr(Offsets, "_validate_start", validate)


@found_by("test_retention_up_to_the_committed_offset_is_no_loss")
def takes_retention_below_the_committed_offset_for_a_loss(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Partition, "clear_last_event", lambda _self: None)
    patch.setattr(Offsets, "_assign_at", lambda *_: None)


@found_by_model(EXACTLY_ONCE)
def repairs_the_offset_and_not_the_fences(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fences, "lowered_fences", lambda *_: lambda _item: {})


@found_by_model(EXACTLY_ONCE)
def lowers_fences_to_the_cut_and_not_below_it(patch: pytest.MonkeyPatch) -> None:
    def lowered(topic_id: str, ends: Any) -> Any:
        def changes(item: Any) -> dict[str, int]:
            held = fences_of(item, topic_id)
            return {fence_name(topic_id, n): e for n, e in ends.items() if held.get(n, -1) > e}

        return changes

    patch.setattr(fences, "lowered_fences", lowered)
