"""Tables, payloads and writer schemas for the tests of the decoder."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro

from dynatomic.events.decoded import Decoded, Increment
from dynatomic.events.decoder import Decoder
from dynatomic.events.row import INT64_MAX, INT64_MIN, KeySchema, Row
from dynatomic.events.schema import encode, load_writer_schema

AVSC = Path(__file__).parents[2] / "schemas" / "row.avsc"
TABLES = {
    "text": KeySchema("pk"),
    "text-range": KeySchema("pk", "S", "rk", "S"),
    "number": KeySchema("pk", "N"),
    "mixed-range": KeySchema("hash", "S", "sort", "N"),
}
# Zigzag varints grow by a byte at each of these.
EDGES = sorted(
    {sign * 2**bits + step for bits in range(64) for sign in (1, -1) for step in (-1, 0)}
)
INT64 = [n for n in EDGES if INT64_MIN <= n <= INT64_MAX]
GOOD = encode(Row("text", "k", incr=3))
"""A payload that is counted."""


def plain(payload: bytes | None, **options: Any) -> Increment | tuple[str, str]:
    """Decode one payload with a decoder that has seen no other."""
    return verdicts(Decoder(TABLES, **options).decode([payload]))[0]


def summed(found: Decoded) -> list[Increment]:
    """Return what decoding gave, where nothing was rejected."""
    assert not found.rejected
    return found.increments


def verdicts(decoded: Decoded) -> list[Increment | tuple[str, str]]:
    """Return an increment or a reason and its detail for each payload."""
    found: list[Increment | tuple[str, str]] = list(decoded.increments)
    for index, error in decoded.rejected.items():
        found[index] = (error.reason, error.detail)
    return found


def reason_of(payload: bytes | None, **options: Any) -> str:
    decoded = Decoder(TABLES, **options).decode([payload])
    assert list(decoded.rejected) == [0]
    return decoded.rejected[0].reason


def later_payload(raw: dict[str, Any], row: Row, **more: Any) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(raw), row._asdict() | more)
    return out.getvalue()


def later_schema(*fields: tuple[str, Any], **changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(AVSC.read_text())
    return raw | {"fields": raw["fields"] + [{"name": n, "type": t} for n, t in fields]} | changes


def writer_schema(folder: Path, raw: dict[str, Any]) -> Any:
    path = folder / "later.avsc"
    path.write_text(json.dumps(raw))
    return load_writer_schema(path)
