"""The row event: its fields, its limits, and the counter that it names.

A payload is a plain Avro datum of ``schemas/row.avsc``. Limits of keys and numbers are
DynamoDB's (AWS: *Constraints in Amazon DynamoDB*; *Naming rules and data types*).
"""

import json
import re
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Self

from dynatomic.config.checks import COUNTER_NAME, TABLE_NAME
from dynatomic.errors import ConfigError, RowError, suggestion

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
MAX_PAYLOAD_BYTES = 1024 * 1024
"""The default of the setting `max_payload_bytes`."""
MAX_KEY_BYTES = 2048
MAX_RANGE_BYTES = 1024


KeyType = Literal["S", "N"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_DIGITS_38 = Context(prec=38)


class Reason(StrEnum):
    """Why a row cannot be counted. Dead-letter headers and metrics contain these words."""

    EMPTY = "empty-payload"
    TOO_LARGE = "payload-too-large"
    FRAMED = "registry-framed"
    UNDECODABLE = "undecodable"
    TRAILING = "trailing-bytes"
    TABLE = "table-not-allowed"
    KEY_EMPTY = "key-empty"
    KEY_TOO_LARGE = "key-too-large"
    KEY_NOT_A_NUMBER = "key-not-a-number"
    RANGE_MISSING = "range-missing"
    RANGE_UNEXPECTED = "range-unexpected"
    COUNTER_NAME = "counter-name"
    COUNTER_NOT_A_NUMBER = "counter-not-a-number"
    INCR_OUT_OF_BOUNDS = "incr-out-of-bounds"
    REFUSED = "refused-by-dynamodb"
    BATCH_UNREADABLE = "batch-unreadable"


class _RowFields(NamedTuple):
    table: str
    key: str
    range: str | None = None
    counter: str | None = None
    incr: int = 1


class Row(_RowFields):
    """One increment of one counter.

    All but ``table`` and ``key`` are given by name: a third text could be a range or a counter.

    ``counter`` None means the default attribute of the consumer (``count``). ``range`` None means
    that the table has no range key. ``incr`` is an int64.
    """

    __slots__ = ()

    def __new__(
        cls,
        table: str,
        key: str,
        *,
        range: str | None = None,  # noqa: A002 - the field of the schema
        counter: str | None = None,
        incr: int = 1,
    ) -> Self:
        """Make a row. It is checked when it is encoded."""
        return tuple.__new__(cls, (table, key, range, counter, incr))

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how copy and pickle make it again."""
        return Row._make, (tuple(self),)

    @classmethod
    def from_json(cls, text: str) -> "Row":
        """Read one JSON object with the fields of a row; raises RowError if it is not one."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RowError(Reason.UNDECODABLE, f"not JSON: {_json_problem(error)}") from None
        if not isinstance(fields, dict):
            raise RowError(Reason.UNDECODABLE, "not a JSON object")
        if unknown := sorted(fields.keys() - set(cls._fields)):
            names = ", ".join(map(ascii, unknown))
            similar = suggestion(unknown[0], cls._fields)
            raise RowError(Reason.UNDECODABLE, f"no such field: {names}{similar}")
        if missing := sorted({"table", "key"} - fields.keys()):
            raise RowError(Reason.UNDECODABLE, f"field missing: {', '.join(missing)}")
        return check(cls(**fields))


class CounterRef(NamedTuple):
    """One counter: the attribute ``name`` of the item (``table``, ``key``, ``range``)."""

    table: str
    key: str
    range: str | None
    name: str


@dataclass(frozen=True, slots=True)
class KeySchema:
    """Names and types of a table's key attributes; ``range_name`` None if it has no range key.

    ``index_names`` are the key attributes of its indexes. ``ttl_name`` is the TTL attribute, None
    if there is none or it is not known. No counter may have one of these names.
    """

    hash_name: str
    hash_type: KeyType = "S"
    range_name: str | None = None
    range_type: KeyType | None = None
    index_names: frozenset[str] = frozenset()
    ttl_name: str | None = None


def check_table_name(name: str) -> str:
    """Return the name; raises ConfigError if it is not the name of a DynamoDB table."""
    if not TABLE_NAME.fullmatch(name):
        hint = (
            "give the name, not the ARN" if name.startswith("arn:") else "3 to 255 of A-Za-z0-9_.-"
        )
        raise ConfigError(f"{name!r} is not a table name: {hint}")
    return name


def check_counter_name(name: str) -> str:
    """Return the name; raises RowError if a counter cannot have it.

    Statements contain it in quotes, so it has no quote. It has no ``#`` (DynamoDB Local), and is
    not the name of a fence.
    """
    if not COUNTER_NAME.fullmatch(name):
        raise RowError(Reason.COUNTER_NAME, "1 to 255 of A-Za-z0-9_.-, and not the name of a fence")
    return name


def check(row: Row) -> Row:
    """Return the row; raises RowError if no table can take it."""
    types = ((str,), (str,), (str, type(None)), (str, type(None)), (int,))
    if not isinstance(row, Row):
        kind = type(row).__name__  # type: ignore[unreachable] # a caller without a type checker
        raise RowError(Reason.UNDECODABLE, f"a row is a Row, not a {kind}: use Row(**fields)")
    for field, value, allowed in zip(Row._fields, row, types, strict=True):
        if type(value) not in allowed:
            raise RowError(Reason.UNDECODABLE, _type_problem(field, value))
    return check_limits(row)


def _json_problem(error: ValueError | RecursionError) -> str:
    """Return the problem without a line number: the caller knows which line of a file it is."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return str(error)


def _type_problem(field: str, value: object) -> str:
    kind = type(value).__name__
    if field != "incr":
        return f"field {field} must be text, not {kind}"
    if isinstance(value, float):
        return f"field incr must be a whole number, not {value!r}"
    return f"field incr must be a whole number, not {kind}"


def check_limits(row: Row) -> Row:
    """Return the row; the types of its fields are right. Raises RowError as `check` does."""
    if not TABLE_NAME.fullmatch(row.table):
        raise RowError(Reason.TABLE, "not a table name (3 to 255 of A-Za-z0-9_.-, no ARN)")
    _check_size(row.key, MAX_KEY_BYTES, "key")
    if row.range is not None:
        _check_size(row.range, MAX_RANGE_BYTES, "range")
    if row.counter is not None:
        check_counter_name(row.counter)
    if not INT64_MIN <= row.incr <= INT64_MAX:
        raise RowError(Reason.INCR_OUT_OF_BOUNDS, "not an int64")
    return row


def _check_size(text: str, limit: int, what: str) -> None:
    if not text:
        raise RowError(Reason.KEY_EMPTY, f"the {what} is empty")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise RowError(Reason.UNDECODABLE, f"the {what} is not Unicode text") from None
    if size > limit:
        raise RowError(Reason.KEY_TOO_LARGE, f"the {what} has {size} bytes, the limit is {limit}")


def key_value(text: str, kind: KeyType) -> str:
    """Return the key as DynamoDB compares it: text unchanged, a number in its canonical form.

    ``1``, ``1.0`` and ``01`` name the same item of a table with a number key, so they must be one
    key before they are summed. Raises RowError if it is not a DynamoDB number.
    """
    if kind == "S":
        return text
    if _NUMBER.fullmatch(text):
        try:
            parsed = Decimal(text)
            exact = parsed.normalize(_DIGITS_38)
        except InvalidOperation:
            parsed, exact = Decimal(0), Decimal(1)
        if parsed == exact and (not exact or -130 <= exact.adjusted() <= 125):  # noqa: PLR2004
            return format(exact, "f") if exact else "0"
    raise RowError(Reason.KEY_NOT_A_NUMBER, "the key is not a number of at most 38 digits")


def counter_ref(row: Row, name: str, keys: KeySchema) -> CounterRef:
    """Return the counter ``name`` of the row's item, with its keys as the table compares them.

    Raises RowError if no counter of the table may have this name, or if the table has other keys.
    """
    if name in (keys.hash_name, keys.range_name):
        raise RowError(Reason.COUNTER_NAME, "the counter is a key attribute of the table")
    if name in keys.index_names:
        raise RowError(Reason.COUNTER_NAME, "the counter is a key attribute of an index")
    if name == keys.ttl_name:
        raise RowError(Reason.COUNTER_NAME, "the counter is the TTL attribute of the table")
    if (row.range is None) != (keys.range_name is None):
        if row.range is None:
            raise RowError(Reason.RANGE_MISSING, f"table {row.table} has a range key")
        raise RowError(Reason.RANGE_UNEXPECTED, f"table {row.table} has no range key")
    hash_key = key_value(row.key, keys.hash_type)
    range_key = None if row.range is None else key_value(row.range, keys.range_type or "S")
    return CounterRef(row.table, hash_key, range_key, name)
