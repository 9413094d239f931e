"""A window between its first event and the commit of its offsets. Pure: no clock, no I/O.

Other modules read the fields of `InFlightWindow`. Only its methods change them.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dynatomic.dynamodb.write import WindowWrite
from dynatomic.events.window import Window

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future


@dataclass(slots=True, eq=False)
class InFlightWindow:
    """A window, and the work that must end before its offsets may be committed.

    ``opened_at`` is when its first event came, ``closed_at`` when it took its last one (seconds of
    the clock of the loop). ``first_timestamp_ms`` is the timestamp of its first event in Unix time,
    0 if it has none. ``topic_check_number`` is the topic id check that must succeed before the
    window may be written, and ``is_topic_confirmed`` tells that it did. ``letters_pending`` counts
    its dead letters that are not known to be stored, ``letters_stored`` those that are. ``reread``
    reads the events again whose counters the table rejected, and ``rejected_reasons`` has a reason
    for each of them.
    """

    window: Window = field(default_factory=Window)
    opened_at: float = 0.0
    closed_at: float = 0.0
    first_timestamp_ms: int = 0
    topic_check_number: int = 0
    is_topic_confirmed: bool = False
    write: WindowWrite | None = None
    letters_pending: int = 0
    letters_stored: int = 0
    reread: "Future[Mapping[int, Any]] | None" = None
    rejected_reasons: list[str] = field(default_factory=list)
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
        return is_writing or self.letters_pending > 0 or self.reread is not None

    def is_current(self) -> bool:
        """Return whether this member may still finish it."""
        return not self.is_abandoned

    def open(self, now: float, first_timestamp_ms: int) -> None:
        """Record when the first event came; later events change nothing."""
        if not len(self.window):
            self.opened_at, self.first_timestamp_ms = now, first_timestamp_ms

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

    def letter_sent(self) -> None:
        """Record that a dead letter was passed to its topic."""
        self.letters_pending += 1

    def letter_stored(self) -> None:
        """Record that a dead letter is in its topic."""
        self.letters_pending -= 1
        self.letters_stored += 1

    def letter_of_rejected(self, reason: str) -> None:
        """Record why the table rejected one event."""
        self.rejected_reasons.append(reason)

    def start_reread(self, reread: "Future[Mapping[int, Any]]") -> None:
        """Record that the rejected events are being read again."""
        self.reread = reread

    def end_reread(self) -> None:
        """Record that the reading of the rejected events has ended."""
        self.reread = None
