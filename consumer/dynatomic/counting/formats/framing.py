"""What producers put before a payload, or into a header, to name its schema.

Confluent's serializers write ``00`` and a schema id of four bytes before the payload, or ``01``
and a GUID of 16 bytes; or they write the same bytes into the header ``__value_schema_id`` and
leave the payload as it is. AWS Glue's write ``03``, a compression byte (``00`` none, ``05`` zlib),
and the UUID of a schema version. Avro's single-object encoding is ``C3 01`` and the fingerprint of
the schema in eight bytes.
"""

import uuid
import zlib
from collections.abc import Sequence
from typing import Final, Literal

from dynatomic.counting.formats.schemas import SchemaKey
from dynatomic.counting.reasons import EventRejected, RejectReason

Framing = Literal["confluent", "glue", "single-object", "none"]
RecordHeaders = Sequence[tuple[str, bytes | None]] | None

FRAMINGS: Final = ("confluent", "glue", "single-object", "none")
CONFLUENT_HEADER: Final = "__value_schema_id"

_ID, _GUID = 0, 1
_ID_BYTES: Final = 5
_GUID_BYTES: Final = 17
_GLUE_BYTES: Final = 18
_SINGLE_OBJECT_BYTES: Final = 10
_GLUE_VERSION, _GLUE_PLAIN, _GLUE_ZLIB = 3, 0, 5
MAX_INFLATED_BYTES: Final = 8 * 1024 * 1024

_FILE: Final = SchemaKey("file", "")


def unframed(framing: Framing, value: bytes, headers: RecordHeaders) -> tuple[SchemaKey, bytes]:
    """Return the key of the payload's schema, and the payload.

    Raises EventRejected without a frame.
    """
    if framing == "confluent":
        return _confluent(value, headers)
    if framing == "glue":
        return _glue(value)
    if framing == "single-object":
        if len(value) < _SINGLE_OBJECT_BYTES or value[:2] != b"\xc3\x01":
            raise _not_framed("the payload does not begin with C3 01 and a fingerprint")
        return SchemaKey("fingerprint", value[2:10].hex()), value[_SINGLE_OBJECT_BYTES:]
    return _FILE, value


def _confluent(value: bytes, headers: RecordHeaders) -> tuple[SchemaKey, bytes]:
    for name, header in reversed(headers or ()):
        if name == CONFLUENT_HEADER and header:
            if header[0] == _ID and len(header) == _ID_BYTES:
                return _id(header), value
            if header[0] == _GUID and len(header) == _GUID_BYTES:
                return _guid(header), value
            raise _not_framed(f"the header {CONFLUENT_HEADER} is no schema id")
    if len(value) >= _ID_BYTES and value[0] == _ID:
        return _id(value), value[_ID_BYTES:]
    if len(value) >= _GUID_BYTES and value[0] == _GUID:
        return _guid(value), value[_GUID_BYTES:]
    raise _not_framed("the payload does not begin with 00 and a schema id")


def _id(data: bytes) -> SchemaKey:
    return SchemaKey("id", str(int.from_bytes(data[1:_ID_BYTES], "big")))


def _guid(data: bytes) -> SchemaKey:
    return SchemaKey("guid", str(uuid.UUID(bytes=data[1:_GUID_BYTES])))


def _glue(value: bytes) -> tuple[SchemaKey, bytes]:
    if len(value) < _GLUE_BYTES or value[0] != _GLUE_VERSION:
        raise _not_framed("the payload does not begin with 03, a compression byte and a UUID")
    key = SchemaKey("glue", str(uuid.UUID(bytes=value[2:_GLUE_BYTES])))
    payload = value[_GLUE_BYTES:]
    if value[1] == _GLUE_PLAIN:
        return key, payload
    if value[1] != _GLUE_ZLIB:
        raise _not_framed(f"the compression byte {value[1]:02x} is not 00 or 05")
    inflater = zlib.decompressobj()
    try:
        payload = inflater.decompress(payload, MAX_INFLATED_BYTES)
    except zlib.error:
        raise EventRejected(RejectReason.UNDECODABLE, "the payload is not zlib") from None
    if inflater.unconsumed_tail:
        detail = f"the payload has more than {MAX_INFLATED_BYTES} bytes without compression"
        raise EventRejected(RejectReason.UNDECODABLE, detail)
    if not inflater.eof or inflater.unused_data:
        raise EventRejected(RejectReason.UNDECODABLE, "the payload is not zlib")
    return key, payload


def _not_framed(detail: str) -> EventRejected:
    return EventRejected(RejectReason.NOT_FRAMED, detail)
