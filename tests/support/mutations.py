"""Changes to the product that must turn the suite red: one small function each.

Each takes a `pytest.MonkeyPatch` and breaks one thing that the promise rests on. `MUTATIONS` are
found by the model (`model.schedule`), `NAMED` by the test of a promise that they break, and
`HARMLESS` break nothing: they are here so that nobody takes them for holes in the suite.
"""

import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest

from dynatomic.config.settings import Settings
from dynatomic.dead_letters import store as dead_letters
from dynatomic.dynamodb import answers, statements
from dynatomic.dynamodb.answers import Applied, Rejected, Retry
from dynatomic.dynamodb.fence import Fence, fence_name
from dynatomic.dynamodb.statements import Change, Step
from dynatomic.dynamodb.write import Remainder, WindowWrite
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.row import Reason
from dynatomic.events.window import Window
from dynatomic.kafka.topic_identity import TopicIdCheck
from dynatomic.worker import offsets, rejected, settlement
from dynatomic.worker.in_flight import InFlightWindow
from dynatomic.worker.loop import Worker
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.partition import Partition
from dynatomic.worker.rejected import RejectedEvents
from dynatomic.worker.settlement import Settlement

# What these modules import is replaced in them.
counters: Any = import_module("dynatomic.dynamodb.counters")
write: Any = import_module("dynatomic.dynamodb.write")
writer: Any = import_module("dynatomic.dynamodb.writer")

Mutation = Callable[[pytest.MonkeyPatch], None]
AT_LEAST_ONCE, EXACTLY_ONCE = "at-least-once", "exactly-once"

MUTATIONS: list[tuple[str, Mutation]] = []
"""Found by the model, run with this guarantee."""
NAMED: list[tuple[str, Mutation]] = []
"""Found by a test of this name, in `test_worker` or `test_fence`."""
HARMLESS: list[tuple[str, Mutation]] = []
"""Found by nothing, with this guarantee: every counter stays right."""


def found_by_model(*guarantees: str) -> Callable[[Mutation], Mutation]:
    """Add a mutation that the model must find with each of these guarantees."""

    def add(mutation: Mutation) -> Mutation:
        MUTATIONS.extend((guarantee, mutation) for guarantee in guarantees)
        return mutation

    return add


def found_by(*tests: str) -> Callable[[Mutation], Mutation]:
    """Add a mutation that each of these tests must find."""

    def add(mutation: Mutation) -> Mutation:
        NAMED.extend((test, mutation) for test in tests)
        return mutation

    return add


def harmless(mutation: Mutation) -> Mutation:
    """Add a mutation that makes no counter wrong."""
    HARMLESS.append((EXACTLY_ONCE, mutation))
    return mutation


# --- the order: write, store, commit ---------------------------------------------------------


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
    def failed(self: Any, item: Any, on_stored: Any, _wanted: Any, _cause: str) -> None:
        self._release(item)
        on_stored()

    patch.setattr(dead_letters.DeadLetters, "_failed", failed)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def forgets_what_the_table_refused(patch: pytest.MonkeyPatch) -> None:
    def letters(_self: RejectedEvents, _number: int, closing: InFlightWindow) -> list[Any]:
        if closing.write is not None and closing.write.is_complete:
            closing.write.rejected.clear()
        return []

    patch.setattr(RejectedEvents, "letters", letters)


@found_by_model(EXACTLY_ONCE)
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
def writes_lost_partitions_like_revoked_ones(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "_on_lost", Worker._on_revoke)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def goes_on_with_cancelled_windows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Writer, "cancel", lambda self, write: None)  # noqa: ARG005 - named as in Writer


