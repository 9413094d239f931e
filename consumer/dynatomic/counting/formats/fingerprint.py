"""The fingerprint by which Avro's single-object encoding names a schema."""

import json

import fastavro

from dynatomic.counting.formats.avro_schema import UNPARSABLE, SchemaRefusedError


def fingerprint(text: str) -> str:
    """Return the CRC-64-AVRO fingerprint of a schema, as hex digits in the order of the payload.

    It is that of the parsing canonical form (Avro specification), little-endian in payloads.
    Raises SchemaRefusedError.
    """
    try:
        canonical = fastavro.schema.to_parsing_canonical_form(json.loads(text))
        fingerprint = str(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
        return bytes.fromhex(fingerprint)[::-1].hex()
    except UNPARSABLE:
        raise SchemaRefusedError("it has no parsing canonical form") from None
