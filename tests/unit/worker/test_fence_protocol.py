"""No interleaving of a small number of steps loses an event or counts one twice."""

import pytest

from tests.support.fence_protocol import LostError, explore
from tests.support.fence_steps import Scope
from tests.support.mutations import MUTATIONS

pytestmark = pytest.mark.no_cover  # as all tests of many examples: see conftest

HITS = ("a", "n")
EMPTY, TEXT = (("n", "N", "0"),), (("m", "N", "0"), ("n", "S", "text"))
WITHOUT_COUNTER = (("x", "N", "0"),)

SCOPES = {
    "a missing item": Scope([HITS] * 4, {"a": None}, captures=1),
    "an item without a fence": Scope([HITS] * 3, {"a": EMPTY}),
    "an item without a counter": Scope([HITS] * 3, {"a": WITHOUT_COUNTER}, captures=1),
    "two items": Scope([HITS, ("b", "n"), HITS], {"a": None, "b": EMPTY}, captures=1, starts=1),
    "a counter that is no number": Scope(
        [HITS, ("a", "m"), HITS], {"a": TEXT}, captures=1, starts=1, mends=True
    ),
    "an event that cannot be decoded": Scope(
        [HITS] * 3, {"a": EMPTY}, bad=frozenset({1}), captures=1
    ),
}
BY_NAME = {mutation.__name__: mutation for _, mutation in MUTATIONS}
FOUND = {
    "asks_for_the_last_offset_not_for_the_first": "an item without a fence",
    "lets_a_fence_at_the_first_offset_pass": "an item without a fence",
    "sets_the_fence_to_the_first_offset": "an item without a fence",
    "sets_the_fence_one_too_high": "an item without a fence",
    "inserts_without_a_fence": "a missing item",
    "adds_to_an_unfenced_item_without_a_condition": "an item without a fence",
    "adds_alone_without_a_condition": "an item without a counter",
    "takes_what_a_fence_refused_for_done": "an item without a fence",
    "adds_the_whole_sum_above_a_fence": "an item without a fence",
    "adds_the_event_at_the_fence_again": "an item without a fence",
    "adds_the_rest_without_a_fence": "an item without a fence",
    "adds_what_was_held_back_without_a_fence": "a counter that is no number",
    "writes_before_the_dead_letters_of_decoding_are_stored": "an event that cannot be decoded",
}
"""Mutations, and the scope that finds each."""


@pytest.mark.parametrize("name", SCOPES)
def test_promise_3_in_every_interleaving(name: str) -> None:
    states = explore(SCOPES[name])
    print(f"{name}: {states} states")  # noqa: T201 - shown by pytest -s
    assert states > 10_000


@pytest.mark.parametrize("name", FOUND)
def test_a_wrong_protocol_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BY_NAME[name](monkeypatch)
    with pytest.raises(LostError) as found:
        explore(SCOPES[FOUND[name]])
    print(f"{name}: {found.value}")  # noqa: T201 - shown by pytest -s
