"""From payloads to increments, without decoding what was decoded before.

Reading is bound by Python's cost per message, so two memos stand before fastavro. Both hold
only what passed every check, both are bounded and cleared when full, and neither changes a
verdict: `Decoder.decode` gives what decoding every payload would give.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress, count, repeat
from operator import is_, itemgetter
from typing import Any, NamedTuple

import fastavro

from consumer.errors import RowError
from consumer.row import (
    INT64_MAX,
    INT64_MIN,
    MAX_PAYLOAD_BYTES,
    CounterRef,
    KeySchema,
    Reason,
    Row,
    check_limits,
    key_value,
    schema,
)

Increment = tuple[CounterRef, int]
"""What one event adds to which counter."""

_MEMO_ENTRIES = 100_000
_MEMO_BYTES = 16 * 1024 * 1024
_TRIAL, _HOPELESS = 30_000, 0.95
_PLAIN_BATCHES = 64
_MAX_VARINT = 10
_VARINT_ENTRIES = 65_536
_CONTINUES = 0x80
# Bytes that fastavro trips over end in one of these.
_UNDECODABLE = (EOFError, IndexError, ValueError, OverflowError, MemoryError)


class Decoded(NamedTuple):
    """What a run of payloads adds: ``incrs[i]`` to the counter ``refs[i]``.

    ``rejected`` has, by index, the reason of each that adds nothing.
    """

    refs: list[CounterRef]
    incrs: list[int]
    rejected: dict[int, RowError]

    @property
    def increments(self) -> list[Increment]:
        """The pairs."""
        return list(zip(self.refs, self.incrs, strict=True))


_NO_REF = CounterRef("", "", None, "")
_ref, _incr = itemgetter(0), itemgetter(1)


_NOTHING: Increment = (_NO_REF, 0)


class Decoder(dict[bytes, Increment]):
    """Reads payloads for the given tables; itself the memo of equal payloads.

    A hit costs one dictionary look-up in C. A miss comes to `__missing__`, which tries the
    memo of equal *items*: ``incr`` stands last in the schema, so a payload is a prefix that
    names the counter and a varint. Avro decodes from the left, so a prefix that once was
    followed by a varint names the same counter whenever it is followed by one. ``decodes`` counts
    the payloads that Avro decoded.
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
        self._tables = tables
        self._default = default_counter
        self._min, self._max = min_incr, max_incr
        self._schema = schema()
        self._writer_schema = writer_schema
        self._prefixes: dict[bytes, CounterRef] = {}
        self._varints = _Varints(min_incr, max_incr)
        self._bytes = 0
        self._keep = True
        self._prefix, self._tail = itemgetter(slice(None, -1)), itemgetter(slice(-1, None))
        self._batches = self._seen = self._decoded = self._plain = 0
        self.decodes = self._misses = 0
        self._errors: list[RowError] = []

    def decode(self, payloads: Sequence[bytes | None]) -> Decoded:
        """Return what each payload adds, in order."""
        misses, decoded, self._errors = self._misses, self._decoded, []
        if self._plain:
            self._plain -= 1
            found = list(map(self._one, payloads))
            self.decodes += len(found)
            refs, incrs = list(map(_ref, found)), list(map(_incr, found))
        elif self._keep:
            found = list(map(self.__getitem__, payloads))  # type: ignore[arg-type]
            refs, incrs = list(map(_ref, found)), list(map(_incr, found))
        else:
            refs, incrs = self._in_parts(payloads)
        self.decodes += self._decoded - decoded
        self._adapt(len(refs), self._misses - misses)
        if not self._errors:
            return Decoded(refs, incrs, {})
        bad = [i for i, ref in enumerate(refs) if ref is _NO_REF]
        return Decoded(refs, incrs, dict(zip(bad, self._errors, strict=True)))

    def _in_parts(self, payloads: Sequence[Any]) -> tuple[list[CounterRef], list[int]]:
        """Look up prefix and varint of all payloads in C, as if all varints were of one length.

        Where that gives no counter, or no number, the payload goes its own way.
        """
        refs: list[Any]
        incrs: list[Any]
        failed = self._varints.failed
        try:
            refs = list(map(self._prefixes.get, map(self._prefix, payloads)))
            incrs = list(map(self._varints.__getitem__, map(self._tail, payloads)))
        except TypeError:  # a message without a payload
            refs, incrs = [None] * len(payloads), [None] * len(payloads)
        if all(refs) and self._varints.failed == failed:
            return refs, incrs
        slow = {*_places_of_none(refs), *_places_of_none(incrs)}
        for i in sorted(slow):
            refs[i], incrs[i] = self[payloads[i]]
        if len(slow) > len(payloads) // 2:
            self._guess_length(payloads)
        return refs, incrs

    def _guess_length(self, payloads: Sequence[bytes | None]) -> None:
        """Take the length of the varint in the middle of these for that of most."""
        lengths = sorted(_tail_length(payload) for payload in payloads[:1000] if payload)
        if lengths:
            length = lengths[len(lengths) // 2]
            self._prefix = itemgetter(slice(None, -length))
            self._tail = itemgetter(slice(-length, None))

    def _adapt(self, seen: int, missed: int) -> None:
        """Remember whole payloads only while they repeat, and nothing while nothing does.

        Now and then it looks again.
        """
        self._batches += 1
        self._seen += seen
        if self._keep and seen > 100 and missed > seen // 2 and len(self) > seen:  # noqa: PLR2004
            self._keep = False
            self.clear()
        elif not self._keep and self._batches % 256 == 0:
            self._keep = True
        full = len(self) + len(self._prefixes) > _MEMO_ENTRIES or self._bytes > _MEMO_BYTES
        unknown = self._seen > _TRIAL and self._decoded > _HOPELESS * self._seen
        if unknown:
            self._plain = _PLAIN_BATCHES
        if unknown or full:
            self.clear()
            self._prefixes.clear()
            self._bytes = self._seen = self._decoded = 0

    def _one(self, payload: bytes | None) -> Increment:
        """Decode one payload, and remember nothing."""
        try:
            row, _ = self._read(payload)
            return self._resolve(row), row.incr
        except RowError as error:
            self._errors.append(error)
            return _NOTHING

    def __missing__(self, payload: bytes | None) -> Increment:
        self._misses += 1
        try:
            increment = (payload and self._by_prefix(payload)) or self._by_avro(payload)
        except RowError as error:
            self._errors.append(error)
            return _NOTHING
        if self._keep and payload is not None:
            self[payload] = increment
            self._bytes += len(payload)
        return increment

    def _by_prefix(self, payload: bytes) -> Increment | None:
        length = _tail_length(payload)
        ref = self._prefixes.get(payload[:-length])
        incr = self._varints[payload[-length:]]
        return None if ref is None or incr is None else (ref, incr)

    def _by_avro(self, payload: bytes | None) -> Increment:
        self._decoded += 1
        row, tail = self._read(payload)
        ref = self._resolve(row)
        if tail:
            prefix = payload[: -len(tail)]  # type: ignore[index]
            self._prefixes[prefix] = ref
            self._bytes += len(prefix)
        return ref, row.incr

    def _read(self, payload: bytes | None) -> tuple[Row, bytes]:
        """Return the row, and the bytes of its increment where it was of our own schema."""
        if not payload:
            raise RowError(Reason.EMPTY, "the message has no payload")
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise RowError(
                Reason.TOO_LARGE, f"{len(payload)} bytes, the limit is {MAX_PAYLOAD_BYTES}"
            )
        # An empty table name is never valid, so a leading zero is the frame of a schema registry.
        if payload[0] == 0:
            raise RowError(Reason.FRAMED, "a schema registry's frame; send the plain Avro datum")
        reason: tuple[Reason, str]
        try:
            source = io.BytesIO(payload)
            row = Row(**fastavro.schemaless_reader(source, self._schema, None))  # type: ignore[arg-type]
            tail = zigzag(row.incr)
            if source.tell() == len(payload):
                if payload.endswith(tail) and payload[-len(tail) - 1] < _CONTINUES:
                    return row, tail
                reason = (Reason.UNDECODABLE, "the increment is not a minimal varint")
            else:
                more = len(payload) - source.tell()
                reason = (Reason.TRAILING, f"{more} bytes after the row; see --writer-schema")
        except _UNDECODABLE as error:
            reason = (Reason.UNDECODABLE, type(error).__name__)
        if self._writer_schema is not None:
            try:
                source = io.BytesIO(payload)
                # Read as written: a reader's schema makes fastavro skip fields without a look.
                fields: Any = fastavro.schemaless_reader(source, self._writer_schema, None)
                if source.tell() == len(payload):
                    return Row(*map(fields.__getitem__, Row._fields)), b""
            except _UNDECODABLE:
                pass  # the reason above stands: neither schema reads it
        raise RowError(*reason)

    def _resolve(self, row: Row) -> CounterRef:
        keys = self._tables.get(row.table)
        if keys is None:
            raise RowError(Reason.TABLE, "the row's table is not in --table")
        check_limits(row)
        if not self._min <= row.incr <= self._max:
            raise RowError(Reason.INCR_OUT_OF_BOUNDS, f"not in {self._min}..{self._max}")
        name = row.counter or self._default
        if name in (keys.hash_name, keys.range_name):
            raise RowError(Reason.COUNTER_NAME, "the counter is a key attribute of the table")
        if (row.range is None) != (keys.range_name is None):
            if row.range is None:
                raise RowError(Reason.RANGE_MISSING, f"table {row.table} has a range key")
            raise RowError(Reason.RANGE_UNEXPECTED, f"table {row.table} has no range key")
        hash_key = key_value(row.key, keys.hash_type)
        range_key = None
        if row.range is not None:
            range_key = key_value(row.range, keys.range_type or "S")
        return CounterRef(row.table, hash_key, range_key, name)


def _places_of_none(values: Sequence[object]) -> Iterator[int]:
    return compress(count(), map(is_, values, repeat(None)))


def _tail_length(payload: bytes) -> int:
    """Return how many of the last bytes look like one varint."""
    length = 1
    while length < min(len(payload), _MAX_VARINT + 1) and payload[-length - 1] >= _CONTINUES:
        length += 1
    return length


class _Varints(dict[bytes, int]):
    """Bytes of a minimal zigzag varint -> its number; None for other bytes or one out of bounds.

    ``failed`` counts how often it was None.
    """

    def __init__(self, least: int, most: int) -> None:
        super().__init__()
        self.failed = 0
        self._least, self._most = max(least, INT64_MIN), min(most, INT64_MAX)

    def __missing__(self, raw: bytes) -> int | None:
        if 0 < len(raw) <= _MAX_VARINT:
            value = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(raw))
            number = (value >> 1) ^ -(value & 1)
            if self._least <= number <= self._most and zigzag(number) == raw:
                if len(self) >= _VARINT_ENTRIES:
                    self.clear()
                self[raw] = number
                return number
        self.failed += 1
        return None


def zigzag(number: int) -> bytes:
    """Return an int64 as Avro writes a long."""
    value = (number << 1) ^ (number >> 63)
    out = bytearray()
    while value >= _CONTINUES:
        out.append(value & 0x7F | _CONTINUES)
        value >>= 7
    out.append(value)
    return bytes(out)
