"""From payloads to increments, without decoding what was decoded before.

Reading is bound by Python's cost per message, so three memos stand before the checks: of equal
payloads, of prefixes and numbers, of decoded names. All hold only what passed every check, are
bounded, and are cleared when full, and none changes a verdict: `Decoder.decode` gives what reading
every payload would give.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, count, repeat
from operator import is_, itemgetter, not_, or_
from typing import Any, NamedTuple, Self

from dynatomic.config.settings import Settings
from dynatomic.errors import RowError
from dynatomic.events.payload import CONTINUES, Names, PayloadReader, zigzag
from dynatomic.events.row import INT64_MAX, INT64_MIN, CounterRef, KeySchema

Increment = tuple[CounterRef, int]
"""What one event adds to which counter."""

_MEMO_ENTRIES = 100_000
_MEMO_BYTES = 16 * 1024 * 1024
_TRIAL, _DISTINCT_SHARE = 10_000, 0.95
_UNMEMOISED_EVENTS = 4_000_000
_SAMPLE, _JUDGED, _SAMPLE_NAMES = 100, 1000, 10_000
_MAX_VARINT = 10
_VARINT_ENTRIES = 65_536
_LENGTHS = 3
_CUTS = {
    length: (itemgetter(slice(None, -length)), itemgetter(slice(-length, None)))
    for length in range(1, _MAX_VARINT + 2)
}


@dataclass(slots=True, eq=False)  # frozen, it takes twice as long to make one
class UnitIncrement:
    """Adds ``incr`` to a counter; one object for many events, equal to no other.

    So it is counted without a look at the names, whose hash would cost more than all the rest.
    """

    ref: CounterRef
    incr: int


class Decoded(NamedTuple):
    """What a run of payloads adds: ``addends[i]`` once, or ``times[i]`` times.

    ``rejected`` has, by index, the reason of each that adds nothing.
    """

    unit_increments: list[UnitIncrement]
    multipliers: list[int] | None
    rejected: dict[int, RowError]

    @property
    def increments(self) -> list[Increment]:
        """What each adds to which counter."""
        times = (
            repeat(1, len(self.unit_increments)) if self.multipliers is None else self.multipliers
        )
        return [
            (a.ref, a.incr * number) for a, number in zip(self.unit_increments, times, strict=True)
        ]


_NOTHING = UnitIncrement(CounterRef("", "", None, ""), 0)


class Decoder(dict[bytes, UnitIncrement]):
    """Reads payloads for the given tables; itself the memo of equal payloads.

    A hit costs one dictionary look-up in C. Where increments vary there is the memo of equal
    *items*: ``incr`` stands last in the schema, so a payload is a prefix that names the counter
    and a varint. Avro decodes from the left, so a prefix that once was followed by a varint names
    the same counter whenever it is followed by one. ``decodes`` counts the payloads that Avro
    decoded.
    """

    def __init__(
        self,
        tables: Mapping[str, KeySchema],
        *,
        default_counter: str = "count",
        min_incr: int = INT64_MIN,
        max_incr: int = INT64_MAX,
        writer_schema: Any = None,
    ) -> None:
        super().__init__()
        self._reader = PayloadReader(
            tables,
            default_counter=default_counter,
            min_incr=min_incr,
            max_incr=max_incr,
            writer_schema=writer_schema,
        )
        self._prefixes: dict[bytes, UnitIncrement] = {}
        self._named: dict[Names, UnitIncrement] = {}
        self._varints = _Varints(self._reader.in_bounds)
        self._lengths = [1]
        self._bytes = 0
        self._keeps_payloads = True
        self._batches = self._seen = self._decoded = 0
        self._unmemoised_left = self._sampled = self._repeated = 0
        self.decodes = self._misses = 0
        self._errors: list[RowError] = []

    @classmethod
    def of(cls, settings: Settings, tables: Mapping[str, KeySchema], writer_schema: Any) -> Self:
        """Return the one that goes by the settings, with the schema that these name, read."""
        return cls(
            tables,
            default_counter=settings.counter,
            min_incr=settings.min_incr,
            max_incr=settings.max_incr,
            writer_schema=writer_schema,
        )

    def decode(self, payloads: Sequence[bytes | None]) -> Decoded:
        """Return what each payload adds, in order."""
        misses, decoded, self._errors = self._misses, self._decoded, []
        addends: list[UnitIncrement]
        times: list[int] | None = None
        if self._unmemoised_left:
            addends, times = self._read_without_memo(payloads)
            self.decodes += len(payloads)
        else:
            if self._keeps_payloads:
                addends = list(map(self.__getitem__, payloads))  # type: ignore[arg-type]
            else:
                addends, times = self._look_up_parts(payloads)
            self.decodes += self._decoded - decoded
            self._adapt(len(addends), self._misses - misses)
        if not self._errors:
            return Decoded(addends, times, {})
        bad = [i for i, addend in enumerate(addends) if addend is _NOTHING]
        return Decoded(addends, times, dict(zip(bad, self._errors, strict=True)))

    def _read_without_memo(
        self, payloads: Sequence[bytes | None]
    ) -> tuple[list[UnitIncrement], list[int]]:
        """Read all payloads, and end that early if the names of a sample come again.

        Names that come again would take memory for each event, while they wait in windows.
        """
        self._unmemoised_left = max(0, self._unmemoised_left - len(payloads))
        if len(self._named) > _SAMPLE_NAMES:
            self._named.clear()
            self._bytes = 0
        addends, times = self._read_each(payloads[:_SAMPLE], by_names=True)
        self._sampled += len(addends)
        more_addends, more_times = self._read_each(payloads[_SAMPLE:])
        if self._sampled >= _JUDGED:
            if self._repeated > (1 - _DISTINCT_SHARE) * self._sampled:
                self._unmemoised_left = 0
            self._sampled = self._repeated = 0
        return addends + more_addends, times + more_times

    def _read_each(
        self, payloads: Sequence[bytes | None], *, by_names: bool = False
    ) -> tuple[list[UnitIncrement], list[int]]:
        """Read payloads, and remember none that is of our own schema, or each by its names."""
        read, resolve = self._reader.read, self._reader.resolve
        addends, times = [], []
        for payload in payloads:
            try:
                names, incr, tail = read(payload)
                if by_names or not tail:
                    addend = self._by_names(payload, names, incr, tail)
                else:
                    addend = UnitIncrement(resolve(names, incr), 1)
            except RowError as error:
                self._errors.append(error)
                addend, incr = _NOTHING, 0
            addends.append(addend)
            times.append(incr)
        return addends, times

    def _look_up_parts(self, payloads: Sequence[Any]) -> tuple[list[UnitIncrement], list[int]]:
        """Look up prefix and varint of all payloads in C, as if all varints were of one length.

        Where that gives no counter, or no number, other lengths are tried; what is left then is
        read on its own.
        """
        addends, times = self._cut(payloads, self._lengths[0])
        left = _unresolved(addends, times)
        if len(left) > len(payloads) // 2:
            self._guess_lengths(payloads)
        for length in self._lengths[1:] if left else ():
            found = self._cut([payloads[i] for i in left], length)
            for i, addend, number in zip(left, *found, strict=True):
                addends[i], times[i] = addend, number
            left = [i for i in left if addends[i] is None or times[i] is None]
        for i in left:
            addends[i], times[i] = self._read_one(payloads[i])
        return addends, times

    def _cut(self, payloads: Sequence[Any], length: int) -> tuple[list[Any], list[Any]]:
        prefix, tail = _CUTS[length]
        try:
            addends = list(map(self._prefixes.get, map(prefix, payloads)))
            return addends, list(map(self._varints.get, map(tail, payloads)))
        except TypeError:  # a message without a payload
            return self._cut([payload or b"" for payload in payloads], length)

    def _guess_lengths(self, payloads: Sequence[bytes | None]) -> None:
        """Begin with the length of most varints, then try the next."""
        lengths = Counter(_tail_length(payload) for payload in payloads[:1000] if payload)
        self._lengths = [length for length, _ in lengths.most_common(_LENGTHS)] or [1]

    def _adapt(self, seen: int, missed: int) -> None:
        """Remember whole payloads only while they repeat, and nothing while nothing does.

        Now and then it looks again.
        """
        self._batches += 1
        self._seen += seen
        if self._keeps_payloads and seen > 100 and missed > seen // 4 and len(self) > seen:  # noqa: PLR2004
            self._keeps_payloads = False
            self.clear()
        elif not self._keeps_payloads and self._batches % 256 == 0:
            self._keeps_payloads = True
        entries = len(self) + len(self._prefixes) + len(self._named)
        unknown = self._seen > _TRIAL and self._decoded > _DISTINCT_SHARE * self._seen
        if unknown:
            self._unmemoised_left = _UNMEMOISED_EVENTS
        if unknown or entries > _MEMO_ENTRIES or self._bytes > _MEMO_BYTES:
            self.clear()
            self._prefixes.clear()
            self._named.clear()
            self._bytes = self._seen = self._decoded = 0

    def __missing__(self, payload: bytes | None) -> UnitIncrement:
        self._misses += 1
        unit, incr = self._read_one(payload)
        if unit is _NOTHING or payload is None:
            return _NOTHING
        addend = self[payload] = unit if incr == 1 else UnitIncrement(unit.ref, incr)
        self._bytes += len(payload)
        return addend

    def _read_one(self, payload: bytes | None) -> tuple[UnitIncrement, int]:
        """Return what one payload adds, and how often."""
        if payload:
            length = _tail_length(payload)
            addend = self._prefixes.get(payload[:-length])
            number = self._varints[payload[-length:]]
            if addend is not None and number is not None:
                return addend, number
        self._decoded += 1
        try:
            names, incr, tail = self._reader.read(payload)
            if not tail or payload is None:
                return self._by_names(payload, names, incr, tail), incr
            addend = UnitIncrement(self._reader.resolve(names, incr), 1)
        except RowError as error:
            self._errors.append(error)
            return _NOTHING, 0
        prefix = payload[: -len(tail)]
        self._prefixes[prefix] = addend
        self._bytes += len(prefix)
        return addend, incr

    def _by_names(
        self, payload: bytes | None, names: Names, incr: int, tail: bytes
    ) -> UnitIncrement:
        """Return the addend of these names, remembered; of another schema there is no prefix."""
        known = self._named.get(names)
        if known is not None and self._reader.in_bounds(incr):
            self._repeated += bool(tail)
            return known
        addend = UnitIncrement(self._reader.resolve(names, incr), 1)
        self._named[names] = addend
        self._bytes += len(payload or b"")
        return addend


def _unresolved(addends: Sequence[object], times: Sequence[object]) -> list[int]:
    none = map(not_, addends)
    if not all(times):  # a number is missing, or zero
        none = map(or_, none, map(is_, times, repeat(None)))
    return list(compress(count(), none))


def _tail_length(payload: bytes) -> int:
    """Return how many of the last bytes look like one varint."""
    length = 1
    while length < min(len(payload), _MAX_VARINT + 1) and payload[-length - 1] >= CONTINUES:
        length += 1
    return length


class _Varints(dict[bytes, int]):
    """Bytes of a minimal zigzag varint -> its number; None for other bytes or one out of bounds."""

    def __init__(self, in_bounds: Callable[[int], bool]) -> None:
        super().__init__()
        self._in_bounds = in_bounds

    def __missing__(self, raw: bytes) -> int | None:
        if 0 < len(raw) <= _MAX_VARINT:
            value = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(raw))
            number = (value >> 1) ^ -(value & 1)
            if self._in_bounds(number) and zigzag(number) == raw:
                if len(self) >= _VARINT_ENTRIES:
                    self.clear()
                self[raw] = number
                return number
        return None
