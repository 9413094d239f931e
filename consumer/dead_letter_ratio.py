"""A consumer that throws everything away is stopped: how many of its events are dead letters.

Pure. A wrong ``--table``, a registry-framing producer or a spoiled table makes every event a dead
letter; each is stored and could be replayed, but nothing is counted, and nobody may notice.
"""

from collections import Counter

from consumer.errors import ConfigError

LEAST, SPAN = 1_000, 10_000


class DeadLetterRatio:
    """Compares the dead letters among the last events with the most that are allowed.

    Judged are at least the last ``span`` events, at most twice as many, of all partitions that this
    process reads, and none before there are ``least``. A ``most`` of 1 allows everything.
    """

    def __init__(self, most: float, *, least: int = LEAST, span: int = SPAN) -> None:
        self._most = most
        self._least = least
        self._span = span
        self._events = [0, 0]
        self._reasons: list[Counter[str]] = [Counter(), Counter()]

    def letter(self, reason: str) -> None:
        """Take note of one dead letter."""
        self._reasons[-1][reason] += 1

    def read(self, events: int) -> None:
        """Take note of so many events, dead letters among them."""
        self._events[-1] += events
        if self._events[-1] >= self._span:
            self._events = [self._events[-1], 0]
            self._reasons = [self._reasons[-1], Counter()]

    def check(self) -> None:
        """Raise ConfigError if there are too many; called before anything is stored or committed.

        Each start reads the same events again, so it cannot help; the message says what can.
        """
        events, reasons = sum(self._events), self._reasons[0] + self._reasons[1]
        letters = reasons.total()
        if events < self._least or letters <= self._most * events:
            return
        why = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common(3))
        raise ConfigError(
            f"dead_letter_max_ratio: {letters:,} of the last {events:,} events are dead letters "
            f"({why}), more than {self._most:g} of them; those not committed yet are read again: "
            "see `dynatomic dlq show --limit 20`, mend the settings, the table or the producer, or "
            "raise --dead-letter-max-ratio (1 allows all)"
        )
