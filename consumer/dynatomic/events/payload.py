"""Reads and checks one payload, without a memo: what it adds to which counter."""

import io
from collections.abc import Collection, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any

import fastavro

from dynatomic.errors import RowError
from dynatomic.events.row import (
    INT64_MAX,
    INT64_MIN,
    MAX_PAYLOAD_BYTES,
    CounterRef,
    KeySchema,
    Reason,
    Row,
    check_limits,
    counter_ref,
)
from dynatomic.events.schema import schema

Names = tuple[str, str, str | None, str | None]
"""The fields of a row without the increment."""

CONTINUES = 0x80
"""The bit of a byte of a varint that means that more bytes follow."""

# fastavro raises one of these for malformed bytes.
_UNDECODABLE = (EOFError, IndexError, ValueError, OverflowError, MemoryError)

_names = itemgetter(*Row._fields[:-1])


class PayloadReader:
    """Reads rows for the given tables, in ``writer_schema`` if there is one, or in ``row.avsc``.

    A row in ``row.avsc`` is too short for a schema with more fields, so it is then read in
    ``row.avsc``. If both fail, the row is rejected with the error of ``row.avsc``. With
    ``allowed_counters``, a row may name only these and the default counter.
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
        self._tables = tables
        self._max_bytes = max_bytes
        self._default = default_counter
        self._allowed = frozenset({*allowed_counters, default_counter} if allowed_counters else ())
        self.min_incr, self.max_incr = max(min_incr, INT64_MIN), min(max_incr, INT64_MAX)
        self._schema = schema()
        self._writer_schema = writer_schema

    def read(self, payload: bytes | None) -> tuple[Names, int, bytes]:
        """Return names, increment, and the bytes of the increment if the row is in ``row.avsc``.

        Raises RowError for a payload that is not a row. `resolve` makes the other checks.
        """
        if not payload:
            raise RowError(Reason.EMPTY, "the message has no payload")
        if len(payload) > self._max_bytes:
            raise RowError(
                Reason.TOO_LARGE,
                f"{len(payload)} bytes, the limit is {self._max_bytes}: see --max-payload-bytes",
            )
        # An empty table name is never valid, so a leading zero is the frame of a schema registry.
        if payload[0] == 0:
            raise RowError(Reason.FRAMED, "a schema registry's frame; send the plain Avro datum")
        reason: tuple[Reason, str]
        fields: Any
        if self._writer_schema is not None:
            try:
                source = io.BytesIO(payload)
                # Without a reader schema, because fastavro skips fields with one and does not check
                # them.
                fields = fastavro.schemaless_reader(source, self._writer_schema, None)
                if source.tell() == len(payload):
                    return _names(fields), fields["incr"], b""
            except _UNDECODABLE:
                pass  # it may be a row in row.avsc
        try:
            source = io.BytesIO(payload)
            fields = fastavro.schemaless_reader(source, self._schema, None)
            if source.tell() == len(payload):
                tail = zigzag(fields["incr"])
                if payload.endswith(tail) and payload[-len(tail) - 1] < CONTINUES:
                    return _names(fields), fields["incr"], tail
                # A name that ends with a non-ASCII character looks like the start of a longer
                # varint.
                check_limits(Row(**fields))
                reason = (Reason.UNDECODABLE, "the increment is not a minimal varint")
            else:
                more = len(payload) - source.tell()
                reason = (Reason.TRAILING, f"{more} bytes after the row; see --writer-schema")
        except _UNDECODABLE as error:
            reason = _undecodable(payload, error)
        raise RowError(*reason)

    def resolve(self, names: Names, incr: int) -> CounterRef:
        """Return the counter that the row names; raises RowError if nothing may be added to it.

        It also checks the bounds of the increment, as `in_bounds` does.
        """
        row = Row._make((*names, incr))
        keys = self._tables.get(row.table)
        if keys is None:
            raise RowError(Reason.TABLE, "the row's table is not in --table")
        check_limits(row)
        if not self.in_bounds(incr):
            bounds = f"{self.min_incr}..{self.max_incr}"
            raise RowError(Reason.INCR_OUT_OF_BOUNDS, f"not in {bounds}")
        name = row.counter or self._default
        if self._allowed and name not in self._allowed:
            raise RowError(Reason.COUNTER_NAME, "the counter is not in --allow-counter")
        return counter_ref(row, name, keys)

    def in_bounds(self, incr: int) -> bool:
        """Return whether the increment is within the bounds."""
        return self.min_incr <= incr <= self.max_incr


_OTHER_FORMATS = (
    (b"\x03\x00", Reason.FRAMED, "the header of the AWS Glue Schema Registry; send plain Avro"),
    (b"\x03\x05", Reason.FRAMED, "the header of the AWS Glue Schema Registry; send plain Avro"),
    (b"\xc3\x01", Reason.FRAMED, "the header of Avro's single-object encoding; send plain Avro"),
    (b"Obj\x01", Reason.UNDECODABLE, "an Avro container file; send one datum for each event"),
    (b"{", Reason.UNDECODABLE, "JSON; send Avro, as `dynatomic produce` does"),
    (b"[", Reason.UNDECODABLE, "JSON; send Avro, as `dynatomic produce` does"),
)
"""The first bytes of other formats. In a row, each would be a negative length of a name."""


def _undecodable(payload: bytes, error: Exception) -> tuple[Reason, str]:
    """Return reason and detail for bytes that are not a row, with the name of a known format."""
    for start, reason, detail in _OTHER_FORMATS:
        if payload.lstrip().startswith(start):
            return reason, detail
    if isinstance(error, UnicodeDecodeError):
        return Reason.UNDECODABLE, "a text is not UTF-8"
    if isinstance(error, EOFError | IndexError):
        return Reason.UNDECODABLE, "the bytes end before the row does"
    return Reason.UNDECODABLE, "the bytes are not a row"


@lru_cache(maxsize=4096)
def zigzag(increment: int) -> bytes:
    """Return an int64 as Avro writes a long."""
    value = (increment << 1) ^ (increment >> 63)
    out = bytearray()
    while value >= CONTINUES:
        out.append(value & 0x7F | CONTINUES)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(payload: bytes) -> Row:
    """Return the row of a payload, for tests and tools; raises RowError as the consumer does.

    It does not check the names against tables, because it knows none.
    """
    names, incr, _ = PayloadReader({}).read(payload)
    return check_limits(Row._make((*names, incr)))
