"""The product in the small scope of `fence_protocol`: requests, answers, what follows from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from dynatomic.dynamodb.answers import (
    APPLIED,
    Answer,
    Fenced,
    PartiallyRejected,
    Rejected,
    Retry,
    TryStep,
)
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.fence import Fence, fence_name
from dynatomic.dynamodb.statements import Change, Step, group_changes
from dynatomic.dynamodb.write import WindowWrite
from dynatomic.events.decoded import UnitIncrement
from dynatomic.events.row import CounterRef, KeySchema
from dynatomic.events.window import Window
from dynatomic.testing.dynamodb.client import FakeDynamoDB
from dynatomic.worker.in_flight import InFlightWindow
from dynatomic.worker.settlement import Settlement

TABLE = "hits"
FENCE = fence_name("0123abcd" * 4, 0)
KEYS = {TABLE: KeySchema("pk")}
BASE = 8
ItemState = tuple[tuple[str, str, str], ...] | None
"""The attributes of an item beside its key: name, type and value; None if there is no item."""


Sums = tuple[tuple[str, int], ...]


class Send(NamedTuple):
    """A change to send, and the step that it takes. Without a fence, ``last`` is -1."""

    step: str
    key: str
    sums: Sums
    first: int
    last: int

    def change(self) -> Change:
        """Return it as the product has it."""
        fence = Fence(FENCE, self.first, self.last) if self.last >= 0 else None
        return Change(TABLE, self.key, None, dict(self.sums), fence)


def send(step: Step, change: Change) -> Send:
    """Return a change so that it can be compared."""
    first, last = (change.fence.first, change.fence.last) if change.fence else (0, -1)
    return Send(step.value, change.key, tuple(sorted(change.sums.items())), first, last)


class OpenWindow(NamedTuple):
    """A window that an owner has closed and not finished."""

    first: int
    last: int
    sends: frozenset[Send]
    letters: frozenset[int]
    """Offsets of rejected events whose dead letters are not stored."""

    held_back: frozenset[Send] = frozenset()
    written: bool = False
    """Whether its changes were passed to the writer."""


@dataclass(frozen=True)
class Scope:
    """What is explored. ``events`` has the item and the counter of each offset.

    ``bad`` has the offsets that the settings of the first owner cannot decode. ``items`` are the
    items at the beginning. ``mends`` says whether a counter that is text becomes a number.
    """

    events: Sequence[tuple[str, str]]
    items: Mapping[str, ItemState]
    bad: frozenset[int] = frozenset()
    captures: int = 2
    starts: int = 2
    rewinds: int = 1
    longest: int = 2
    mends: bool = False


class Protocol:
    """The product's part: what a request does, and what follows from its answer."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.keys = sorted(scope.items)
        self.fake = FakeDynamoDB()
        self.fake.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        )
        self.counters = Counters(cast("Any", self.fake), KEYS)
        self.execute = cache(self._execute)
        self.close_window = cache(self._close_window)
        self.follow = cache(self._follow)
        self.must_wait_for_letters = cache(self._must_wait_for_letters)

    def _execute(self, item: ItemState, request: Send) -> tuple[ItemState, Answer]:
        """Send one request to an item; return the item after it, and what the answer means."""
        key = {"pk": {"S": request.key}}
        self.fake.delete_item(TableName=TABLE, Key=key)
        if item is not None:
            attributes = {name: {kind: value} for name, kind, value in item}
            self.fake.put_item(TableName=TABLE, Item={**key, **attributes})
        (answer,) = self.counters.execute(Step(request.step), [request.change()])
        found = self.fake.get_item(TableName=TABLE, Key=key).get("Item")
        if found is None:
            return None, answer
        after = ((n, *next(iter(v.items()))) for n, v in found.items() if n != "pk")
        return tuple(sorted(after)), answer

    def window(self, first: int, last: int, *, mended: bool) -> Window:
        """Return a window as intake fills it."""
        window = Window()
        for offset in range(first, last + 1):
            key, counter = self.scope.events[offset]
            if offset in self.scope.bad and not mended:
                window.reject(offset)
            else:
                ref = CounterRef(TABLE, key, None, counter)
                window.add([offset], [UnitIncrement(ref, BASE**offset)])
        return window

    def _close_window(self, first: int, last: int, mended: bool) -> OpenWindow:  # noqa: FBT001 - cached
        window = self.window(first, last, mended=mended)
        grouped = group_changes(window.sums, Fence(FENCE, window.first, window.last))
        sends = frozenset(send(Step.UPDATE, c) for changes in grouped.values() for c in changes)
        bad = frozenset() if mended else self.scope.bad & set(range(first, last + 1))
        return OpenWindow(first, last, sends, bad)

    def _follow(self, open_: OpenWindow, sent: Send, item: ItemState, mended: bool) -> OpenWindow:  # noqa: FBT001 - cached
        """Return the window after the answer of an item, as `Writer` and `RejectedEvents` go on."""
        _, answer = self.execute(item, sent)
        sends, letters, held_back = open_.sends - {sent}, open_.letters, open_.held_back
        write = WindowWrite(self.window(open_.first, open_.last, mended=mended), lambda _: None)
        change = sent.change()
        match answer:
            case Fenced(offset):
                if (rest := write.remainder_above(change, offset).change) is not None:
                    sends |= {send(Step.UPDATE, rest)}
            case TryStep(step):
                sends |= {send(step, change)}
            case Rejected() | PartiallyRejected():
                write.reject(change, answer)
                from_offset = {ref: cause.first for ref, cause in write.rejected.items()}
                letters |= {offset for offset, *_ in write.window.increments_from(from_offset)}
                held_back |= {send(Step.UPDATE_ITEM, held) for held in write.held_back}
            case Retry():
                sends |= {sent}
            case _:
                assert answer == APPLIED, answer
        return open_._replace(
            sends=sends, letters=frozenset(letters), held_back=held_back, written=True
        )

    def _must_wait_for_letters(self, pending: int) -> bool:
        """Return whether a window with dead letters that are not stored may not be written."""
        settlement = SimpleNamespace(_topic_id=FENCE)
        window = InFlightWindow(letters_pending=pending)
        return Settlement._must_wait_for_letters(cast("Settlement", settlement), window)
