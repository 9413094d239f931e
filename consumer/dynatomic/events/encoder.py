"""From a row to its message. Names that were encoded before are not encoded again.

Most rows name an item and a counter that an earlier row named. ``incr`` is the last field of the
schema, so a payload is a prefix, which depends on the names only, and the increment. The memo has
the prefix and the message key by the names. It changes no byte: `Encoder.message` gives what
`schema.encode` and `message_key` give.
"""

from dynatomic.events.payload import Names, zigzag
from dynatomic.events.row import INT64_MAX, INT64_MIN, Row, check
from dynatomic.events.schema import encode

_MAX_ENTRIES = 100_000
_MAX_BYTES = 16 * 1024 * 1024
_MAX_VARINTS = 65_536
_ENTRY_BYTES = 400  # the objects of an entry without the characters of the names


def message_key(row: Row) -> bytes:
    """Return the key of the row's message: ``table/key`` or ``table/key/range``."""
    if row.range is None:
        return f"{row.table}/{row.key}".encode()
    return f"{row.table}/{row.key}/{row.range}".encode()


class Encoder:
    """Encodes rows, with a bounded memo. Threads may share it: an entry is only ever replaced."""

    def __init__(self) -> None:
        self._memo: dict[Names, tuple[bytes, bytes]] = {}
        self._bytes = 0
        self._varints: dict[int, bytes] = {}

    def message(self, row: Row) -> tuple[bytes, bytes]:
        """Return payload and key of the row's message; raises RowError if `row.check` does."""
        try:
            incr = row.incr
        except AttributeError:
            check(row)  # raises an error that names the wrong type
            raise
        try:
            entry = self._memo.get(row[:4])
        except TypeError:  # a name of a wrong type
            entry = None
        # True and 1.0 are equal to 1, so the memo of varints would take them.
        if entry is None or type(incr) is not int or not INT64_MIN <= incr <= INT64_MAX:
            entry = self._remember(check(row))
        prefix, key = entry
        varint = self._varints.get(incr)
        if varint is None:
            varint = zigzag(incr)
            if len(self._varints) >= _MAX_VARINTS:
                self._varints.clear()
            self._varints[incr] = varint
        return prefix + varint, key

    def _remember(self, row: Row) -> tuple[bytes, bytes]:
        prefix, key = encode(row._replace(incr=0))[:-1], message_key(row)
        self._bytes += _ENTRY_BYTES + 3 * len(key)
        if len(self._memo) >= _MAX_ENTRIES or self._bytes > _MAX_BYTES:
            self._memo.clear()
            self._bytes = _ENTRY_BYTES + 3 * len(key)
        self._memo[row[:4]] = prefix, key
        return prefix, key