# --- outcomes --------------------------------------------------------------------------------


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def takes_an_unknown_outcome_for_done(patch: pytest.MonkeyPatch) -> None:
    _replace_answers(patch, lambda found: Applied() if isinstance(found, Retry) else found)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def looks_at_the_request_not_at_its_statements(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(counters, "_error_of", lambda _response: (None, "", None))


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def takes_an_item_that_is_there_for_inserted(patch: pytest.MonkeyPatch) -> None:
    _replace_meaning(patch, lambda code, found: Applied() if code == "DuplicateItem" else found)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def tries_only_the_first_of_the_failed_statements_again(patch: pytest.MonkeyPatch) -> None:
    retry = Writer._retry

    def one(self: Writer, task: Any, again: tuple[Change, ...], cause: Any) -> None:
        retry(self, task, again[:1], cause)

    patch.setattr(Writer, "_retry", one)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def refuses_an_item_as_a_whole(patch: pytest.MonkeyPatch) -> None:
    bad = Rejected(Reason.REFUSED, "")

    def whole(step: Step, _change: Change, _message: str) -> answers.Answer:
        return bad if step.alone else answers.TryStep(Step.UPDATE_ITEM)

    patch.setattr(answers, "_classify_validation", whole)


@found_by_model(EXACTLY_ONCE)
def leaves_out_sums_of_zero(patch: pytest.MonkeyPatch) -> None:
    group = statements.group_changes

    def some(sums: Any, fence: Any = None) -> Any:
        return group({ref: total for ref, total in sums.items() if total}, fence)

    patch.setattr(writer, "group_changes", some)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def writes_the_first_part_of_an_item_only(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WindowWrite, "next_part", lambda _self, _applied: None)


@found_by_model(EXACTLY_ONCE)
def sets_the_fence_of_a_part_to_the_end_of_the_window(patch: pytest.MonkeyPatch) -> None:
    split = write.split

    def to_the_end(change: Change, window: Window) -> list[Change]:
        return [
            part._replace(fence=part.fence and replace(part.fence, last=window.last))
            for part in split(change, window)
        ]

    patch.setattr(write, "split", to_the_end)


@found_by_model(EXACTLY_ONCE)
def drops_the_later_parts_of_an_item_that_was_fenced_or_rejected(patch: pytest.MonkeyPatch) -> None:
    def part_only(self: WindowWrite, part: Change) -> Change:
        self.later_parts.pop((part.table, part.key, part.range), None)
        return part

    patch.setattr(WindowWrite, "_whole", part_only)


# --- the fence -------------------------------------------------------------------------------


@found_by_model(EXACTLY_ONCE)
def asks_for_the_last_offset_not_for_the_first(patch: pytest.MonkeyPatch) -> None:
    _change_fence(patch, lambda fence: Fence(fence.name, fence.last, fence.last))


@found_by_model(EXACTLY_ONCE)
def lets_a_fence_at_the_first_offset_pass(patch: pytest.MonkeyPatch) -> None:
    _change_fence(patch, lambda fence: Fence(fence.name, fence.first + 1, fence.last))


@found_by_model(EXACTLY_ONCE)
def sets_the_fence_to_the_first_offset(patch: pytest.MonkeyPatch) -> None:
    _change_fence(patch, lambda fence: Fence(fence.name, fence.first, fence.first))


@found_by_model(EXACTLY_ONCE)
def sets_the_fence_one_too_high(patch: pytest.MonkeyPatch) -> None:
    _change_fence(patch, lambda fence: Fence(fence.name, fence.first, fence.last + 1))


@found_by_model(EXACTLY_ONCE)
def inserts_without_a_fence(patch: pytest.MonkeyPatch) -> None:
    _change_requests(
        patch,
        lambda step, change: change._replace(fence=None) if step is Step.INSERT else change,
    )


@found_by_model(EXACTLY_ONCE)
def adds_to_an_unfenced_item_without_a_condition(patch: pytest.MonkeyPatch) -> None:
    made = counters.request_body

    def bare(step: Step, keys: Any, batch: Any) -> bytes:
        return re.sub(rb' AND \\"fence_\w+\\" IS MISSING', b"", made(step, keys, batch))

    patch.setattr(counters, "request_body", bare)


@found_by_model(EXACTLY_ONCE)
def adds_alone_without_a_condition(patch: pytest.MonkeyPatch) -> None:
    made = counters.update_item

    def bare(keys: Any, change: Change, step: Step = Step.UPDATE_ITEM) -> Any:
        found = made(keys, change, step)
        if step is Step.UPDATE_ITEM and change.fence:
            del found["ConditionExpression"], found["ExpressionAttributeValues"][":first"]
        return found

    patch.setattr(counters, "update_item", bare)


@found_by_model(EXACTLY_ONCE)
def looks_without_a_condition(patch: pytest.MonkeyPatch) -> None:
    made = counters.update_item

    def bare(keys: Any, change: Change, step: Step = Step.UPDATE_ITEM) -> Any:
        return made(keys, change, Step.UPDATE_ITEM if step is Step.INSPECT else step)

    patch.setattr(counters, "update_item", bare)


@found_by_model(EXACTLY_ONCE)
def takes_what_a_fence_refused_for_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WindowWrite, "remainder_above", lambda _self, _change, _offset: Remainder(None))


@found_by_model(EXACTLY_ONCE)
def adds_the_whole_sum_above_a_fence(patch: pytest.MonkeyPatch) -> None:
    def whole(_self: WindowWrite, change: Change, offset: int) -> Remainder:
        last = change.fence.last if change.fence else 0
        return Remainder(None if offset >= last else change.only(change.sums, offset + 1))

    patch.setattr(WindowWrite, "remainder_above", whole)


@found_by_model(EXACTLY_ONCE)
def adds_the_event_at_the_fence_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("dynatomic.events.window.bisect_right", bisect_left)


@found_by_model(EXACTLY_ONCE)
def adds_the_rest_without_a_fence(patch: pytest.MonkeyPatch) -> None:
    only = Change.only

    def bare(self: Change, sums: Any, first: int | None = None) -> Change:
        found = only(self, sums, first)
        return found if first is None else found._replace(fence=None)

    patch.setattr(Change, "only", bare)


