"""Avro events for tests, written by fastavro."""

import io
import json
from decimal import Decimal
from typing import Any, Final

import fastavro

from dynatomic.counting.formats.avro_schema import AvroSchema, read_schema
from dynatomic.counting.formats.schemas import SchemaKey, SchemaUnavailableError, schema_unknown

ORDER: Final[dict[str, Any]] = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "customer", "type": "string"},
        {
            "name": "total",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
        },
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["paid", "back"]}},
        {"name": "coupon", "type": ["null", "string"], "default": None},
    ],
}
TEXT: Final = json.dumps(ORDER)
COUNTERS: Final = """
time = "time"
time_unit = "ms"

[[counter]]
name = "revenue"
table = "orders"
key = "{customer}"
range = "{time|day}"
add = { orders = 1, cents = { path = "total", scale = 2 } }
"""


def datum(schema: Any = None, **fields: Any) -> bytes:
    """Return an order as Avro writes it."""
    order = {"time": 1764000000000, "customer": "c", "total": Decimal(0), "state": "paid", **fields}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema or ORDER), order)
    return out.getvalue()


class FakeSchemas:
    """A registry that knows some schemas, and says of others that it does not answer."""

    def __init__(self, known: dict[SchemaKey, str], unavailable: SchemaKey | None = None) -> None:
        self._known = {key: read_schema([text]) for key, text in known.items()}
        self._unavailable = unavailable

    def schema(self, key: SchemaKey) -> AvroSchema:
        """Return a schema."""
        if key == self._unavailable:
            raise SchemaUnavailableError("the registry does not answer")
        if key not in self._known:
            raise schema_unknown(key)
        return self._known[key]
