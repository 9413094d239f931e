"""Passes over the events that have a dead letter of the group, while a new counter is filled.

After a rewind these events are read again, and a new counters file may accept them. The fences
of old items refuse them. A new counter would count them now, and their replays again. `verify`
leaves them out as well: they count by their replays only.
"""

from collections.abc import Callable, Sequence
from typing import Any

from dynatomic.events.decoded import Decoded
from dynatomic.kafka.event_reader import EventReader, WrappingReader

HasLetter = Callable[[int, int], bool]
"""Takes a partition and an offset, and returns whether the event there is a dead letter."""


class WithoutLettersReader(WrappingReader):
    """Reads what another reader reads, but for events with a dead letter, which add nothing."""

    def __init__(self, reader: EventReader, has_letter: HasLetter) -> None:
        super().__init__(reader)
        self._has_letter = has_letter

    @property
    def reads_only_payloads(self) -> bool:
        """Whether nothing but the payload of a message matters. Here its offset matters too."""
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
