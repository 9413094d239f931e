"""Passes over the events that have a dead letter of the group, while a new counter is filled.

After a rewind these events are read again, and a new counters file may accept them. Their items
hide them, so only a new counter would take them, and it would take their replays too. `verify`
leaves them out as well: they count by their replays only.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from dynatomic.events.decoder import Decoded, Increment
from dynatomic.events.row import CounterRef
from dynatomic.kafka.event_reader import EventReader

HasLetter = Callable[[int, int], bool]
"""Takes a partition and an offset, and returns whether the event there is a dead letter."""


class WithoutLettersReader:
    """Reads what another reader reads, but for events with a dead letter, which add nothing."""

    def __init__(self, reader: EventReader, has_letter: HasLetter) -> None:
        self._reader = reader
        self._has_letter = has_letter

    @property
    def decodes(self) -> int:
        """How many payloads were decoded."""
        return self._reader.decodes

    @property
    def reads_only_payloads(self) -> bool:
        """Whether nothing but the payload of a message matters: no, its offset does."""
        return False

    def read(self, messages: Sequence[Any]) -> Decoded:
        """Return what each message adds."""
        kept = [
            index
            for index, message in enumerate(messages)
            if not self._has_letter(message.partition(), message.offset())
        ]
        if len(kept) == len(messages):
            return self._reader.read(messages)
        decoded = self._reader.read([messages[index] for index in kept]).with_counts(len(kept))
        counts = [0] * len(messages)
        for index, count in zip(kept, decoded.counts or (), strict=True):
            counts[index] = count
        return decoded._replace(
            counts=counts,
            rejected={kept[index]: error for index, error in decoded.rejected.items()},
            tombstones=frozenset(kept[index] for index in decoded.tombstones),
            unavailable={kept[index]: error for index, error in decoded.unavailable.items()},
        )

    def refused_counters(
        self, message: Any, refs: Collection[CounterRef]
    ) -> tuple[str, ...] | None:
        """Return the names by which a message adds to some counters."""
        return self._reader.refused_counters(message, refs)

    def lost_event(self, increments: Sequence[Increment]) -> tuple[bytes, bool]:
        """Return a payload for an event that the topic no longer has."""
        return self._reader.lost_event(increments)

    def without_counters(self, message: Any, names: Collection[str]) -> Any | None:
        """Return the message with only those counters that are not in ``names``."""
        return self._reader.without_counters(message, names)
