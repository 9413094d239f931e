"""A window between its first event and the commit of its offsets. Pure: no clock, no I/O.

Other modules read the fields of `InFlightWindow`. Only its methods change them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dynatomic.dead_letters.letter import DeadLetter
from dynatomic.dynamodb.write import WindowWrite
from dynatomic.events.row import CounterRef
from dynatomic.events.window import Window
from dynatomic.kafka.commit_metadata import LastEvent

if TYPE_CHECKING:
    from concurrent.futures import Future

    from dynatomic.worker.rereading import Reread


RejectedEvent = tuple[int, list[tuple[CounterRef, int]]]
"""The offset of an event, and the counters to which the table did not let it add, and how much."""

LETTER_BYTES = 3_000
"""An estimate of the memory of one dead letter, without key and value."""


@dataclass(slots=True, eq=False)
class InFlightWindow:
    """A window, and the work that must end before its offsets may be committed.

    ``opened_at`` is when its first event came, ``closed_at`` when it took its last one (seconds of
    the clock of the loop). ``first_timestamp_ms`` is the timestamp of its first event in Unix time,
    0 if it has none. ``last_event`` is the last one that was read into it. ``topic_check_number``
    is the topic id check that must succeed before the window may be written, and
    ``is_topic_confirmed`` is True after it succeeded. ``letters_pending`` counts its dead letters
    that are not known to be stored, ``letters_stored`` the events with a stored one. An event can
    have two, if the table refuses its counters one after the other. ``letters_bytes`` is an
    estimate of the memory of all of them. ``unread_rejected`` has the events that the table
    rejected and that must be read again. ``reread`` reads a slice of them, ``reread_events``.
    ``rejected_reasons`` has a reason for each that was read.
    """

    window: Window = field(default_factory=Window)
    opened_at: float = 0.0
    closed_at: float = 0.0
    first_timestamp_ms: int = 0
    last_event: LastEvent | None = None
    topic_check_number: int = 0
    is_topic_confirmed: bool = False
    write: WindowWrite | None = None
    letters_pending: int = 0
    letters_bytes: int = 0
    letters_stored: int = 0
    unread_rejected: Iterator[RejectedEvent] | None = None
    reread: "Future[Reread] | None" = None
    reread_events: Sequence[RejectedEvent] = ()
    rejected_reasons: list[str] = field(default_factory=list)
    held_letters: list[DeadLetter] = field(default_factory=list)
    _lettered: set[int] = field(default_factory=set)
    is_abandoned: bool = False

    @property
    def is_done(self) -> bool:
        """Whether each event is in its counter or in the dead-letter topic."""
        return (
            not self.is_unwritten
            and not self.has_work_pending
            and not (self.write and self.write.held_back)
        )

    @property
    def is_unwritten(self) -> bool:
        """Whether it has sums that were not passed to the writer yet."""
        return self.write is None and self.window.counters > 0

    @property
    def has_work_pending(self) -> bool:
        """Whether a write, a dead letter, or the reading of a rejected event has not ended."""
        write = self.write
        is_writing = write is not None and (not write.is_complete or bool(write.rejected))
        has_letters = self.letters_pending > 0 or bool(self.held_letters)
        return is_writing or has_letters or self.reread is not None

    def is_current(self) -> bool:
        """Return whether this member may still finish it."""
        return not self.is_abandoned

    def open(self, now: float, first_timestamp_ms: int) -> None:
        """Record when the first event came; later events change nothing."""
        if not len(self.window):
            self.opened_at, self.first_timestamp_ms = now, first_timestamp_ms

    def record_last(self, event: LastEvent) -> None:
        """Record the last event that was read."""
        self.last_event = event

    def close(self, now: float, topic_check_number: int) -> None:
        """Record when the last event came, and the topic id check that must succeed."""
        self.closed_at, self.topic_check_number = now, topic_check_number

    def abandon(self) -> None:
        """Record that this member no longer owns its partition."""
        self.is_abandoned = True

    def confirm_topic(self) -> None:
        """Record that the topic id check has succeeded."""
        self.is_topic_confirmed = True

    def start_write(self, write: WindowWrite) -> None:
        """Record that the sums were passed to the writer."""
        self.write = write

    @property
    def size_bytes(self) -> int:
        """An estimate of the memory of its events and dead letters."""
        return self.window.size_bytes + self.letters_bytes

    def hold_letter(self, letter: DeadLetter) -> None:
        """Keep a dead letter until the start of the partition is confirmed.

        Before that, the event may be read again from another offset, and get a second letter.
        """
        self.held_letters.append(letter)
        self.letters_bytes += letter.size + LETTER_BYTES

    def release_letters(self) -> list[DeadLetter]:
        """Return the letters that were held, which are stored now."""
        letters, self.held_letters = self.held_letters, []
        self.letters_bytes -= sum(letter.size + LETTER_BYTES for letter in letters)
        return letters

    def letter_sent(self, size_bytes: int) -> None:
        """Record that a dead letter was passed to its topic."""
        self.letters_pending += 1
        self.letters_bytes += size_bytes + LETTER_BYTES

    def letter_stored(self) -> None:
        """Record that a dead letter is in its topic."""
        self.letters_pending -= 1
        self.letters_stored += 1

    def further_letter_stored(self) -> None:
        """Record that a second dead letter of an event is in its topic."""
        self.letters_pending -= 1

    def letter_of_rejected(self, offset: int, reason: str) -> bool:
        """Record why the table rejected one event; return whether it is the first time."""
        if self.window.has_shared_events:
            if offset in self._lettered:
                return False
            self._lettered.add(offset)
        self.rejected_reasons.append(reason)
        return True

    def start_rejected(self, events: Iterator[RejectedEvent]) -> None:
        """Take the events that the table rejected, which are read again in slices."""
        self.unread_rejected = events

    def end_rejected(self) -> None:
        """Record that all rejected events are passed to the dead-letter topic."""
        self.unread_rejected = None
        if self.write is not None:
            self.write.rejected.clear()

    def start_reread(self, events: Sequence[RejectedEvent], reread: "Future[Reread]") -> None:
        """Record that a slice of the rejected events is being read again."""
        self.reread_events, self.reread = events, reread

    def end_reread(self, unread: Sequence[RejectedEvent]) -> None:
        """Record that a reading has ended, and which events of the slice are still to be read."""
        self.reread, self.reread_events = None, unread
