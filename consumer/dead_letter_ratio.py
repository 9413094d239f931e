"""A consumer that throws everything away is stopped: how many of its events are dead letters.

A wrong ``--table``, a registry-framing producer or a spoiled table makes every event a dead letter;
each is stored and could be replayed, but nothing is counted, and nobody may notice.
"""

from collections import Counter, deque
from collections.abc import Callable

from consumer.dead_letters import Letter, Letters, Stored, Wanted
from consumer.errors import ConfigError

LEAST, SPAN = 100, 10_000


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
            f"{letters:,} of the last {events:,} events are dead letters ({why}), more than "
            f"--dead-letter-max-ratio {self._most:g} allows; those not committed are read again: "
            "mend the settings, the table or the producer, or raise it (1 allows all), and see "
            "`dynatomic run --dry-run` and `dynatomic dlq show --limit 20`"
        )


class LimitedLetters:
    """Letters that go on their way only where a `DeadLetterRatio` allows them.

    ``events`` tells how many events have been read so far.
    """

    def __init__(self, letters: Letters, ratio: DeadLetterRatio, events: Callable[[], int]) -> None:
        self._letters = letters
        self._ratio = ratio
        self._events = events
        self._read = events()
        self._waiting: deque[tuple[Letter, Stored, Wanted]] = deque()
        self._bytes = 0

    @property
    def held(self) -> int:
        """How many letters wait."""
        return self._letters.held + len(self._waiting)

    @property
    def held_bytes(self) -> int:
        """Their bytes."""
        return self._letters.held_bytes + self._bytes

    @property
    def trouble(self) -> str | None:
        """Why the topic does not take them."""
        return self._letters.trouble

    def store(self, item: Letter, on_stored: Stored, wanted: Wanted) -> None:
        """Send a letter with the next `poll`."""
        self._ratio.letter(item.reason)
        self._waiting.append((item, on_stored, wanted))
        self._bytes += item.size

    def poll(self, timeout_s: float = 0.0) -> None:
        """Send what waits, and serve deliveries; raises ConfigError if there are too many."""
        events = self._events()
        self._ratio.read(events - self._read)
        self._read = events
        self._ratio.check()
        while self._waiting:
            item, on_stored, wanted = self._waiting.popleft()
            self._bytes -= item.size
            if wanted():
                self._letters.store(item, on_stored, wanted)
        self._letters.poll(timeout_s)
