"""The fence protocol in a small scope: every interleaving of two owners of one partition. Pure.

`explore` visits every state that can be reached by these steps, in any order:

- An owner closes a window of one or two events, at any cut, and sends the changes of its items.
- A request is applied and answered, or applied while its answer is lost, or captured. A captured
  request may arrive at any later moment, never, or several times: it is late, lost or doubled.
- The dead-letter topic takes the rejected events of a window, or does not take them yet.
- A window is complete, and its offset is committed or not.
- An owner starts again at the committed offset, or an operator sets the offset back before that.
  The former owner continues, because it does not know that it lost the partition. The new owner
  may have other settings that can decode an event which was rejected before.
- A person changes the attribute of a counter to a number again.

Nothing of the protocol is written again here. The requests are those of `Counters`, their answers
those of the fake (which the contract suite holds to DynamoDB), and what follows from an answer is
decided by `answers`, `WindowWrite`, `Window` and `Settlement`. Only the order of the other steps is
the model's own: it is that of `Writer`.

The amounts are powers of eight, so that each octal digit of a counter says how often the event at
that offset is in it.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from tests.support.fence_steps import BASE, FENCE, ItemState, OpenWindow, Protocol, Scope, Send


class Owner(NamedTuple):
    """A member that owns the partition, or did so before."""

    mended: bool
    """Whether its settings let it decode all events."""

    position: int
    window: OpenWindow | None = None


class State(NamedTuple):
    """Everything that decides what can happen next."""

    items: tuple[ItemState, ...]
    owners: tuple[Owner | None, ...]
    current: int
    committed: int
    letters: frozenset[int]
    captured: frozenset[Send]
    starts: int
    rewinds: int


class LostError(AssertionError):
    """An event is missing or counted twice; the message has the steps that lead there."""


Steps = Iterator[tuple[str, State]]


class Exploration:
    """Visits every state once, and checks each."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.protocol = Protocol(scope)
        self.end = len(scope.events)
        self.index = {key: n for n, key in enumerate(self.protocol.keys)}
        self.counts = cache(self._counts)

    def first_state(self) -> State:
        """Return the state before anything happened."""
        items = tuple(self.scope.items[key] for key in self.protocol.keys)
        owners = (Owner(mended=False, position=0), None)
        nothing: frozenset[Any] = frozenset()
        return State(items, owners, 0, 0, nothing, nothing, self.scope.starts, self.scope.rewinds)

    def run(self) -> int:
        """Return how many states there are. Raises `LostError` at the first that is wrong."""
        start = self.first_state()
        came_from: dict[State, tuple[str, State] | None] = {start: None}
        waiting = deque([start])
        while waiting:
            state = waiting.popleft()
            if problem := self.problem(state):
                raise LostError(f"{problem}, after: {'; '.join(_path(came_from, state))}; {state}")
            for name, following in self.steps(state):
                if following not in came_from:
                    came_from[following] = name, state
                    waiting.append(following)
        return len(came_from)

    def problem(self, state: State) -> str | None:
        """Return what is wrong in a state."""
        counted: set[int] = set()
        for key, item in zip(self.protocol.keys, state.items, strict=True):
            twice, once = self.counts(key, item)
            if twice:
                return f"item {key} has {twice}"
            counted |= once
        missing = set(range(state.committed)) - counted - state.letters
        return f"offsets {sorted(missing)} are committed and nowhere" if missing else None

    def _counts(self, key: str, item: ItemState) -> tuple[str, frozenset[int]]:
        """Return what an item has that it should not have, and the offsets that it has."""
        once: set[int] = set()
        for name, kind, value in item or ():
            if name == FENCE or kind != "N":
                continue
            for offset in range(self.end):
                times = int(value) // BASE**offset % BASE
                if times > 1 or (times and self.scope.events[offset] != (key, name)):
                    return f"offset {offset} {times} times in {name}", frozenset()
                if times:
                    once.add(offset)
        return "", frozenset(once)

    def steps(self, state: State) -> Steps:
        """Yield every step that is possible in a state, with the state after it."""
        for number, owner in enumerate(state.owners):
            if owner is None:
                continue
            if owner.window is None:
                yield from self._close(state, number, owner)
            else:
                yield from self._work(state, number, owner, owner.window)
        for request in state.captured:
            after = self._apply(state, request)
            if after != state.items:
                yield f"{request} arrives", state._replace(items=after)
        if state.starts:
            yield from self._start(state)
        if self.scope.mends:
            yield from self._mend(state)

    def _close(self, state: State, number: int, owner: Owner) -> Steps:
        position = owner.position
        for last in range(position, min(position + self.scope.longest, self.end)):
            window = self.protocol.close_window(position, last, owner.mended)
            yield f"{number} closes {position}-{last}", _with(state, number, owner, window)

    def _work(self, state: State, number: int, owner: Owner, window: OpenWindow) -> Steps:
        if window.letters:
            # What a table rejected is stored after the write is complete, what decoding rejected
            # at any time. Storing it earlier only makes fewer states.
            stored = _with(state, number, owner, window._replace(letters=frozenset()))
            yield f"{number} stores", stored._replace(letters=state.letters | window.letters)
        elif window.held_back and not window.sends:
            released = window._replace(sends=window.held_back, held_back=frozenset())
            yield f"{number} releases", _with(state, number, owner, released)
        elif not window.sends:
            yield from self._complete(state, number, owner, window)
        if not window.written and self.protocol.must_wait_for_letters(len(window.letters)):
            return
        for request in window.sends:
            items = self._apply(state, request)
            item = state.items[self.index[request.key]]
            following = self.protocol.follow(window, request, item, owner.mended)
            after = _with(state._replace(items=items), number, owner, following)
            yield f"{number} sends {request}", after
            if items != state.items:
                yield f"{number} sends {request}, no answer", state._replace(items=items)
            if len(state.captured) < self.scope.captures and request not in state.captured:
                captured = state._replace(captured=state.captured | {request})
                yield f"{request} of {number} is late", captured

    def _complete(self, state: State, number: int, owner: Owner, window: OpenWindow) -> Steps:
        following = _with(state, number, owner._replace(position=window.last + 1), None)
        yield f"{number} completes", following
        if number == state.current and state.committed <= window.last:
            yield f"{number} commits", following._replace(committed=window.last + 1)

    def _start(self, state: State) -> Steps:
        """Start either owner, with either settings, and perhaps after the offset was set back."""
        for number in range(len(state.owners)):
            for mended in (False, True) if self.scope.bad else (False,):
                for committed in range(state.committed + 1):
                    back = committed < state.committed
                    if back > state.rewinds:
                        continue
                    started = _with(state, number, Owner(mended, committed), None)
                    yield (
                        f"{number} starts at {committed}",
                        started._replace(
                            committed=committed,
                            current=number,
                            starts=state.starts - 1,
                            rewinds=state.rewinds - back,
                        ),
                    )

    def _mend(self, state: State) -> Steps:
        for position, item in enumerate(state.items):
            if item is not None and any(kind == "S" for _, kind, _ in item):
                mended = tuple((n, "N", "0") if k == "S" else (n, k, v) for n, k, v in item)
                items = (*state.items[:position], mended, *state.items[position + 1 :])
                yield "the counter is made a number", state._replace(items=items)

    def _apply(self, state: State, request: Send) -> tuple[ItemState, ...]:
        position = self.index[request.key]
        item, _ = self.protocol.execute(state.items[position], request)
        return (*state.items[:position], item, *state.items[position + 1 :])


def _with(state: State, number: int, owner: Owner, window: OpenWindow | None) -> State:
    owners = list(state.owners)
    owners[number] = owner._replace(window=window)
    return state._replace(owners=tuple(owners))


def _path(came_from: Mapping[State, tuple[str, State] | None], state: State) -> list[str]:
    names: list[str] = []
    while (step := came_from[state]) is not None:
        names.append(step[0])
        state = step[1]
    return names[::-1]


def explore(scope: Scope) -> int:
    """Return how many states a scope has. Raises `LostError` if one of them is wrong."""
    return Exploration(scope).run()