@found_by_model(EXACTLY_ONCE)
def adds_what_was_held_back_without_a_fence(patch: pytest.MonkeyPatch) -> None:
    only = Change.only

    def bare(self: Change, sums: Any, first: int | None = None) -> Change:
        found = only(self, sums, first)
        return found if first is not None else found._replace(fence=None)

    patch.setattr(Change, "only", bare)


@found_by_model(EXACTLY_ONCE)
def has_one_fence_for_all_partitions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(settlement, "fence_name", lambda topic_id, _number: fence_name(topic_id, 0))


@found_by_model(EXACTLY_ONCE)
def has_one_fence_for_all_topics(patch: pytest.MonkeyPatch) -> None:
    # The id of the first topic of every world: right until the topic is made again.
    first = "00000001" + "0" * 24
    patch.setattr(settlement, "fence_name", lambda _id, number: fence_name(first, number))


@harmless
def sets_the_fence_to_the_items_own_last_event(patch: pytest.MonkeyPatch) -> None:
    """All events of the item up to the fence are in it, and none above, with this one too."""
    submit, group = Writer.submit, writer.group_changes

    def submitted(self: Writer, window: Window, on_complete: Any, fence: str | None = None) -> Any:
        last = {(ref.table, ref.key, ref.range): offset for offset, ref, _ in window.events()}

        def own(change: Change) -> Change:
            if change.fence is None:
                return change
            place = change.table, change.key, change.range
            return change._replace(fence=Fence(change.fence.name, change.fence.first, last[place]))

        def grouped(sums: Any, condition: Fence | None = None) -> Any:
            found = group(sums, condition)
            return {table: [own(change) for change in items] for table, items in found.items()}

        patch.setattr(writer, "group_changes", grouped)
        return submit(self, window, on_complete, fence)

    patch.setattr(Writer, "submit", submitted)


# --- topics that come back -------------------------------------------------------------------


@found_by_model(EXACTLY_ONCE)
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


# --- found by the test of a promise ----------------------------------------------------------


@found_by("test_promise_6_a_revoked_partition_is_finished_first")
def drops_revoked_partitions_like_lost_ones(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "_on_revoke", Worker._on_lost)


@found_by("test_a_refused_event_below_the_fence_is_no_dead_letter_again")
def stores_refused_events_below_the_fence_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rejected, "_first_offsets", lambda rejected: dict.fromkeys(rejected, 0))


@found_by("test_the_committed_offset_of_a_deleted_topic_is_reported_not_used")
def keeps_what_it_read_at_the_offset_of_a_deleted_topic(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Partition, "reset_position", lambda _self: None)


@found_by("test_at_least_once_sets_no_fence")
def sets_fences_with_at_least_once_too(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Settings, "exactly_once", True)


found_by("test_a_topic_made_again_under_a_running_consumer_ends_it_before_anything_is_written")(
    never_asks_whether_the_topic_is_the_same
)
found_by("test_promise_6_a_lost_partition_is_dropped")(writes_lost_partitions_like_revoked_ones)
found_by("test_promise_4_one_window_at_a_time_is_in_flight_and_they_are_applied_in_order")(
    has_two_windows_in_flight
)
found_by("test_promise_3_the_fence_is_not_set_before_the_refused_events_are_stored")(
    sets_the_fence_before_the_dead_letters_are_stored
)
found_by("test_promise_3_a_rewound_window_that_reaches_beyond_the_fence_adds_only_what_is_new")(
    takes_what_a_fence_refused_for_done
)

# --- how ---------------------------------------------------------------------------------------


def _replace_answers(patch: pytest.MonkeyPatch, change: Callable[[Any], Any]) -> None:
    execute = counters.Counters.execute

    def changed(self: Any, step: Step, batch: Any) -> list[Any]:
        return [change(found) for found in execute(self, step, batch)]

    patch.setattr(counters.Counters, "execute", changed)


def _replace_meaning(patch: pytest.MonkeyPatch, change: Callable[..., Any]) -> None:
    meaning = counters.classify_answer

    def changed(step: Step, one: Change, code: str | None, *rest: Any) -> Any:
        return change(code, meaning(step, one, code, *rest))

    patch.setattr(counters, "classify_answer", changed)


def _change_fence(patch: pytest.MonkeyPatch, change: Callable[[Fence], Fence]) -> None:
    def changed(_step: Step, one: Change) -> Change:
        return one._replace(fence=change(one.fence)) if one.fence else one

    _change_requests(patch, changed)


def _change_requests(patch: pytest.MonkeyPatch, change: Callable[[Step, Change], Change]) -> None:
    made, made_alone = counters.request_body, counters.update_item
    patch.setattr(
        counters,
        "request_body",
        lambda step, keys, batch: made(step, keys, [change(step, one) for one in batch]),
    )
    patch.setattr(
        counters,
        "update_item",
        lambda keys, one, step=Step.UPDATE_ITEM: made_alone(keys, change(step, one), step),
    )
