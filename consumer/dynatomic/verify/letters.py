"""The dead letters of a group: which events have one, and which of these wait for a replay."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dynatomic.config.settings import Settings
from dynatomic.console import plural
from dynatomic.dead_letters.notes import LetteredEvents, ReplayedEvent, replayed_in_note
from dynatomic.dead_letters.topic import DeadLetterTopic, Source, StoredLetter, stored_letter
from dynatomic.errors import ConfigError, RowError
from dynatomic.events.payload import PayloadReader
from dynatomic.kafka.event_reader import EventReader


@dataclass(frozen=True, slots=True)
class WaitingLetters:
    """The events that have a dead letter of the group.

    ``events`` is the number that wait for a replay, and ``incr`` the sum of their increments; None
    for events of a counters file, which add to attributes of different kinds. ``unreadable`` of
    them contain no row, so their increment is not known. ``replayed`` were sent to the topic again.
    ``skipped_batches`` were skipped as a whole, and have ``skipped_offsets`` offsets: how many
    events they have is not known, at most one for each offset.
    """

    events: int = 0
    incr: int | None = 0
    unreadable: int = 0
    replayed: int = 0
    skipped_batches: int = 0
    skipped_offsets: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether no event waits."""
        return not self.events and not self.skipped_batches

    def line(self) -> str:
        """Return the line that ``dynatomic verify`` prints; empty if there is no letter."""
        if self.is_empty:
            return f"dead letters: {self.replayed:,} replayed" if self.replayed else ""
        events = plural(self.events, "event waits", "events wait")
        parts = []
        if self.events or not self.skipped_batches:
            total = "" if self.incr is None else f", sum {self.incr:,}"
            parts.append(f"{self.events:,} {events} as dead letters{total}")
        if self.unreadable:
            parts.append(f"{self.unreadable:,} of them contain no row")
        if self.replayed:
            parts.append(f"{self.replayed:,} replayed")
        if self.skipped_batches:
            batches = plural(self.skipped_batches, "batch", "batches")
            parts.append(
                f"{self.skipped_batches:,} {batches} of at most {self.skipped_offsets:,} events "
                "not counted, because the Kafka client cannot unpack them (`dlq skip-batch`)"
            )
        return "; ".join(parts)


class GroupLetters:
    """The dead letters that a group stored for a topic.

    ``rows`` reads the increments of row events; it is None for another format. ``reader`` reads
    what a message adds. ``make_consumer`` returns a consumer that reads the dead-letter topic
    without a group. Letters never change, so each `refresh` reads only the letters that are new.
    """

    def __init__(
        self,
        make_consumer: Callable[[], Any],
        settings: Settings,
        topic_id: str | None,
        rows: PayloadReader | None,
        reader: EventReader,
    ) -> None:
        self.problem = ""
        self._make_consumer = make_consumer
        self._settings = settings
        self._topic_ids = ("", topic_id or "")
        self._rows = rows
        self._reader = reader
        self._stored, self._replayed = LetteredEvents(), LetteredEvents()
        self._is_empty = True
        self._ends: dict[int, int] = {}
        self._skipped: dict[tuple[int, int], int] = {}

    def refresh(self) -> None:
        """Read the letters that were stored since the last call.

        ``problem`` names the reason if there is no dead-letter topic, or no permission to read it.
        Raises UnavailableError if no broker answers.
        """
        consumer = self._make_consumer()
        try:
            topic = DeadLetterTopic(consumer, self._settings.dead_letters, starts=self._ends)
            for message in topic.messages():
                self._take(message)
            self._ends = topic.ends
        except ConfigError as error:
            self.problem = str(error)
        finally:
            consumer.close()

    def _take(self, message: Any) -> None:
        item = stored_letter(message)
        if item is None:
            for event in replayed_in_note(message):
                self._replayed.add(event)
        elif self._is_ours(item):
            self._is_empty = False
            self._stored.add(self._event(item))
            letter = item.letter
            if letter.batch_end is not None:
                self._skipped[letter.partition, letter.offset] = letter.batch_end

    def skipped_batch(self, partition: int, first: int) -> int | None:
        """Return the offset after a batch that was skipped, None if none begins at ``first``."""
        return self._skipped.get((partition, first))

    def _is_ours(self, item: StoredLetter) -> bool:
        # A letter of another group does not show what this group has counted.
        source = (item.letter.topic, item.group)
        expected = (self._settings.topic, self._settings.group_id)
        return source == expected and item.topic_id in self._topic_ids

    def _partition(self, partition: int) -> tuple[str, str, int]:
        return self._settings.topic, "", partition

    def _event(self, item: StoredLetter) -> ReplayedEvent:
        letter = item.letter
        return ReplayedEvent(self._partition(letter.partition), [letter.offset], letter.counters)

    def has_letter(self, partition: int, offset: int) -> bool:
        """Return whether an event has a letter that holds all that it adds."""
        return self._stored.has_whole(self._partition(partition), offset)

    def without(self, partition: int, run: list[Any]) -> list[Any]:
        """Return the messages that have no letter; all are of one partition.

        Those of a skipped batch have none of their own, and this process may be able to unpack it.

        A message of which the table refused some counters is returned without these.
        """
        source = self._partition(partition)
        for (skipped, first), end in self._skipped.items():
            if skipped == partition and run and first <= run[-1].offset() and run[0].offset() < end:
                run = [message for message in run if not first <= message.offset() < end]
        run = self._stored.absent_from(source, run)
        return self._without_refused(source, run) if self._stored.has_counters else run

    def _without_refused(self, source: Source, run: list[Any]) -> list[Any]:
        """Leave out of each message the counters that the table refused, which letters name."""
        left = []
        for message in run:
            names = self._stored.counters(source, message.offset())
            rest = self._reader.without_counters(message, names) if names else message
            if rest is not None:
                left.append(rest)
        return left

    def waiting(self) -> WaitingLetters | None:
        """Return how many events wait, and their sum; None if the letters cannot be read.

        It reads the dead-letter topic again, because the records of replays come after the letters.
        """
        if self.problem:
            return None
        if self._is_empty:
            return WaitingLetters()
        consumer = self._make_consumer()
        try:
            topic = DeadLetterTopic(consumer, self._settings.dead_letters)
            return self._count(topic)
        finally:
            consumer.close()

    def _count(self, topic: DeadLetterTopic) -> WaitingLetters:
        events = total = unreadable = replayed = 0
        batches: list[int] = []
        rows = self._rows
        seen = LetteredEvents()
        for message in topic.messages():
            item = stored_letter(message)
            if item is None or not self._is_ours(item):
                continue
            letter = item.letter
            if seen.add(self._event(item)) is None:
                continue  # stored again after a crash
            if self._replayed.contains(item):
                replayed += 1
                continue
            if letter.batch_end is not None:
                batches.append(letter.batch_end - letter.offset)
                continue
            events += 1
            if rows is None:
                continue
            try:
                total += rows.read(letter.value)[1]
            except RowError:
                unreadable += 1
        return WaitingLetters(
            events=events,
            incr=None if rows is None else total,
            unreadable=unreadable,
            replayed=replayed,
            skipped_batches=len(batches),
            skipped_offsets=sum(batches),
        )
