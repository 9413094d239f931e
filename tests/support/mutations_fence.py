"""Changes to the fence."""

import re
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import pytest

from dynatomic.config.settings import Settings
from dynatomic.dynamodb.fence import Fence, fence_name
from dynatomic.dynamodb.statements import Change, Step
from dynatomic.dynamodb.write import Remainder, WindowWrite
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.window import Window
from dynatomic.worker import settlement
from tests.support.mutation_registry import (
    EXACTLY_ONCE,
    counters,
    found_by,
    found_by_model,
    harmless,
    writer,
)


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
@found_by("test_promise_3_a_rewound_window_that_reaches_beyond_the_fence_adds_only_what_is_new")
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

        def grouped(sums: Any, condition: Fence | None = None, expires_s: Any = None) -> Any:
            changes = group(sums, condition, expires_s)
            return {table: [own(change) for change in items] for table, items in changes.items()}

        patch.setattr(writer, "group_changes", grouped)
        return submit(self, window, on_complete, fence)

    patch.setattr(Writer, "submit", submitted)


@found_by("test_at_least_once_sets_no_fence")
def sets_fences_with_at_least_once_too(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Settings, "exactly_once", True)


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
