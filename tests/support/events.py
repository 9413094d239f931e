"""Row events and what they add up to, as the tests understand them.

Nothing here uses the product: its own encoder could be wrong in the same way as its decoder.
"""

from collections import Counter
from typing import NamedTuple


class Event(NamedTuple):
    """One row event, as this suite understands it."""

    table: str
    key: str
    range: str | None = None
    counter: str | None = None
    incr: int = 1


Ref = tuple[str, str, str | None, str]
Log = Counter[Ref]
"""What every counter must hold: (table, key, range, attribute) to sum."""


def ref(event: Event) -> Ref:
    return event.table, event.key, event.range, event.counter or "count"


def avro(event: Event) -> bytes:
    """Encode by hand: the product's own encoder could be wrong in the same way as its decoder."""

    def long(number: int) -> bytes:
        rest, out = (number << 1) ^ (number >> 63), bytearray()
        while rest > 0x7F:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        return bytes([*out, rest])

    def text(value: str) -> bytes:
        raw = value.encode()
        return long(len(raw)) + raw

    def optional(value: str | None) -> bytes:
        return long(0) if value is None else long(1) + text(value)

    fields = text(event.table) + text(event.key) + optional(event.range)
    return fields + optional(event.counter) + long(event.incr)


def lower(log: Log, found: Log) -> dict[Ref, tuple[int, int]]:
    """Return the counters that miss something: expected and found."""
    return {r: (n, found[r]) for r, n in log.items() if found[r] < n}


def higher(log: Log, found: Log) -> dict[Ref, tuple[int, int]]:
    """Return the counters that hold too much: expected and found."""
    return {r: (log[r], n) for r, n in found.items() if n > log[r]}
