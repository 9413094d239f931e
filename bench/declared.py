"""Events of other formats, and the counters file that the benchmark counts them with.

Each event has an id and a time of its own, so that no payload repeats. It adds to two counters: the
requests and bytes of a customer and day, unless the status is 500, and all requests of a customer,
route and month.
"""

import io
import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import fastavro

from tests.support.registry_server import fake_registry

Format = Literal["row", "json", "avro"]

_START_MS: Final = 1_795_910_400_000
_STRIDE: Final = 7919  # has no common factor with 1000
_FAILED: Final = 10
"""One event of so many has the status 500."""

SCHEMA: Final[dict[str, Any]] = {
    "type": "record",
    "name": "Request",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "customer", "type": "string"},
        {"name": "plan", "type": {"type": "enum", "name": "Plan", "symbols": ["free", "pro"]}},
        {"name": "method", "type": "string"},
        {"name": "route", "type": "string"},
        {"name": "status", "type": "int"},
        {"name": "bytes", "type": "long"},
        {"name": "ms", "type": "double"},
        {"name": "referrer", "type": ["null", "string"], "default": None},
    ],
}
_FRAME: Final = b"\0\0\0\0\x07"
_COUNTERS: Final = """
time = "time"
max_age = "36500d"
max_ahead = "36500d"
{time_unit}

[[counter]]
name = "daily"
when = "{status} < `500`"
table = "bench"
key = "{{{customer}}}#day#{{time|day}}"
add = {{ requests = 1, bytes = "{bytes}" }}

[[counter]]
name = "routes"
table = "bench"
key = "{{{customer}}}#month#{{time|month}}#{{{route}}}"
add = {{ requests = 1 }}
"""


def size(number: int) -> int:
    """Return the bytes that the request with this number sent."""
    return 100 + number * _STRIDE % 1000


def total(events: int) -> int:
    """Return the sum of all that the first events add."""
    return events + sum(1 + size(n) for n in range(events) if n % _FAILED)


def payload(event_format: Format, number: int, customer: int) -> bytes:
    """Return the event with this number."""
    status = 200 if number % _FAILED else 500
    route = f"/v1/{('users', 'orders', 'files', 'search')[number % 4]}"
    event_id = str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128))
    time_ms = _START_MS + number
    if event_format == "avro":
        event = {
            "id": event_id,
            "time": time_ms,
            "customer": f"c-{customer}",
            "plan": "pro",
            "method": "GET",
            "route": route,
            "status": status,
            "bytes": size(number),
            "ms": number % 900 / 10,
            "referrer": None if number % 2 else "https://example.org",
        }
        out = io.BytesIO(_FRAME)
        out.seek(0, io.SEEK_END)
        fastavro.schemaless_writer(out, _PARSED, event)
        return out.getvalue()
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    text = {
        "id": event_id,
        "source": "gateway-eu-1",
        "type": "api.request",
        "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "tenant": {"id": f"c-{customer}", "plan": "pro"},
        "http": {
            "method": "GET",
            "route": route,
            "status": status,
            "bytes_in": number % 800,
            "bytes_out": size(number),
            "ms": number % 900 / 10,
        },
        "trace": event_id[:16],
        "agent": "python-requests/2.32",
    }
    return json.dumps(text, separators=(",", ":")).encode()


_PARSED: Final = fastavro.parse_schema(
    {
        **SCHEMA,
        "fields": [
            {**field, "type": "long"} if field["name"] == "time" else field
            for field in SCHEMA["fields"]
        ],
    }
)


def counters_file(event_format: Format, folder: Path, stack: ExitStack) -> Path:
    """Write the counters file; Avro gets a registry, which runs until the end of the stack."""
    head = '[event]\nformat = "json"\n'
    names = {
        "status": "http.status",
        "customer": "tenant.id",
        "bytes": "http.bytes_out",
        "route": "http.route",
        "time_unit": "",
    }
    if event_format == "avro":
        registry = stack.enter_context(fake_registry())
        registry.add(7, SCHEMA)
        head = f'[event]\nformat = "avro"\nregistry = "{registry.url}"\n'
        names = {name: name for name in ("status", "customer", "bytes", "route")}
        names["time_unit"] = 'time_unit = "ms"'
    path = folder / "counters.toml"
    path.write_text(head + _COUNTERS.format(**names))
    return path


def messages(
    event_format: Format, choices: Iterator[list[int]]
) -> Iterator[list[tuple[bytes, bytes | None]]]:
    """Yield the events of these customers with their keys, in chunks."""
    number = 0
    for chunk in choices:
        yield [
            (payload(event_format, n, customer), b"c-%d" % customer)
            for n, customer in enumerate(chunk, number)
        ]
        number += len(chunk)
