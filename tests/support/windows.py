"""Windows of events that a test needs filled."""

from collections.abc import Mapping

from dynatomic.events.decoded import UnitIncrement
from dynatomic.events.row import CounterRef
from dynatomic.events.window import Window


def window_of(sums: Mapping[CounterRef, int]) -> Window:
    """Make a window of one event a counter."""
    window = Window()
    window.add(range(len(sums)), [UnitIncrement(ref, total) for ref, total in sums.items()])
    return window
