"""One payload read and checked, without a memory of others: what it adds to which counter."""

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
"""The fields of a row but the increment."""

CONTINUES = 0x80
"""The bit of a varint's byte that says that more bytes follow."""

# Bytes that fastavro trips over end in one of these.
_UNDECODABLE = (EOFError, IndexError, ValueError, OverflowError, MemoryError)

_names = itemgetter(*Row._fields[:-1])


class PayloadReader:
    """Reads rows for the given tables, of ``writer_schema`` if there is one, or of our own schema.

    A row of our own is cut short for a schema with more fields, so it is read on the second try;
    what neither reads is rejected for what our own schema makes of it. With ``allowed_counters``,
    a row may name these and the default counter only.
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
        """Return names, increment, and the increment's bytes where it was of our own schema.

        Raises RowError for what is no row; `resolve` checks the rest.
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
                # Read as written: a reader's schema makes fastavro skip fields without a look.
                fields = fastavro.schemaless_reader(source, self._writer_schema, None)
                if source.tell() == len(payload):
                    return _names(fields), fields["incr"], b""
            except _UNDECODABLE:
                pass  # a row of our own schema, or none
        try:
            source = io.BytesIO(payload)
            fields = fastavro.schemaless_reader(source, self._schema, None)
            if source.tell() == len(payload):
                tail = zigzag(fields["incr"])
                if payload.endswith(tail) and payload[-len(tail) - 1] < CONTINUES:
                    return _names(fields), fields["incr"], tail
                # A name that ends outside of ASCII looks like the begin of a longer varint.
                check_limits(Row(**fields))
                reason = (Reason.UNDECODABLE, "the increment is not a minimal varint")
            else:
                more = len(payload) - source.tell()
                reason = (Reason.TRAILING, f"{more} bytes after the row; see --writer-schema")
        except _UNDECODABLE as error:
            reason = _undecodable(payload, error)
        raise RowError(*reason)

    def resolve(self, names: Names, incr: int) -> CounterRef:
        """Return the counter that is named; raises RowError if nothing may be added to it.

        Of the increment it checks the bounds only, as `in_bounds` does.
        """
        row = Row(*names, incr)
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
        """Tell whether a row may add this much."""
        return self.min_incr <= incr <= self.max_incr


_OTHER_FORMATS = (
    (b"\x03\x00", Reason.FRAMED, "the header of the AWS Glue Schema Registry; send plain Avro"),
    (b"\x03\x05", Reason.FRAMED, "the header of the AWS Glue Schema Registry; send plain Avro"),
    (b"\xc3\x01", Reason.FRAMED, "the header of Avro's single-object encoding; send plain Avro"),
    (b"Obj\x01", Reason.UNDECODABLE, "an Avro container file; send one datum for each event"),
    (b"{", Reason.UNDECODABLE, "JSON; send Avro, as `dynatomic produce` does"),
    (b"[", Reason.UNDECODABLE, "JSON; send Avro, as `dynatomic produce` does"),
)
"""How payloads of other formats begin. In a row, each would be a negative length of a name."""


def _undecodable(payload: bytes, error: Exception) -> tuple[Reason, str]:
    """Return reason and detail for bytes that are no row; other formats are named."""
    for start, reason, detail in _OTHER_FORMATS:
        if payload.lstrip().startswith(start):
            return reason, detail
    if isinstance(error, UnicodeDecodeError):
        return Reason.UNDECODABLE, "a text is not UTF-8"
    if isinstance(error, EOFError | IndexError):
        return Reason.UNDECODABLE, "the bytes end before the row does"
    return Reason.UNDECODABLE, "the bytes are not a row"


@lru_cache(maxsize=4096)
def zigzag(number: int) -> bytes:
    """Return an int64 as Avro writes a long."""
    value = (number << 1) ^ (number >> 63)
    out = bytearray()
    while value >= CONTINUES:
        out.append(value & 0x7F | CONTINUES)
        value >>= 7
    out.append(value)
    return bytes(out)
