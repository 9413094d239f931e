"""Stops a consumer if too many of its events become dead letters.

A wrong ``--table``, a producer that adds a registry frame, or a table with attributes of another
type makes every event a dead letter. Each is stored and can be replayed, but nothing is counted,
and this may stay unnoticed.
"""

from collections import Counter
from collections.abc import Iterable

from dynatomic.errors import ConfigError

MIN_EVENTS, RECENT_EVENTS = 100, 10_000


class _RecentEvents:
    """The number of recent events, and the reasons of the dead letters among them.

    Recent means at least the last ``span`` events, and usually at most twice that.
    """

    def __init__(self, span: int) -> None:
        self._span = span
        self._events = [0, 0]
        self._reasons: list[Counter[str]] = [Counter(), Counter()]

    def add(self, events: int, reasons: Iterable[str]) -> None:
        self._events[-1] += events
        self._reasons[-1].update(reasons)
        if self._events[-1] >= self._span:
            self._events = [self._events[-1], 0]
            self._reasons = [self._reasons[-1], Counter()]

    def total(self) -> tuple[int, Counter[str]]:
        return sum(self._events), self._reasons[0] + self._reasons[1]


class DeadLetterRatio:
    """Compares the share of dead letters among recent events with the maximum that is allowed.

    Events of all partitions of this process are judged twice: when they are decoded, before
    anything of them is stored or written, and when their window is done, because only then it
    shows what the tables rejected. Nothing is judged before there are ``min_events``. A
    ``max_ratio`` of 1 allows everything. ``exceeded`` is the error to stop with.
    """

    def __init__(
        self, max_ratio: float, *, min_events: int = MIN_EVENTS, span: int = RECENT_EVENTS
    ) -> None:
        self.exceeded: ConfigError | None = None
        self._max_ratio = max_ratio
        self._min_events = min_events
        self._read = _RecentEvents(span)
        self._written = _RecentEvents(span)

    def count_read(self, events: int, reasons: Iterable[str]) -> None:
        """Judge events that were decoded; ``reasons`` are those of the dead letters among them.

        A restart alone does not help, because it reads the same events again.
        """
        if excess := self._judge(self._read, events, reasons):
            letters, total, top_reasons = excess
            self.exceeded = self.exceeded or ConfigError(
                f"{letters:,} of the last {total:,} events are dead letters ({top_reasons}), "
                f"more than --dead-letter-max-ratio {self._max_ratio:g} allows; those not "
                "committed are read again: correct the settings or the producer, or raise "
                "--dead-letter-max-ratio (1 allows all), and see `dynatomic run --once --dry-run`"
            )

    def count_written(self, events: int, reasons: Iterable[str]) -> None:
        """Judge the events of a window that is done; ``reasons`` are those of rejected ones."""
        if excess := self._judge(self._written, events, reasons):
            letters, total, top_reasons = excess
            self.exceeded = self.exceeded or ConfigError(
                f"the tables refused {letters:,} of the last {total:,} events ({top_reasons}), "
                f"more than --dead-letter-max-ratio {self._max_ratio:g} allows; they are stored as "
                "dead letters: correct the items, or raise --dead-letter-max-ratio (1 allows all), "
                "and see `dynatomic dlq show --limit 20`"
            )

    def _judge(
        self, recent: _RecentEvents, events: int, reasons: Iterable[str]
    ) -> tuple[int, int, str] | None:
        """Return the dead letters, the events and the reasons if there are too many."""
        recent.add(events, reasons)
        total, counts = recent.total()
        letters = counts.total()
        if total < self._min_events or letters <= self._max_ratio * total:
            return None
        return letters, total, ", ".join(f"{reason} {n:,}" for reason, n in counts.most_common(3))
