"""Changes to the order of writing, storing and committing."""

from typing import Any

import pytest

from dynatomic.dead_letters import store as dead_letters
from dynatomic.dynamodb.fence import fence_name
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.window import Window
from dynatomic.worker import rejected
from dynatomic.worker.in_flight import InFlightWindow
from dynatomic.worker.loop import Worker
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.partition import Partition
from dynatomic.worker.rejected import RejectedEvents
from dynatomic.worker.settlement import Settlement
from tests.support.mutation_registry import AT_LEAST_ONCE, EXACTLY_ONCE, found_by, found_by_model


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def commits_what_was_read(patch: pytest.MonkeyPatch) -> None:
    commit = Offsets.commit

    def early(self: Offsets, consumer: Any, partitions: Any, *, now: bool) -> None:
        for partition in partitions:
            partition.committable_offset = max(partition.committable_offset, partition.position)
        commit(self, consumer, partitions, now=now)

    patch.setattr(Offsets, "commit", early)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def commits_one_offset_too_far(patch: pytest.MonkeyPatch) -> None:
    complete = Partition.complete_window

    def far(self: Partition) -> Window:
        window = complete(self)
        self.committable_offset += 1
        return window

    patch.setattr(Partition, "complete_window", far)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def takes_a_window_in_flight_for_nothing_held(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Partition, "is_empty", property(lambda self: not len(self.filling.window)))


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def commits_before_the_dead_letters_are_stored(patch: pytest.MonkeyPatch) -> None:
    def without_letters(self: InFlightWindow) -> bool:
        written = self.write
        writing = written is not None and (not written.is_complete or bool(written.rejected))
        return writing or self.reread is not None

    patch.setattr(InFlightWindow, "has_work_pending", property(without_letters))


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def commits_although_counters_are_held_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        InFlightWindow,
        "is_done",
        property(lambda self: not self.is_unwritten and not self.has_work_pending),
    )
    patch.setattr(Writer, "write_held_back", lambda self, write: None)  # noqa: ARG005 - named as in Writer


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def takes_a_failed_delivery_for_stored(patch: pytest.MonkeyPatch) -> None:
    def failed(self: Any, pending: Any, _cause: str) -> None:
        self._release(pending.letter)
        pending.on_stored()

    patch.setattr(dead_letters.DeadLetters, "_failed", failed)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def forgets_what_the_table_refused(patch: pytest.MonkeyPatch) -> None:
    def letters(_self: RejectedEvents, _number: int, closing: InFlightWindow) -> list[Any]:
        if closing.write is not None and closing.write.is_complete:
            closing.write.rejected.clear()
        return []

    patch.setattr(RejectedEvents, "letters", letters)


@found_by_model(EXACTLY_ONCE)
@found_by("test_promise_3_the_fence_is_not_set_before_the_refused_events_are_stored")
def sets_the_fence_before_the_dead_letters_are_stored(patch: pytest.MonkeyPatch) -> None:
    take_answers = Writer._take_answers

    def at_once(self: Writer, task: Any, found: Any) -> bool:
        task.write.open_tasks += 1
        take_answers(self, task, found)
        self.write_held_back(task.write)
        task.write.open_tasks -= 1
        return task.write.is_complete and not task.write.cancelled

    patch.setattr(Writer, "_take_answers", at_once)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
@found_by("test_promise_4_one_window_at_a_time_is_in_flight_and_they_are_applied_in_order")
def has_two_windows_in_flight(patch: pytest.MonkeyPatch) -> None:
    advance = Settlement.advance
    early: dict[Partition, InFlightWindow] = {}

    def both(self: Settlement, partition: Partition, now: float) -> None:
        advance(self, partition, now)
        closing, filling = partition.closing, partition.filling
        if partition in early:
            if closing is None:
                partition.closing = early.pop(partition)
                advance(self, partition, now)
        elif closing is not None and closing.write is not None and filling.window.sums:
            early[partition], partition.filling = filling, InFlightWindow()
            fence = fence_name(self._topic_id, partition.id) if self._topic_id else None
            filling.write = self._writer.submit(filling.window, self._on_done, fence)

    patch.setattr(Settlement, "advance", both)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
@found_by("test_promise_6_a_lost_partition_is_dropped")
def writes_lost_partitions_like_revoked_ones(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "_on_lost", Worker._on_revoke)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def goes_on_with_cancelled_windows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Writer, "cancel", lambda self, write: None)  # noqa: ARG005 - named as in Writer


@found_by("test_promise_6_a_revoked_partition_is_finished_first")
def drops_revoked_partitions_like_lost_ones(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "_on_revoke", Worker._on_lost)


@found_by("test_a_refused_event_below_the_fence_is_no_dead_letter_again")
def stores_refused_events_below_the_fence_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rejected, "_first_offsets", lambda rejected: dict.fromkeys(rejected, 0))


@found_by_model(EXACTLY_ONCE)
@found_by(
    "test_promise_3_an_event_rejected_while_decoding_is_not_lost_when_a_setting_is_corrected",
    "test_a_window_is_written_when_its_dead_letters_are_stored",
)
def writes_before_the_dead_letters_of_decoding_are_stored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Settlement, "_must_wait_for_letters", lambda _self, _closing: False)


@found_by("test_promise_6_a_revoked_partition_is_finished_within_a_bound")
def waits_for_a_throttled_table_while_nothing_is_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Settlement, "is_blocked", lambda _self, _partition: False)
