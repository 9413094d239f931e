"""Takes a closed window through its steps until its offsets may be committed.

The order is fixed. First the topic id is confirmed. With fences, the dead letters of the window
must then be stored. Then the sums are written. Then the events that the table rejected for good
are stored as dead letters. Only then are the other counters of such items written.

The fence of an item hides all events of the partition below it, also those that could not be
decoded and may name any item. So it is never set before these events are counted or stored.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from dynatomic.dead_letters.letter import DeadLetter
from dynatomic.dead_letters.store import LetterStore
from dynatomic.dynamodb.fence import fence_name
from dynatomic.dynamodb.write import WindowWriter
from dynatomic.errors import ConfigError
from dynatomic.events.row import CounterRef
from dynatomic.events.window import Window
from dynatomic.kafka.topic_identity import TopicIdCheck
from dynatomic.telemetry.durations import Durations
from dynatomic.telemetry.logs import RateLimiter
from dynatomic.worker.event_counts import EventCounts
from dynatomic.worker.in_flight import InFlightWindow
from dynatomic.worker.partition import Partition
from dynatomic.worker.ratio import DeadLetterRatio
from dynatomic.worker.rejected import RejectedEvents

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """The totals of complete windows; ``write_durations`` is the time since each was closed.

    ``letters`` counts dead letters by reason, when they are sent. ``suppressed`` counts the events
    that an item had already, by its fence.
    """

    windows: int = 0
    events: int = 0
    counters: int = 0
    suppressed: int = 0
    letters: Counter[str] = field(default_factory=Counter)
    write_durations: Durations = field(default_factory=Durations)


class Settlement:
    """Takes closed windows through their steps, and counts them in ``tally``.

    With ``topic_id`` each item takes a window only once (exactly-once). Without it no item has a
    fence. With ``has_new_counters`` the group has counted by another counters file before, and
    `advance` raises ConfigError for a counter that cannot be filled. ``on_done`` is called on other
    threads when `advance` has something to do.
    """

    def __init__(  # noqa: PLR0913 - its parts
        self,
        *,
        writer: WindowWriter,
        letters: LetterStore,
        rejected: RejectedEvents,
        topic_id_check: TopicIdCheck,
        ratio: DeadLetterRatio,
        on_done: Callable[[object], None],
        topic_id: str | None,
        has_new_counters: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tally = Tally()
        self._writer = writer
        self._letters = letters
        self._rejected = rejected
        self._topic_id_check = topic_id_check
        self._ratio = ratio
        self._on_done = on_done
        self._topic_id = topic_id
        self._has_new_counters = has_new_counters
        self._should_log_letter = RateLimiter(1.0, clock)
        self._should_log_fence = RateLimiter(1.0, clock)
        self._unlogged_letters = 0

    def store_letter(
        self, window: InFlightWindow, letter: DeadLetter, *, is_first: bool = True
    ) -> None:
        """Store a dead letter of a window, which is not done before that.

        ``is_first`` is False for a second letter of one event.
        """
        window.letter_sent(letter.size)
        self.tally.letters[str(letter.reason)] += is_first
        on_stored = window.letter_stored if is_first else window.further_letter_stored
        self._letters.store(letter, on_stored, window.is_current)
        self._unlogged_letters += 1
        if self._should_log_letter():
            fields = {**letter.fields(), "letters": self._unlogged_letters}
            log.warning("dead letter", extra={"fields": fields})
            self._unlogged_letters = 0

    def store_rejected(
        self,
        events: int,
        letters: Collection[tuple[InFlightWindow, DeadLetter]],
        partitions: Mapping[int, Partition],
    ) -> None:
        """Store the dead letters among ``events`` that were read, unless there are too many.

        Those of a partition whose start is not confirmed wait for that.
        """
        self._ratio.count_read(events, [letter.reason for _, letter in letters])
        if self._ratio.exceeded is None:
            for window, letter in letters:
                if partitions[letter.partition].start_confirmed:
                    self.store_letter(window, letter)
                else:
                    window.hold_letter(letter)

    def _store_held_letters(self, partition: Partition) -> None:
        for window in (partition.closing, partition.filling):
            if window is not None and window.held_letters:
                for letter in window.release_letters():
                    self.store_letter(window, letter)

    def advance(self, partition: Partition, now: float) -> None:
        """Do the steps that are possible now for the closed window of a partition."""
        closing = partition.closing
        if partition.start_confirmed:
            self._store_held_letters(partition)
        if (
            closing is None
            or not partition.start_confirmed
            or not self._topic_id_check.confirmed(closing.topic_check_number)
        ):
            return
        closing.confirm_topic()
        if closing.is_unwritten and not self._must_wait_for_letters(closing):
            fence = fence_name(self._topic_id, partition.id) if self._topic_id else None
            closing.start_write(self._writer.submit(closing.window, self._on_done, fence))
        if (
            self._has_new_counters
            and closing.write is not None
            and closing.write.hidden is not None
        ):
            raise _cannot_be_filled(closing.window, closing.write.hidden)
        for letter in self._rejected.letters(partition.id, closing):
            is_first = closing.letter_of_rejected(letter.offset, letter.reason)
            self.store_letter(closing, letter, is_first=is_first)
        if closing.write is not None and closing.write.held_back and not closing.has_work_pending:
            self._writer.write_held_back(closing.write)
        if closing.is_done:
            partition.complete_window()
            self._count(partition, closing, now)

    def is_blocked(self, partition: Partition) -> bool:
        """Return whether a window waits for a table, a topic or brokers with a problem."""
        closing = partition.closing
        if closing is None:
            return False
        if not partition.start_confirmed:
            return True
        if closing.letters_pending and self._letters.last_error is not None:
            return True
        if not closing.is_topic_confirmed and self._topic_id_check.last_error is not None:
            return True
        return closing.write is not None and bool(closing.write.waits_by_table)

    def _must_wait_for_letters(self, closing: InFlightWindow) -> bool:
        # Without a fence nothing hides an event, so the write need not wait.
        return self._topic_id is not None and closing.letters_pending > 0

    def _count(self, partition: Partition, done: InFlightWindow, now: float) -> None:
        window, write = done.window, done.write
        _count_outcomes(partition.counts, done)
        self._ratio.count_written(len(window) - window.rejected, done.rejected_reasons)
        if write is not None and write.fenced_items:
            self.tally.suppressed += write.suppressed_events
            fields = {
                "partition": partition.id,
                "items": write.fenced_items,
                "events": write.suppressed_events,
            }
            level = logging.INFO if self._should_log_fence() else logging.DEBUG
            log.log(level, "fence refused", extra={"fields": fields})
        self.tally.windows += 1
        self.tally.events += len(window)
        self.tally.counters += window.counters
        self.tally.write_durations.add(now - done.closed_at)
        fields = {
            "partition": partition.id,
            "first": window.first,
            "last": window.last,
            "events": len(window),
            "counters": window.counters,
            "requests": write.requests if write else 0,
            "ms": round((now - done.closed_at) * 1000),
        }
        log.debug("window written", extra={"fields": fields})


def _cannot_be_filled(window: Window, ref: CounterRef) -> ConfigError:
    counter = getattr(window.unit_of(ref), "counter", "")
    return ConfigError(
        f"counter {counter}: {ref.name} cannot be filled: items of table {ref.table} have counted "
        "these events without it, and their fences hide them; give the counter items of its own, "
        "with another key or range; or let the group count to the end by the old file, and then "
        "start with --accept-counters, to count it from then on"
    )


def _count_outcomes(counts: EventCounts, done: InFlightWindow) -> None:
    """Count the events of a window that is done, if all its counters have an outcome.

    If the outcome of a counter is missing, its events are not known, so no event is counted. The
    difference then shows as unaccounted events.
    """
    write, window = done.write, done.window
    suppressed = 0 if write is None else write.suppressed_events
    passed_over = window.unmatched + window.tombstones
    counts.suppressed += suppressed
    counts.dead_letters += done.letters_stored
    counts.unmatched += window.unmatched
    counts.tombstones += window.tombstones
    if (0 if write is None else write.finished_counters) == window.counters:
        counts.counted += len(window) - passed_over - suppressed - done.letters_stored
