"""What the worker keeps for one assigned partition. Pure: no clock, no I/O."""

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dynatomic.dynamodb.write import WindowWrite
from dynatomic.events.window import Window

if TYPE_CHECKING:
    from concurrent.futures import Future

MAX_UNCOMMITTED = 100
"""How many settled windows are told apart by their age; the last stands for what comes later."""


@dataclass(slots=True, eq=False)
class InFlightWindow:
    """A window, and what must end before its offsets may be committed.

    ``letters_pending`` counts the dead letters that are not known to be stored. ``reread`` reads
    again the events that the table rejected, and ``rejected_reasons`` has a reason for each.
    ``since`` is when the first event came, and after that when the window was closed.
    ``first_timestamp_ms`` is the timestamp of the first event in Unix time, 0 if it has none.
    ``topic_check_number`` is the check that the topic was still the same when the window closed.
    """

    window: Window = field(default_factory=Window)
    since: float = 0.0
    first_timestamp_ms: int = 0
    topic_check_number: int = 0
    write: WindowWrite | None = None
    letters_pending: int = 0
    reread: "Future[dict[int, Any]] | None" = None
    rejected_reasons: list[str] = field(default_factory=list)
    abandoned: bool = False

    @property
    def is_done(self) -> bool:
        """Whether every event of it is in its counter or in the dead-letter topic."""
        return (
            not self.is_unwritten
            and not self.has_work_pending
            and not (self.write and self.write.held_back)
        )

    @property
    def is_unwritten(self) -> bool:
        """Whether it has sums that nobody writes yet."""
        return self.write is None and self.window.counters > 0

    @property
    def has_work_pending(self) -> bool:
        """Whether a write, a dead letter or what becomes one is on its way."""
        write = self.write
        writing = write is not None and (not write.is_complete or bool(write.rejected))
        return writing or self.letters_pending > 0 or self.reread is not None

    def is_current(self) -> bool:
        """Return whether it is still ours to finish."""
        return not self.abandoned

    def letter_stored(self) -> None:
        """Take note that one dead letter is in its topic."""
        self.letters_pending -= 1


@dataclass(slots=True, eq=False)
class Partition:
    """One assigned partition: the window that fills, the one on its way out, and its offsets.

    An offset is -1 where there is none. ``position`` is the offset after the last event that was
    read, and ``first_read_offset`` the first one. ``committable_offset`` may be committed;
    ``sent_offset`` is that of the last commit not known to have failed, ``committed_offset`` that
    of the last one that succeeded. ``start_offset`` is the committed offset that was looked up
    (negative: there is none), and ``start_confirmed`` says that reading began there.
    ``uncommitted`` has the end of each complete window that is not committed, and the timestamp of
    its first event. ``progress_at`` is when it last committed, or had nothing on its way.
    """

    id: int
    filling: InFlightWindow = field(default_factory=InFlightWindow)
    closing: InFlightWindow | None = None
    is_paused: bool = False
    stop_reason: str | None = None
    out_of_range: bool = False
    start_confirmed: bool = False
    start_offset: int | None = None
    first_read_offset: int = -1
    position: int = -1
    committable_offset: int = -1
    sent_offset: int = -1
    committed_offset: int = -1
    uncommitted: deque[tuple[int, int]] = field(default_factory=deque)
    progress_at: float = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether it holds no event."""
        return self.closing is None and not len(self.filling.window)

    @property
    def is_waiting(self) -> bool:
        """Whether something is on its way, or nothing was read yet.

        A partition that can be read gives an event or its end before long.
        """
        unsettled = (
            self.closing is not None
            or self.committed_offset < self.committable_offset
            or self.waits_for_letters
        )
        return unsettled or self.position < 0

    @property
    def waits_for_letters(self) -> bool:
        """Whether it is not read on because too many dead letters are not stored yet."""
        return self.is_paused and self.filling.letters_pending > 0

    def held_events(self) -> int:
        """Return how many events it holds."""
        closing = self.closing
        return len(self.filling.window) + (len(closing.window) if closing is not None else 0)

    def oldest_timestamp_ms(self) -> int:
        """Return the timestamp of the oldest event that was read and is not committed.

        In milliseconds of Unix time; 0 if there is none, or it has none. From any thread.
        """
        for end, born in list(self.uncommitted):
            if end > self.committed_offset:
                return born
        oldest = self.closing or self.filling
        return oldest.first_timestamp_ms if oldest is self.closing or len(oldest.window) else 0

    def close_window(self, now: float) -> InFlightWindow:
        """Begin a new window and return the full one; one at a time is on its way out."""
        if self.closing is not None:
            raise RuntimeError(f"partition {self.id} has a window in flight")
        self.closing, self.filling = self.filling, InFlightWindow()
        self.closing.since = now
        return self.closing

    def complete_window(self) -> Window:
        """Take the settled window out; its offsets may be committed now."""
        closing = self.closing
        if closing is None or not closing.is_done:
            raise RuntimeError(f"partition {self.id} has no settled window")
        self.committable_offset = max(self.committable_offset, closing.window.last + 1)
        waits = self.uncommitted
        while waits and waits[0][0] <= self.committed_offset:
            waits.popleft()
        born = waits.pop()[1] if len(waits) == MAX_UNCOMMITTED else closing.first_timestamp_ms
        waits.append((self.committable_offset, born))
        self.closing = None
        return closing.window

    def abandon(self) -> list[InFlightWindow]:
        """Mark its windows as not ours any more, and return them."""
        held = [self.filling] if self.closing is None else [self.closing, self.filling]
        for pending in held:
            pending.abandoned = True
        return held

    def reset_position(self) -> None:
        """Drop what was read, none of which is on its way to a table yet."""
        self.abandon()
        self.filling, self.closing = InFlightWindow(), None
        self.position = self.first_read_offset = -1

    def keep_only_closing(self) -> bool:
        """Drop all but a closed window; return whether that is settled, and the commit answered.

        Nothing of what is dropped is on its way to a table, and its offsets are never settled.
        """
        closing = self.closing if self.start_confirmed else None
        self.closing = None if closing else self.closing
        self.reset_position()
        self.closing = closing
        return closing is None and self.committable_offset <= self.committed_offset

    def record_read(self, first: int, position: int) -> None:
        """Take note that offsets from ``first`` up to ``position`` were read."""
        if self.first_read_offset < 0:
            self.first_read_offset = first
        self.position = max(self.position, position)
