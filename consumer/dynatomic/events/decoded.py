"""What events add to counters, as a decoder or a reader returns it."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import compress, repeat
from types import MappingProxyType
from typing import NamedTuple

from dynatomic.errors import RowError, UnavailableError
from dynatomic.events.row import CounterRef

Increment = tuple[CounterRef, int]
"""A counter, and what one event adds to it."""


@dataclass(slots=True, eq=False)  # frozen, it takes twice as long to make one
class UnitIncrement:
    """Adds ``incr`` to a counter. Many events share one object, and no two objects are equal.

    Objects are counted by identity, because the hash of the names costs more than all other work.
    """

    ref: CounterRef
    incr: int


class Decoded(NamedTuple):
    """What events add: ``unit_increments[i]``, ``multipliers[i]`` times or once if that is None.

    There is one unit increment for each event, or ``counts`` has their number for each event.
    ``rejected`` has the reason for each event that cannot be counted, by its index, and
    ``tombstones`` the indexes of events without a payload that are passed over. ``unavailable`` has
    the events that cannot be judged now, because a schema cannot be read: they must be read again.
    """

    unit_increments: list[UnitIncrement]
    multipliers: list[int] | None
    rejected: dict[int, RowError]
    counts: list[int] | None = None
    tombstones: frozenset[int] = frozenset()
    unavailable: Mapping[int, UnavailableError] = MappingProxyType({})

    @property
    def increments(self) -> list[Increment]:
        """What each adds to which counter."""
        multipliers = (
            repeat(1, len(self.unit_increments)) if self.multipliers is None else self.multipliers
        )
        return [
            (a.ref, a.incr * multiplier)
            for a, multiplier in zip(self.unit_increments, multipliers, strict=True)
        ]

    def with_counts(self, events: int) -> "Decoded":
        """Return the same with ``counts``: 0 for an event that adds nothing."""
        if self.counts is not None:
            return self
        counts = [int(index not in self.rejected) for index in range(events)]
        return self._replace(
            counts=counts,
            unit_increments=list(compress(self.unit_increments, counts)),
            multipliers=self.multipliers and list(compress(self.multipliers, counts)),
        )
