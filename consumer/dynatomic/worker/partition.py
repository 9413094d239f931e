"""What the worker keeps for one assigned partition. Pure: no clock, no I/O."""

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dynatomic.dynamodb.write import Write
from dynatomic.events.window import Window

if TYPE_CHECKING:
    from concurrent.futures import Future

MOST_UNCOMMITTED = 100
"""How many settled windows are told apart by their age; the last stands for what comes later."""


@dataclass(slots=True, eq=False)
class Pending:
    """A window, and what must end before its offsets may be committed.

    ``letters`` are dead letters not yet known to be stored; ``reread`` reads the events again
    that the table refused, ``refused`` has a reason for each. ``since`` is when its first event
    came, then when it was closed; ``born`` is that event's timestamp in milliseconds of Unix time,
    0 if it has none; ``ticket`` asks whether the topic was still the same after that.
    """

    window: Window = field(default_factory=Window)
    since: float = 0.0
    born: int = 0
    ticket: int = 0
    write: Write | None = None
    letters: int = 0
    reread: "Future[dict[int, Any]] | None" = None
    refused: list[str] = field(default_factory=list)
    dropped: bool = False

    @property
    def settled(self) -> bool:
        """Whether every event of it is in its counter or in the dead-letter topic."""
        return not self.unwritten and not self.halfway and not (self.write and self.write.held)

    @property
    def unwritten(self) -> bool:
        """Whether it has sums that nobody writes yet."""
        return self.write is None and self.window.counters > 0

    @property
    def halfway(self) -> bool:
        """Whether a write, a dead letter or what becomes one is on its way."""
        write = self.write
        writing = write is not None and (not write.settled or bool(write.rejected))
        return writing or self.letters > 0 or self.reread is not None

    def wanted(self) -> bool:
        """Return whether it is still ours to finish."""
        return not self.dropped

    def stored(self) -> None:
        """Take note that one dead letter is in its topic."""
        self.letters -= 1


@dataclass(slots=True, eq=False)
class Partition:
    """One assigned partition: the window that fills, the one on its way out, and its offsets.

    ``position`` is the offset after the last event read, ``settled`` the one that may be
    committed, ``sent`` the one of the last commit not known to have failed, ``committed`` the one
    of the last that succeeded; -1 where there is none. ``began`` is the first offset that was read,
    ``start`` the committed one that was looked up (negative: there is none), ``known`` that it
    began where it should. ``uncommitted`` has the end of each settled window that is not committed
    and the timestamp of its first event. ``progress`` is when it last committed, or had nothing on
    its way.
    """

    number: int
    filling: Pending = field(default_factory=Pending)
    closing: Pending | None = None
    paused: bool = False
    stopped: str | None = None
    reset: bool = False
    known: bool = False
    start: int | None = None
    began: int = -1
    position: int = -1
    settled: int = -1
    sent: int = -1
    committed: int = -1
    uncommitted: deque[tuple[int, int]] = field(default_factory=deque)
    progress: float = 0.0

    @property
    def idle(self) -> bool:
        """Whether it holds no event."""
        return self.closing is None and not len(self.filling.window)

    @property
    def waits(self) -> bool:
        """Whether something is on its way, or nothing was read yet.

        A partition that can be read gives an event or its end before long.
        """
        unsettled = self.closing is not None or self.committed < self.settled or self.crowded
        return unsettled or self.position < 0

    @property
    def crowded(self) -> bool:
        """Whether it is not read on because too many dead letters are not stored yet."""
        return self.paused and self.filling.letters > 0

    def held(self) -> int:
        """Return how many events it holds."""
        closing = self.closing
        return len(self.filling.window) + (len(closing.window) if closing is not None else 0)

    def born(self) -> int:
        """Return the timestamp of the oldest event that was read and is not committed.

        In milliseconds of Unix time; 0 if there is none, or it has none. From any thread.
        """
        for end, born in list(self.uncommitted):
            if end > self.committed:
                return born
        oldest = self.closing or self.filling
        return oldest.born if oldest is self.closing or len(oldest.window) else 0

    def close_window(self, now: float) -> Pending:
        """Begin a new window and return the full one; one at a time is on its way out."""
        if self.closing is not None:
            raise RuntimeError(f"partition {self.number} has a window in flight")
        self.closing, self.filling = self.filling, Pending()
        self.closing.since = now
        return self.closing

    def settle(self) -> Window:
        """Take the settled window out; its offsets may be committed now."""
        closing = self.closing
        if closing is None or not closing.settled:
            raise RuntimeError(f"partition {self.number} has no settled window")
        self.settled = max(self.settled, closing.window.last + 1)
        waits = self.uncommitted
        while waits and waits[0][0] <= self.committed:
            waits.popleft()
        born = waits.pop()[1] if len(waits) == MOST_UNCOMMITTED else closing.born
        waits.append((self.settled, born))
        self.closing = None
        return closing.window

    def drop(self) -> list[Pending]:
        """Mark its windows as not ours any more, and return them."""
        held = [self.filling] if self.closing is None else [self.closing, self.filling]
        for pending in held:
            pending.dropped = True
        return held

    def forget(self) -> None:
        """Drop what was read, none of which is on its way to a table yet."""
        self.drop()
        self.filling, self.closing = Pending(), None
        self.position = self.began = -1

    def finish(self) -> bool:
        """Drop all but a closed window; return whether that is settled, and the commit answered.

        Nothing of what is dropped is on its way to a table, and its offsets are never settled.
        """
        closing = self.closing if self.known else None
        self.closing = None if closing else self.closing
        self.forget()
        self.closing = closing
        return closing is None and self.settled <= self.committed

    def read_to(self, first: int, position: int) -> None:
        """Take note that offsets from ``first`` up to ``position`` were read."""
        if self.began < 0:
            self.began = first
        self.position = max(self.position, position)
