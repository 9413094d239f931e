"""A consumer that throws everything away is stopped: how many of its events are dead letters.

A wrong ``--table``, a registry-framing producer or a spoiled table makes every event a dead letter;
each is stored and could be replayed, but nothing is counted, and nobody may notice.
"""

from collections import Counter
from collections.abc import Iterable

from dynatomic.errors import ConfigError

MIN_EVENTS, RECENT_EVENTS = 100, 10_000


class _RecentEvents:
    """The last events and the reasons of the dead letters among them.

    They are at least ``span`` events, where there were so many, and as a rule at most twice that.
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
    """Compares the dead letters among the last events with the most that are allowed.

    Events are judged twice, each time among their like, of all partitions that this process reads:
    when they are decoded, before anything of them is stored or written; and when their window is
    settled, for what the tables refuse shows only then. None are judged before there are ``least``.
    A ``most`` of 1 allows everything. ``exceeded`` is the error to stop with.
    """

    def __init__(self, most: float, *, least: int = MIN_EVENTS, span: int = RECENT_EVENTS) -> None:
        self.exceeded: ConfigError | None = None
        self._most = most
        self._least = least
        self._read = _RecentEvents(span)
        self._written = _RecentEvents(span)

    def count_read(self, events: int, reasons: Iterable[str]) -> None:
        """Judge events that were decoded; ``reasons`` are those of the dead letters among them.

        Each start reads the same events again, so it cannot help; the message says what can.
        """
        if found := self._judged(self._read, events, reasons):
            letters, last, why = found
            self.exceeded = self.exceeded or ConfigError(
                f"{letters:,} of the last {last:,} events are dead letters ({why}), more than "
                f"--dead-letter-max-ratio {self._most:g} allows; those not committed are read "
                "again: mend the settings or the producer, or raise it (1 allows all), and see "
                "`dynatomic run --once --dry-run`"
            )

    def count_written(self, events: int, reasons: Iterable[str]) -> None:
        """Judge the events of a settled window, of which the tables refused some, or none."""
        if found := self._judged(self._written, events, reasons):
            letters, last, why = found
            self.exceeded = self.exceeded or ConfigError(
                f"the tables refused {letters:,} of the last {last:,} events ({why}), more than "
                f"--dead-letter-max-ratio {self._most:g} allows; they are stored as dead letters: "
                "mend the items, or raise it (1 allows all), and see `dynatomic dlq show --limit "
                "20`"
            )

    def _judged(
        self, recent: _RecentEvents, events: int, reasons: Iterable[str]
    ) -> tuple[int, int, str] | None:
        """Return dead letters, events and reasons if there are too many."""
        recent.add(events, reasons)
        last, counts = recent.total()
        letters = counts.total()
        if last < self._least or letters <= self._most * last:
            return None
        return letters, last, ", ".join(f"{why} {n:,}" for why, n in counts.most_common(3))
