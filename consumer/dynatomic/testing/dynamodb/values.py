"""Numbers, keys and items as DynamoDB stores them.

Source: AWS, *Supported data types and naming rules* and *Quotas in Amazon DynamoDB*.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any

from dynatomic.testing.dynamodb.sizes import (
    MAX_HASH_BYTES,
    MAX_ITEM_BYTES,
    MAX_RANGE_BYTES,
    item_bytes,
)

Value = dict[str, Any]
"""An AttributeValue, such as ``{"N": "1"}``."""
Item = dict[str, Value]
Key = tuple[str, ...]
"""The canonical texts of an item's key attributes."""

MAX_DIGITS = 38
_MAX_EXPONENT = 125
_MIN_EXPONENT = -130
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# Wide enough for the exact sum of the largest and the smallest number.
_EXACT = Context(prec=_MAX_EXPONENT - _MIN_EXPONENT + MAX_DIGITS + 2, Emin=-999_999, Emax=999_999)

NO_ATTRIBUTE = "The provided expression refers to an attribute that does not exist in the item"
WRONG_TYPE = "An operand in the update expression has an incorrect data type"


class InvalidError(Exception):
    """DynamoDB refuses the request as invalid; the message is that of AWS."""


def decimal(text: object) -> Decimal:
    """Return a number as DynamoDB stores it, exactly, or raise `InvalidError`."""
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise InvalidError(f"The parameter cannot be converted to a numeric value: {text}")
    return _checked(_EXACT.create_decimal(text))


def added(left: str, right: str, sign: int = 1) -> str:
    """Return the exact sum of two numbers, or raise `InvalidError` if it does not fit."""
    return written(_checked(_EXACT.fma(decimal(right), sign, decimal(left))))


def written(value: Decimal) -> str:
    """Return the canonical text of a number: no exponent, no redundant zeros."""
    return format(value, "f")


def _checked(value: Decimal) -> Decimal:
    if not value:
        return Decimal(0)
    value = value.normalize(_EXACT)
    if value.adjusted() > _MAX_EXPONENT:
        raise InvalidError(
            "Number overflow. Attempting to store a number with magnitude larger than supported "
            "range"
        )
    if value.adjusted() < _MIN_EXPONENT:
        raise InvalidError(
            "Number underflow. Attempting to store a number with magnitude smaller than "
            "supported range"
        )
    if len(value.as_tuple().digits) > MAX_DIGITS:
        raise InvalidError("Attempting to store more than 38 significant digits in a Number")
    return value


def stored(value: Value) -> Value:
    """Return a copy of a value as the table stores it."""
    ((kind, content),) = value.items()
    if kind == "N":
        return {"N": written(decimal(content))}
    if kind == "NS":
        return {"NS": [written(decimal(text)) for text in content]}
    if kind == "L":
        return {"L": [stored(part) for part in content]}
    if kind == "M":
        return {"M": {name: stored(part) for name, part in content.items()}}
    return {kind: list(content) if isinstance(content, list) else content}


def kind_of(value: Value) -> str:
    """Return the type of a value: S, N, ..."""
    return next(iter(value))


def copied(item: Mapping[str, Value]) -> Item:
    """Return a copy of an item."""
    return {name: stored(value) for name, value in item.items()}


Mismatch = Callable[[str, str, str | None], str]
"""Returns the message for a key attribute: takes its name, its type, and the given type or None."""


def mismatch_in_key(_name: str, _expected: str, _actual: str | None) -> str:
    """Return the message of GetItem and UpdateItem."""
    return "The provided key element does not match the schema"


def mismatch_in_item(name: str, expected: str, actual: str | None) -> str:
    """Return the message of PutItem."""
    if actual is None:
        return f"One or more parameter values were invalid: Missing the key {name} in the item"
    return (
        "One or more parameter values were invalid: "
        f"Type mismatch for key {name} expected: {expected} actual: {actual}"
    )


def mismatch_in_statement(name: str, _expected: str, actual: str | None) -> str:
    """Return the message of PartiQL statements."""
    if actual is None:
        return f"Key attribute should be present in the item: Key {name}"
    return f"Key attribute's data type should match its data type in table's schema: Key {name}"


@dataclass(slots=True)
class Table:
    """A table: its keys as (name, type), hash key first, and its items."""

    description: dict[str, Any]
    keys: tuple[tuple[str, str], ...]
    items: dict[Key, Item] = field(default_factory=dict)

    def key(self, attributes: Mapping[str, Value], mismatch: Mismatch) -> Key:
        """Return the canonical key among these attributes, or raise `InvalidError`."""
        texts = []
        for position, (name, kind) in enumerate(self.keys):
            value = attributes.get(name)
            actual = kind_of(value) if value else None
            if value is None or actual != kind:
                raise InvalidError(mismatch(name, kind, actual))
            texts.append(self._key_text(name, kind, value[kind], position))
        return tuple(texts)

    def exact_key(self, attributes: Mapping[str, Value]) -> Key:
        """Return the canonical key. Raises `InvalidError` if there are other attributes."""
        if attributes.keys() != {name for name, _ in self.keys}:
            raise InvalidError(mismatch_in_key("", "", None))
        return self.key(attributes, mismatch_in_key)

    def put(self, key: Key, item: Item) -> None:
        """Store an item, or raise `InvalidError` if it is too large."""
        if item_bytes(item) > MAX_ITEM_BYTES:
            raise InvalidError(
                "Item size to update has exceeded the maximum allowed size"
                if key in self.items
                else "Item size has exceeded the maximum allowed size"
            )
        self.items[key] = item

    def must_not_change(self, names: Mapping[str, object]) -> None:
        """Raise `InvalidError` if a key attribute is among the names to update."""
        for name, _ in self.keys:
            if name in names:
                raise InvalidError(
                    "One or more parameter values were invalid: "
                    f"Cannot update attribute {name}. This attribute is part of the key"
                )

    @staticmethod
    def _key_text(name: str, kind: str, content: str, position: int) -> str:
        if kind == "N":
            return written(decimal(content))
        if not content:
            raise InvalidError(
                "One or more parameter values are not valid. The AttributeValue for a key "
                f"attribute cannot contain an empty string value. Key: {name}"
            )
        role, limit = ("range", MAX_RANGE_BYTES) if position else ("hash", MAX_HASH_BYTES)
        if len(content.encode()) > limit:
            raise InvalidError(
                "One or more parameter values were invalid: "
                f"Aggregated size of all {role} keys has exceeded the size limit of {limit} bytes"
            )
        return content
