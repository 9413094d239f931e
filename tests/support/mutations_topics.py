"""Changes to what is believed of a topic that is deleted and made again."""

from typing import Any

import pytest

from dynatomic.kafka.topic_identity import TopicIdCheck
from dynatomic.worker import offsets
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.partition import Partition
from dynatomic.worker.settlement import Settlement
from tests.support.mutation_registry import AT_LEAST_ONCE, EXACTLY_ONCE, found_by, found_by_model


@found_by_model(EXACTLY_ONCE)
@found_by("test_a_topic_made_again_under_a_running_consumer_ends_it_before_anything_is_written")
def never_asks_whether_the_topic_is_the_same(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TopicIdCheck, "confirmed", lambda _self, _number: True)
    patch.setattr(TopicIdCheck, "poll", lambda _self, _on_done: None)


@found_by_model(EXACTLY_ONCE)
def believes_an_answer_from_before_the_window_was_read(patch: pytest.MonkeyPatch) -> None:
    def check_number(self: TopicIdCheck) -> int:
        self._wanted = self._started + 1
        return self._started

    patch.setattr(TopicIdCheck, "check_number", check_number)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def believes_the_offsets_of_a_deleted_topic(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(offsets, "is_foreign", lambda *_: False)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def commits_without_the_topics_id(patch: pytest.MonkeyPatch) -> None:
    made = Offsets.__init__

    def without(self: Offsets, *args: Any, **named: Any) -> None:
        made(self, *args, **(named | {"topic_id": None}))

    patch.setattr(Offsets, "__init__", without)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def writes_before_it_knows_the_offsets_to_be_of_this_topic(patch: pytest.MonkeyPatch) -> None:
    advance = Settlement.advance

    def at_once(self: Settlement, partition: Partition, now: float) -> None:
        known, partition.start_confirmed = partition.start_confirmed, True
        advance(self, partition, now)
        partition.start_confirmed = known

    patch.setattr(Settlement, "advance", at_once)


@found_by("test_the_committed_offset_of_a_deleted_topic_is_reported_not_used")
def keeps_what_it_read_at_the_offset_of_a_deleted_topic(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Partition, "reset_position", lambda _self: None)
