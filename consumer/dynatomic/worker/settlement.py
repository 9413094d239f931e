"""What happens to a closed window until its offsets may be committed.

In this order: the topic is known to be the one that was read; the sums are written; what the table
refused for good is stored as dead letters; only then, the other counters of such items. An item's
fence hides all events below it, so it is never set before they are counted or stored.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from dynatomic.dead_letters.letter import DeadLetter
from dynatomic.dead_letters.store import LetterStore
from dynatomic.dynamodb.fence import fence_name
from dynatomic.dynamodb.write import WindowWriter
from dynatomic.kafka.topic_identity import TopicIdCheck
from dynatomic.telemetry.durations import Durations
from dynatomic.telemetry.logs import RateLimiter
from dynatomic.worker.partition import InFlightWindow, Partition
from dynatomic.worker.ratio import DeadLetterRatio
from dynatomic.worker.refused import RejectedEvents

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What was settled so far; ``written`` is how long windows took from their end."""

    windows: int = 0
    events: int = 0
    counters: int = 0
    suppressed: int = 0
    letters: Counter[str] = field(default_factory=Counter)
    write_durations: Durations = field(default_factory=Durations)


class Settlement:
    """Moves closed windows on, and counts them in ``tally``.

    With ``topic_id`` each item takes a window only once (exactly-once); without, no item has a
    fence. ``on_done`` is called, on other threads, when there may be something to do.
    """

    def __init__(  # noqa: PLR0913 - its parts
        self,
        *,
        writer: WindowWriter,
        letters: LetterStore,
        refused: RejectedEvents,
        identity: TopicIdCheck,
        ratio: DeadLetterRatio,
        on_done: Callable[[object], None],
        topic_id: str | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tally = Tally()
        self._writer = writer
        self._letters = letters
        self._refused = refused
        self._identity = identity
        self._ratio = ratio
        self._on_done = on_done
        self._topic_id = topic_id
        self._may_say = RateLimiter(1.0, clock)
        self._may_say_fenced = RateLimiter(1.0, clock)
        self._unsaid = 0

    def store_letter(self, pending: InFlightWindow, item: DeadLetter) -> None:
        """Store a dead letter of a window, which is not settled before that."""
        pending.letters_pending += 1
        self.tally.letters[str(item.reason)] += 1
        self._letters.store(item, pending.letter_stored, pending.is_current)
        self._unsaid += 1
        if self._may_say():
            log.warning("dead letter", extra={"fields": {**item.fields(), "letters": self._unsaid}})
            self._unsaid = 0

    def store_rejected(
        self, events: int, bad: Collection[tuple[InFlightWindow, DeadLetter]]
    ) -> None:
        """Store the dead letters among events that were read, unless there are too many."""
        self._ratio.count_read(events, [item.reason for _, item in bad])
        if self._ratio.exceeded is None:
            for pending, item in bad:
                self.store_letter(pending, item)

    def advance(self, partition: Partition, now: float) -> None:
        """Do for the closed window of a partition what can be done now."""
        closing = partition.closing
        if (
            closing is None
            or not partition.start_confirmed
            or not self._identity.confirmed(closing.topic_check_number)
        ):
            return
        if closing.is_unwritten:
            fence = fence_name(self._topic_id, partition.id) if self._topic_id else None
            closing.write = self._writer.submit(closing.window, self._on_done, fence)
        for item in self._refused.letters(partition.id, closing):
            self.store_letter(closing, item)
            closing.rejected_reasons.append(item.reason)
        if closing.write is not None and closing.write.held_back and not closing.has_work_pending:
            self._writer.write_held_back(closing.write)
        if closing.is_done:
            partition.complete_window()
            self._tell(partition.id, closing, now)

    def _tell(self, number: int, closed: InFlightWindow, now: float) -> None:
        window, write = closed.window, closed.write
        self._ratio.count_written(len(window) - window.rejected, closed.rejected_reasons)
        if write is not None and write.fenced_items:
            self.tally.suppressed += write.suppressed_events
            fields = {
                "partition": number,
                "items": write.fenced_items,
                "events": write.suppressed_events,
            }
            level = logging.INFO if self._may_say_fenced() else logging.DEBUG
            log.log(level, "fence refused", extra={"fields": fields})
        self.tally.windows += 1
        self.tally.events += len(window)
        self.tally.counters += window.counters
        self.tally.write_durations.add(now - closed.since)
        fields = {
            "partition": number,
            "first": window.first,
            "last": window.last,
            "events": len(window),
            "counters": window.counters,
            "requests": write.requests if write else 0,
            "ms": round((now - closed.since) * 1000),
        }
        log.debug("window written", extra={"fields": fields})
