"""The headers of an event that was replayed from a dead letter.

They mean something only together with `REPLAY`. They let a replayed event count as the original one
would have: with its Kafka timestamp, and by the counters that did not count it.
"""

import json
from collections.abc import Sequence

REPLAY = "dynatomic.replay"
"""The header of a replayed event: the partition and offset of the original one."""

TIMESTAMP = "dynatomic.timestamp"
"""The header with the Kafka timestamp of the event, in milliseconds of Unix time."""

COUNTERS = "dynatomic.counters"
"""The header with the counters that the table refused, if it took others: a JSON array of names.

A replay carries it on, and only these counters take the replayed event.
"""

Headers = Sequence[tuple[str, bytes | None]]


def original_timestamp_ms(headers: Headers, timestamp_ms: int | None) -> int | None:
    """Return the Kafka timestamp of an event: that of the original one, if it was replayed.

    None if it has none.
    """
    fields = dict(headers)
    text = fields.get(TIMESTAMP) if REPLAY in fields else None
    known = None if text is None else milliseconds(text)
    return timestamp_ms if known is None else known


def milliseconds(text: bytes) -> int | None:
    """Return the number in a header `TIMESTAMP`, None if it is not of this form."""
    return int(text) if text.isdigit() and len(text) < 16 else None  # noqa: PLR2004 - year 9999


def counters_of_replay(headers: Headers) -> tuple[str, ...] | None:
    """Return the counters that may take a replayed event, None if all of them may."""
    fields = dict(headers)
    text = fields.get(COUNTERS) if REPLAY in fields else None
    return None if text is None else read_counters(text)


def read_counters(text: bytes) -> tuple[str, ...] | None:
    """Return the names in a header `COUNTERS`, None if it is not of this form."""
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        return None
    return tuple(names)
