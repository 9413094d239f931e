"""What ``dynatomic demo`` counts: row events, or API events in JSON by a counters file."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path

from dynatomic.config.settings import Settings
from dynatomic.errors import DynatomicError
from dynatomic.events.row import KeySchema
from dynatomic.events.samples import samples
from dynatomic.kafka.client import new_producer, producer_config
from dynatomic.kafka.emitter import Emitter

TABLE = "demo-usage"
ROWS = 1_000

_CUSTOMERS, _DAYS = 200, 3
_ENDPOINTS = ("/v1/orders", "/v1/orders/{id}", "/v1/items", "/v1/search", "/v1/login", "/v1/me")
_FIRST_DAY = datetime(2026, 11, 27, tzinfo=UTC)
_STATUSES = (200, 200, 200, 200, 200, 201, 204, 304, 404, 503)
_FLUSH_S = 30.0

COUNTERS_FILE = f"""\
[event]
time = "time"

[[counter]]
name = "customer-day"
when = "status < `500`"
table = "{TABLE}"
key = "{{customer}}"
range = "day#{{time|day}}"
add = {{ requests = 1, bytes = "bytes" }}

[[counter]]
name = "endpoint-month"
table = "{TABLE}"
key = "{{endpoint}}"
range = "month#{{time|month}}"
add = {{ requests = 1 }}
"""

Send = Callable[[int], None]
"""Sends the event of this index."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Events to count. ``arguments`` are those of ``run`` and ``verify``.

    ``sender`` opens a producer. ``counters`` is how many counters the events name, and
    ``introduction`` what a reader must know of them.
    """

    arguments: Sequence[str]
    keys: KeySchema
    sender: Callable[[Settings], AbstractContextManager[Send]]
    counters: int
    introduction: Sequence[str] = ()

    @property
    def variable(self) -> str:
        """The environment variable of the setting in ``arguments``."""
        return "DYNATOMIC_COUNTERS" if self.arguments[0] == "--counters" else "DYNATOMIC_TABLES"


def row_workload(count: int, seed: int) -> Workload:
    """Return row events of `ROWS` counters."""
    rows = list(samples(table=TABLE, count=count, rows=ROWS, seed=seed))

    @contextmanager
    def sender(settings: Settings) -> Iterator[Send]:
        with Emitter(settings.bootstrap_servers, topic=settings.topic) as emit:
            yield lambda index: emit(rows[index % count])

    return Workload(("--table", TABLE), KeySchema("pk"), sender, ROWS)


def api_workload(count: int, seed: int, folder: Path) -> Workload:
    """Return requests to an API as JSON, and write their counters file into a folder."""
    events = list(api_events(count, seed))
    file = folder / "counters.toml"
    file.write_text(COUNTERS_FILE)
    customers = {(e["customer"], str(e["time"])[:10]) for e in events if int(e["status"]) < 500}  # noqa: PLR2004 - as in the file
    endpoints = {(e["endpoint"], str(e["time"])[:7]) for e in events}
    payloads = [(str(e["customer"]).encode(), json.dumps(e).encode()) for e in events]

    @contextmanager
    def sender(settings: Settings) -> Iterator[Send]:
        producer = new_producer(producer_config(settings))

        def send(index: int) -> None:
            key, value = payloads[index % count]
            producer.produce(settings.topic, key=key, value=value)
            producer.poll(0)

        yield send
        if producer.flush(_FLUSH_S):
            raise DynatomicError(f"not all events were stored within {_FLUSH_S:.0f} s")

    return Workload(
        ("--counters", str(file)),
        KeySchema("pk", "S", "rk", "S"),
        sender,
        2 * len(customers) + len(endpoints),
        (f"an event: {payloads[0][1].decode()}", f"{file.name}:", *COUNTERS_FILE.splitlines()),
    )


def api_events(count: int, seed: int) -> Iterator[dict[str, str | int]]:
    """Yield requests to an API, ordered by time. The same seed gives the same requests."""
    rng = random.Random(seed)  # noqa: S311 - samples, not secrets
    shares = list(accumulate(1 / rank for rank in range(1, _CUSTOMERS + 1)))
    customers = [f"c-{rank}" for rank in range(1, _CUSTOMERS + 1)]
    step = timedelta(days=_DAYS) / max(1, count)
    chosen = rng.choices(customers, cum_weights=shares, k=count)
    for index, customer in enumerate(chosen):
        moment = _FIRST_DAY + index * step
        yield {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "id": f"{rng.getrandbits(64):016x}",
            "customer": customer,
            "endpoint": rng.choice(_ENDPOINTS),
            "status": rng.choice(_STATUSES),
            "bytes": rng.randrange(100, 20_000),
        }
