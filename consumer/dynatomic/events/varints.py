"""Avro's varints of increments, by their bytes (Avro specification: binary encoding of a long)."""

from collections.abc import Callable

from dynatomic.events.payload import CONTINUES, zigzag

MAX_VARINT_BYTES = 10
_MAX_ENTRIES = 65_536


def tail_length(payload: bytes) -> int:
    """Return how many of the last bytes can be one varint."""
    length = 1
    while length < min(len(payload), MAX_VARINT_BYTES + 1) and payload[-length - 1] >= CONTINUES:
        length += 1
    return length


class Varints(dict[bytes, int]):
    """A memo from the bytes of a minimal zigzag varint to its value.

    The value is None for other bytes, and for a value that is out of bounds.
    """

    def __init__(self, in_bounds: Callable[[int], bool]) -> None:
        super().__init__()
        self._in_bounds = in_bounds

    def __missing__(self, raw: bytes) -> int | None:
        if 0 < len(raw) <= MAX_VARINT_BYTES:
            encoded = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(raw))
            value = (encoded >> 1) ^ -(encoded & 1)
            if self._in_bounds(value) and zigzag(value) == raw:
                if len(self) >= _MAX_ENTRIES:
                    self.clear()
                self[raw] = value
                return value
        return None
