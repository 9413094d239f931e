"""The state that the worker keeps for one assigned partition. Pure: no clock, no I/O.

Other modules read the fields of `Partition`. Only its methods change them.
"""

from collections import deque
from dataclasses import dataclass, field

from dynatomic.events.window import Window
from dynatomic.kafka.commit_metadata import LastEvent
from dynatomic.kafka.messages import Truncation
from dynatomic.worker.event_counts import EventCounts
from dynatomic.worker.in_flight import InFlightWindow

MAX_UNCOMMITTED = 100
"""How many complete windows keep their own timestamp. Later ones share that of the last."""


@dataclass(slots=True, eq=False)
class Partition:
    """One assigned partition: the window that fills, the one that is written, and its offsets.

    An offset is -1 where there is none. ``position`` is the offset after the last event that was
    read, and ``first_read_offset`` the offset of the first one. ``committable_offset`` may be
    committed. ``sent_offset`` is the offset of the last commit that is not known to have failed,
    and ``committed_offset`` that of the last commit that succeeded. ``start_offset`` is the
    committed offset that was fetched from the group (negative: the group has none), and
    ``start_confirmed`` is True when reading started there. ``last_event`` is the last event below
    ``committable_offset``, at first below ``start_offset``. ``truncation`` is set if the log lost
    events that were read. ``uncommitted`` has the end offset of each complete window that is not
    committed, with the timestamp of its first event. ``progress_at`` is when the partition last
    committed, or had nothing to wait for. ``counts`` outlives the assignment.
    """

    id: int
    filling: InFlightWindow = field(default_factory=InFlightWindow)
    closing: InFlightWindow | None = None
    is_paused: bool = False
    stop_reason: str | None = None
    reread_offset: int = -1
    undecided_offset: int = -1
    reread_at: float = 0.0
    reread_cause: str = ""
    out_of_range: bool = False
    truncation: Truncation | None = None
    start_confirmed: bool = False
    start_offset: int | None = None
    last_event: LastEvent | None = None
    first_read_offset: int = -1
    position: int = -1
    committable_offset: int = -1
    sent_offset: int = -1
    committed_offset: int = -1
    uncommitted: deque[tuple[int, int]] = field(default_factory=deque)
    progress_at: float = 0.0
    counts: EventCounts = field(default_factory=EventCounts)

    @property
    def is_empty(self) -> bool:
        """Whether it holds no event."""
        return self.closing is None and not len(self.filling.window)

    @property
    def needs_validation(self) -> bool:
        """Whether the client must first compare the leader epoch of the last event (KIP-320)."""
        last, start = self.last_event, self.start_offset
        has_epoch = last is not None and last.epoch is not None
        return has_epoch and start is not None and start > 0 and not self.start_confirmed

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for something, or nothing was read yet.

        A partition without a problem soon returns an event or its end.
        """
        return (
            self.closing is not None
            or self.committed_offset < self.committable_offset
            or self.waits_for_letters
            or bool(self.reread_cause)
            or self.position < 0
        )

    @property
    def waits_to_reread(self) -> bool:
        """Whether events from an offset on cannot be judged yet, and are read again later."""
        return self.reread_offset >= 0

    @property
    def waits_for_letters(self) -> bool:
        """Whether reading is paused because too many dead letters are not stored yet."""
        return self.is_paused and self.filling.letters_pending > 0

    def held_events(self) -> int:
        """Return how many events it holds."""
        closing = self.closing
        return len(self.filling.window) + (len(closing.window) if closing is not None else 0)

    def oldest_timestamp_ms(self) -> int:
        """Return the timestamp of the oldest event that was read and is not committed.

        In milliseconds of Unix time; 0 if there is none, or it has none. From any thread.
        """
        for end, first_timestamp_ms in list(self.uncommitted):
            if end > self.committed_offset:
                return first_timestamp_ms
        oldest = self.closing or self.filling
        return oldest.first_timestamp_ms if oldest is self.closing or len(oldest.window) else 0

    def is_committed_to(self, end: int) -> bool:
        """Return whether all events below ``end`` are committed.

        This is also true if reading started at ``end`` or beyond, and the start is confirmed.
        """
        start = -1 if self.start_offset is None else self.start_offset
        is_committed = max(self.committed_offset, start) >= end
        return self.start_confirmed and self.position >= end and is_committed

    def reaches(self, end: int) -> bool:
        """Return whether all events below ``end`` were read, some into the filling window."""
        return self.filling.window.first < end <= self.position

    # Reading.

    def record_read(self, first: int, position: int) -> None:
        """Record that the offsets from ``first`` up to ``position`` were read."""
        if self.first_read_offset < 0:
            self.first_read_offset = first
        self.position = max(self.position, position)
        if position > self.undecided_offset:
            self.reread_cause = ""

    def wait_to_reread(self, offset: int, at: float, cause: str) -> None:
        """Take no more events; those from an offset on are read again at a time."""
        self.reread_offset = self.undecided_offset = offset
        self.reread_at, self.reread_cause = at, cause

    def reread(self) -> int:
        """Take events again; return the offset that the client must read from.

        The partition still waits until an event beyond this offset is read.
        """
        offset, self.reread_offset = self.reread_offset, -1
        return offset

    def pause(self) -> None:
        """Record that the client does not read it."""
        self.is_paused = True

    def resume(self) -> None:
        """Record that the client reads it."""
        self.is_paused = False

    def record_out_of_range(self) -> None:
        """Record that the topic does not have the offset at which the client wanted to read."""
        self.out_of_range = True

    def record_truncation(self, truncation: Truncation) -> None:
        """Record that the topic lost events that were read, and may have others in their place."""
        self.truncation = truncation

    def clear_out_of_range(self) -> None:
        """Record that the missing offset was dealt with."""
        self.out_of_range = False

    def record_progress(self, now: float) -> None:
        """Set the progress clock, unless the partition waits for something."""
        if not self.is_waiting:
            self.progress_at = now

    # The offset at which reading begins.

    def set_start(self, offset: int, last_event: LastEvent | None = None) -> None:
        """Set the committed offset of the group; negative if there is none."""
        self.start_offset, self.last_event = offset, last_event

    def clear_last_event(self) -> None:
        """Record that nothing is known of the event below the start."""
        self.last_event = None

    def clear_start(self) -> None:
        """Clear the committed offset, so that it is fetched again."""
        self.start_offset, self.start_confirmed = None, False

    def confirm_start(self) -> None:
        """Record that reading began at the right offset."""
        self.start_confirmed = True

    def start_again(self) -> None:
        """Drop all events that were read; the client now reads from the right offset."""
        self.reset_position()
        self.reread_offset, self.reread_cause = -1, ""
        self.out_of_range, self.start_confirmed = False, True

    def stop(self, reason: str) -> None:
        """Take no more events; ``reason`` is a message for a person, with what to do."""
        self.stop_reason = reason

    # Windows.

    def close_window(self, now: float, topic_check_number: int) -> InFlightWindow:
        """Open a new window and return the full one. Raises RuntimeError if one is in flight."""
        if self.closing is not None:
            raise RuntimeError(f"partition {self.id} has a window in flight")
        self.closing, self.filling = self.filling, InFlightWindow()
        self.closing.close(now, topic_check_number)
        return self.closing

    def complete_window(self) -> Window:
        """Remove the window that is done; from now on its offsets may be committed."""
        closing = self.closing
        if closing is None or not closing.is_done:
            raise RuntimeError(f"partition {self.id} has no window that is done")
        self.committable_offset = max(self.committable_offset, closing.window.last + 1)
        self.last_event = closing.last_event
        uncommitted = self.uncommitted
        while uncommitted and uncommitted[0][0] <= self.committed_offset:
            uncommitted.popleft()
        first_timestamp_ms = closing.first_timestamp_ms
        if len(uncommitted) == MAX_UNCOMMITTED:
            first_timestamp_ms = uncommitted.pop()[1]
        uncommitted.append((self.committable_offset, first_timestamp_ms))
        self.closing = None
        return closing.window

    def skip_to_position(self) -> None:
        """Make the position committable if no event is held.

        This passes offsets without events, such as the markers of transactions.
        """
        if self.is_empty and self.start_confirmed:
            self.committable_offset = max(self.committable_offset, self.position)

    def abandon(self) -> list[InFlightWindow]:
        """Mark its windows as not owned any more, and return them."""
        windows = [self.filling] if self.closing is None else [self.closing, self.filling]
        for window in windows:
            if not window.is_abandoned:
                self.counts.abandoned += len(window.window)
            window.abandon()
        return windows

    def reset_position(self) -> None:
        """Drop all events that were read. None of them may have been passed to the writer."""
        self.abandon()
        self.filling, self.closing = InFlightWindow(), None
        self.position = self.first_read_offset = -1

    def keep_only_closing(self) -> bool:
        """Drop all events except those of the window in flight.

        Return whether no window is in flight and all its offsets are committed. The dropped events
        were not passed to the writer, and their offsets are never committed.
        """
        closing = self.closing if self.start_confirmed else None
        self.closing = None if closing else self.closing
        self.reset_position()
        self.closing = closing
        return closing is None and self.committable_offset <= self.committed_offset

    # Commits.

    @property
    def is_commit_due(self) -> bool:
        """Whether an offset may be committed and no commit of it is on its way."""
        return self.committable_offset > self.sent_offset

    def commit_sent(self) -> None:
        """Record that a commit of ``committable_offset`` was sent."""
        self.sent_offset = self.committable_offset

    def commit_failed(self) -> None:
        """Record that the last commit failed or had no answer. It is sent again."""
        self.sent_offset = self.committed_offset

    def committed_to(self, offset: int, now: float) -> None:
        """Record that a commit succeeded."""
        self.committed_offset = max(self.committed_offset, offset)
        self.progress_at = now

    def commit_skipped(self) -> None:
        """Treat the offset as committed, in a dry run."""
        self.sent_offset = self.committed_offset = self.committable_offset
