"""From payloads to increments. Payloads that were decoded before are not decoded again.

Python's cost for each message limits the speed. So three memos come before the checks: of whole
payloads, of prefixes and varints, and of decoded names. A memo contains only values that passed all
checks, has a limit, and is cleared when it is full. No memo changes a result: `Decoder.decode`
returns the same as decoding each payload.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import compress, count, repeat
from operator import is_, itemgetter, not_, or_
from typing import Any, Self

from dynatomic.config.settings import Settings
from dynatomic.errors import RowError
from dynatomic.events.decoded import Decoded, UnitIncrement
from dynatomic.events.payload import Names, PayloadReader
from dynatomic.events.row import INT64_MAX, INT64_MIN, MAX_PAYLOAD_BYTES, CounterRef, KeySchema
from dynatomic.events.varints import MAX_VARINT_BYTES, Varints, tail_length

_MEMO_ENTRIES = 100_000
_MEMO_BYTES = 16 * 1024 * 1024
_TRIAL, _DISTINCT_SHARE = 10_000, 0.95
_UNMEMOISED_EVENTS = 4_000_000
_SAMPLE, _JUDGED, _SAMPLE_NAMES = 100, 1000, 10_000
_LENGTHS = 3
_CUTS = {
    length: (itemgetter(slice(None, -length)), itemgetter(slice(-length, None)))
    for length in range(1, MAX_VARINT_BYTES + 2)
}


_NOTHING = UnitIncrement(CounterRef("", "", None, ""), 0)


class Decoder(dict[bytes, UnitIncrement]):
    """Reads payloads for the given tables. The dictionary itself is the memo of whole payloads.

    A hit costs one dictionary lookup in C. A second memo serves payloads whose increments vary:
    ``incr`` is the last field of the schema, so a payload is a prefix, which names the counter,
    and a varint. Avro decodes from the left, so a prefix that was followed by a varint once names
    the same counter each time it is followed by one. ``decodes`` counts the payloads that Avro
    decoded.
    """

    def __init__(  # noqa: PLR0913 - one argument a rule, all but the tables by keyword
        self,
        tables: Mapping[str, KeySchema],
        *,
        default_counter: str = "count",
        allowed_counters: Collection[str] = (),
        min_incr: int = INT64_MIN,
        max_incr: int = INT64_MAX,
        writer_schema: Any = None,
        max_bytes: int = MAX_PAYLOAD_BYTES,
    ) -> None:
        super().__init__()
        self._reader = PayloadReader(
            tables,
            default_counter=default_counter,
            allowed_counters=allowed_counters,
            min_incr=min_incr,
            max_incr=max_incr,
            writer_schema=writer_schema,
            max_bytes=max_bytes,
        )
        self._prefixes: dict[bytes, UnitIncrement] = {}
        self._named: dict[Names, UnitIncrement] = {}
        self._varints = Varints(self._reader.in_bounds)
        self._lengths = [1]
        self._bytes = 0
        self._keeps_payloads = True
        self._batches = self._seen = self._decoded = 0
        self._unmemoised_left = self._sampled = self._repeated = 0
        self.decodes = self._misses = 0
        self._errors: list[RowError] = []

    @classmethod
    def of(cls, settings: Settings, tables: Mapping[str, KeySchema], writer_schema: Any) -> Self:
        """Return the decoder for these settings. ``writer_schema`` is the parsed schema."""
        return cls(
            tables,
            default_counter=settings.counter,
            allowed_counters=settings.allowed_counters,
            min_incr=settings.min_incr,
            max_incr=settings.max_incr,
            writer_schema=writer_schema,
            max_bytes=settings.max_payload_bytes,
        )

    def decode(self, payloads: Sequence[bytes | None]) -> Decoded:
        """Return what each payload adds, in order."""
        misses, decoded, self._errors = self._misses, self._decoded, []
        unit_increments: list[UnitIncrement]
        multipliers: list[int] | None = None
        if self._unmemoised_left:
            unit_increments, multipliers = self._read_without_memo(payloads)
            self.decodes += len(payloads)
        else:
            if self._keeps_payloads:
                unit_increments = list(map(self.__getitem__, payloads))  # type: ignore[arg-type]
            else:
                unit_increments, multipliers = self._decode_parts(payloads)
            self.decodes += self._decoded - decoded
            self._adapt(len(unit_increments), self._misses - misses)
        if not self._errors:
            return Decoded(unit_increments, multipliers, {})
        bad = [i for i, unit_increment in enumerate(unit_increments) if unit_increment is _NOTHING]
        return Decoded(unit_increments, multipliers, dict(zip(bad, self._errors, strict=True)))

    def _read_without_memo(
        self, payloads: Sequence[bytes | None]
    ) -> tuple[list[UnitIncrement], list[int]]:
        """Read all payloads, and use the memos again if the names of a sample repeat.

        Without a memo, each event in a window holds its own copy of the names, which takes memory.
        """
        self._unmemoised_left = max(0, self._unmemoised_left - len(payloads))
        if len(self._named) > _SAMPLE_NAMES:
            self._named.clear()
            self._bytes = 0
        unit_increments, multipliers = self._read_all(payloads[:_SAMPLE], by_names=True)
        self._sampled += len(unit_increments)
        more_units, more_multipliers = self._read_all(payloads[_SAMPLE:])
        if self._sampled >= _JUDGED:
            if self._repeated > (1 - _DISTINCT_SHARE) * self._sampled:
                self._unmemoised_left = 0
            self._sampled = self._repeated = 0
        return unit_increments + more_units, multipliers + more_multipliers

    def _read_all(
        self, payloads: Sequence[bytes | None], *, by_names: bool = False
    ) -> tuple[list[UnitIncrement], list[int]]:
        """Read payloads, and remember none of our own schema, or each by its names."""
        read, resolve = self._reader.read, self._reader.resolve
        unit_increments, multipliers = [], []
        for payload in payloads:
            try:
                names, incr, tail = read(payload)
                if by_names or not tail:
                    unit_increment = self._by_names(payload, names, incr, tail)
                else:
                    unit_increment = UnitIncrement(resolve(names, incr), 1)
            except RowError as error:
                self._errors.append(error)
                unit_increment, incr = _NOTHING, 0
            unit_increments.append(unit_increment)
            multipliers.append(incr)
        return unit_increments, multipliers

    def _decode_parts(self, payloads: Sequence[Any]) -> tuple[list[UnitIncrement], list[int]]:
        """Decode the prefix and the varint of all payloads in C, as if all varints had one length.

        Payloads without a result are tried with other lengths, and then read one by one.
        """
        unit_increments, multipliers = self._cut(payloads, self._lengths[0])
        left = _unresolved(unit_increments, multipliers)
        if len(left) > len(payloads) // 2:
            self._guess_lengths(payloads)
        for length in self._lengths[1:] if left else ():
            parts = self._cut([payloads[i] for i in left], length)
            for i, unit_increment, multiplier in zip(left, *parts, strict=True):
                unit_increments[i], multipliers[i] = unit_increment, multiplier
            left = [i for i in left if unit_increments[i] is None or multipliers[i] is None]
        for i in left:
            unit_increments[i], multipliers[i] = self._read_one(payloads[i])
        return unit_increments, multipliers

    def _cut(self, payloads: Sequence[Any], length: int) -> tuple[list[Any], list[Any]]:
        prefix, tail = _CUTS[length]
        try:
            unit_increments = list(map(self._prefixes.get, map(prefix, payloads)))
            return unit_increments, list(map(self._varints.get, map(tail, payloads)))
        except TypeError:  # a message without a payload
            return self._cut([payload or b"" for payload in payloads], length)

    def _guess_lengths(self, payloads: Sequence[bytes | None]) -> None:
        """Order the lengths of varints, the most frequent first."""
        lengths = Counter(tail_length(payload) for payload in payloads[:1000] if payload)
        self._lengths = [length for length, _ in lengths.most_common(_LENGTHS)] or [1]

    def _adapt(self, seen: int, missed: int) -> None:
        """Remember whole payloads only while they repeat, and nothing while nothing repeats.

        Every 256 batches, and after a sample of names that repeat, the memos are tried again.
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
        unit, multiplier = self._read_one(payload)
        if unit is _NOTHING or payload is None:
            return _NOTHING
        whole = self[payload] = unit if multiplier == 1 else UnitIncrement(unit.ref, multiplier)
        self._bytes += len(payload)
        return whole

    def _read_one(self, payload: bytes | None) -> tuple[UnitIncrement, int]:
        """Return what one payload adds, and how many times."""
        if payload:
            length = tail_length(payload)
            unit_increment = self._prefixes.get(payload[:-length])
            multiplier = self._varints[payload[-length:]]
            if unit_increment is not None and multiplier is not None:
                return unit_increment, multiplier
        self._decoded += 1
        try:
            names, incr, tail = self._reader.read(payload)
            if not tail or payload is None:
                return self._by_names(payload, names, incr, tail), incr
            unit_increment = UnitIncrement(self._reader.resolve(names, incr), 1)
        except RowError as error:
            self._errors.append(error)
            return _NOTHING, 0
        prefix = payload[: -len(tail)]
        self._prefixes[prefix] = unit_increment
        self._bytes += len(prefix)
        return unit_increment, incr

    def _by_names(
        self, payload: bytes | None, names: Names, incr: int, tail: bytes
    ) -> UnitIncrement:
        """Return the unit increment of these names, which a memo keeps.

        A payload of another schema has no prefix that could be remembered.
        """
        known = self._named.get(names)
        if known is not None and self._reader.in_bounds(incr):
            self._repeated += bool(tail)
            return known
        unit_increment = UnitIncrement(self._reader.resolve(names, incr), 1)
        self._named[names] = unit_increment
        self._bytes += len(payload or b"")
        return unit_increment


def _unresolved(unit_increments: Sequence[object], multipliers: Sequence[object]) -> list[int]:
    none = map(not_, unit_increments)
    if not all(multipliers):  # a multiplier is missing, or zero
        none = map(or_, none, map(is_, multipliers, repeat(None)))
    return list(compress(count(), none))
