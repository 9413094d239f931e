"""Avro payloads, decoded with the schema that they were written with."""

import io
from collections.abc import Callable
from typing import Any, Final

import fastavro

from dynatomic.counting.formats.framing import Framing, RecordHeaders, unframed
from dynatomic.counting.formats.schemas import SchemaSource
from dynatomic.counting.reasons import EventRejected, RejectReason

_NO_DATUM: Final = (EOFError, LookupError, ValueError, OverflowError, TypeError, MemoryError)


def avro_decoder(framing: Framing, schemas: SchemaSource) -> Callable[[bytes, RecordHeaders], Any]:
    """Return the function from a payload and its headers to the datum in it.

    The function raises EventRejected, and what ``schemas`` raises.
    """
    read = fastavro.schemaless_reader

    def decode(value: bytes, headers: RecordHeaders) -> Any:
        key, payload = unframed(framing, value, headers)
        schema = schemas.schema(key)
        source = io.BytesIO(payload)
        try:
            datum = read(source, schema.parsed)
        except UnicodeDecodeError:
            raise EventRejected(RejectReason.UNDECODABLE, f"not UTF-8 in a text of {key}") from None
        except _NO_DATUM:
            raise EventRejected(RejectReason.UNDECODABLE, f"the bytes are not of {key}") from None
        if source.tell() != len(payload):
            detail = f"there are bytes after the datum of {key}"
            raise EventRejected(RejectReason.UNDECODABLE, detail)
        return datum

    return decode
