"""Changes to how an item with many counters is written in parts."""

from dataclasses import replace

import pytest

from dynatomic.dynamodb.statements import Change
from dynatomic.dynamodb.write import WindowWrite
from dynatomic.events.window import Window
from tests.support.mutation_registry import AT_LEAST_ONCE, EXACTLY_ONCE, found_by_model, write


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
