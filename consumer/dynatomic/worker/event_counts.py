"""What happened to the events that were read from one partition.

Each event that was read is counted once more when its outcome is known. The two sides come from
different places: ``read`` from the messages, the rest from the answers of the tables and of the
dead-letter topic. So a defect that loses events shows as a difference.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class EventCounts:
    """Events of one partition since the start of this process. The loop writes it.

    ``counted`` are in their counter. ``suppressed`` were in it before, and a fence refused them.
    ``dead_letters`` are stored in the dead-letter topic. ``unmatched`` are taken by no counter of
    the counters file, and ``tombstones`` have no payload. ``abandoned`` were dropped from memory
    before their offsets could be committed, because the partition was lost or the process ended:
    its next owner reads them again.
    """

    read: int = 0
    counted: int = 0
    suppressed: int = 0
    dead_letters: int = 0
    unmatched: int = 0
    tombstones: int = 0
    abandoned: int = 0

    def unaccounted(self, held: int) -> int:
        """Return how many events have no outcome and are not ``held`` in windows. It must be 0."""
        outcomes = self.counted + self.suppressed + self.dead_letters + self.abandoned
        return self.read - outcomes - self.unmatched - self.tombstones - held
