"""The writes that ``config check --probe`` sends, and the answers that it expects. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dynatomic.dynamodb.answers import (
    Answer,
    Fenced,
    PartiallyRejected,
    Refused,
    Rejected,
    Retry,
    TryStep,
)
from dynatomic.dynamodb.fence import Fence, fence_name
from dynatomic.dynamodb.statements import Step

_FENCE, _OTHER = (fence_name("0" * 32, partition) for partition in (0, 1))
_LARGEST_NUMBER = 10**38 - 1  # of a number's 38 digits


@dataclass(frozen=True, slots=True)
class ProbeCase:
    """One write, the expected answer, and what the item contains afterwards."""

    name: str
    step: Step
    sums: Mapping[str, int]
    expected: str
    fence: Fence | None = None
    holds: Mapping[str, int] = field(default_factory=dict)


UPDATE, ADD_FENCE, INSERT, UPDATE_ITEM, INSPECT = Step
_WINDOW, _LATER = Fence(_FENCE, 10, 19), Fence(_FENCE, 30, 39)
_TWO = {"text": 1, "a": 1}

BATCHES = (
    ProbeCase("an item that is missing", UPDATE, {"a": 1}, "next: insert", _WINDOW),
    ProbeCase(
        "a missing item, first write of a partition",
        ADD_FENCE,
        {"a": 1},
        "next: insert",
        _WINDOW,
    ),
    ProbeCase(
        "INSERT",
        INSERT,
        {"a": 2, "b": 3},
        "applied",
        fence=Fence(_FENCE, 0, 9),
        holds={"a": 2, "b": 3, _FENCE: 9},
    ),
    ProbeCase(
        "a duplicate INSERT", INSERT, {"a": 2}, "next: update", Fence(_FENCE, 0, 9), {"a": 2}
    ),
    ProbeCase(
        "arithmetic, and two SET clauses",
        UPDATE,
        {"a": 5, "b": -4},
        "applied",
        fence=_WINDOW,
        holds={"a": 7, "b": -1, _FENCE: 19},
    ),
    ProbeCase(
        "a refused fence returns the old item", UPDATE, {"a": 5}, "fenced: 19", _WINDOW, {"a": 7}
    ),
    ProbeCase("a window that overlaps", UPDATE, {"a": 5}, "fenced: 19", Fence(_FENCE, 15, 25)),
    ProbeCase(
        "IS MISSING for a fence that exists",
        ADD_FENCE,
        {"a": 5},
        "fenced: 19",
        _WINDOW,
        {"a": 7},
    ),
    ProbeCase("a fence that is missing", UPDATE, {"a": 1}, "next: add-fence", Fence(_OTHER, 0, 4)),
    ProbeCase(
        "IS MISSING",
        ADD_FENCE,
        {"a": 1},
        "applied",
        fence=Fence(_OTHER, 0, 4),
        holds={"a": 8, _OTHER: 4, _FENCE: 19},
    ),
    ProbeCase("without a fence", UPDATE, {"a": -3}, "applied", None, {"a": 5}),
    ProbeCase("an attribute that does not exist", UPDATE, {"c": 4}, "next: update-item", _LATER),
)
ALONE = (
    ProbeCase(
        "UpdateItem makes what is missing",
        UPDATE_ITEM,
        {"a": 0, "c": 4},
        "applied",
        fence=_LATER,
        holds={"c": 4, _FENCE: 39},
    ),
    ProbeCase("UpdateItem is refused by the fence", UPDATE_ITEM, {"c": 4}, "fenced: 39", _LATER),
    ProbeCase("UpdateItem without a fence", UPDATE_ITEM, {"c": 3}, "applied", None, {"c": 7}),
    ProbeCase(
        "38 digits", UPDATE_ITEM, {"d": _LARGEST_NUMBER}, "applied", None, {"d": _LARGEST_NUMBER}
    ),
    ProbeCase(
        "more digits are refused", UPDATE_ITEM, {"d": 2}, "rejected", None, {"d": _LARGEST_NUMBER}
    ),
)
# Before these cases the item gets a counter that is text.
TEXT = (
    ProbeCase("a counter that is text", UPDATE_ITEM, {"text": 1}, "rejected: counter-not-a-number"),
    ProbeCase("a text counter beside a number counter", UPDATE_ITEM, _TWO, "next: inspect"),
    ProbeCase("the text counter is found", INSPECT, _TWO, "partly: text counter-not-a-number"),
)
TEXT_IN_BATCHES = (ProbeCase("text, in a batch", UPDATE, {"text": 1}, "next: update-item"),)
ATTRIBUTES = frozenset(
    name for case in (*BATCHES, *ALONE, *TEXT) for name in (*case.sums, *case.holds)
)
"""The attributes of the scratch item."""


def describe_answer(answer: Answer) -> str:
    """Return an answer as text."""
    match answer:
        case TryStep(step):
            return f"next: {step.value}"
        case Fenced(offset):
            return f"fenced: {offset}"
        case Rejected(reason):
            return f"rejected: {reason.value}"
        case PartiallyRejected(rejected):
            return "partly: " + ", ".join(
                f"{n} {rejection.reason.value}" for n, rejection in rejected.items()
            )
        case Retry(cause) | Refused(cause):
            return cause
    return "applied"
