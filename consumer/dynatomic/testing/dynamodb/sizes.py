"""The size limits of AWS, and the sizes of items.

Source: AWS, *Quotas in Amazon DynamoDB* and *DynamoDB item sizes and formats*. The sizes of
numbers, lists and maps are those that DynamoDB Local computes.
"""

from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any, Final

MAX_HASH_BYTES: Final = 2048
MAX_RANGE_BYTES: Final = 1024
MAX_ITEM_BYTES: Final = 400 * 1024
MAX_EXPRESSION_BYTES: Final = 4096
MAX_STATEMENT_CHARACTERS: Final = 8192
MAX_OPERATORS: Final = 300
"""Operators of one UPDATE statement: each ``+`` and ``-`` counts, a comparison does not."""

_CONTAINER_BYTES = 3
_DIGITS_PER_BYTE = 2
_EXACT = Context(prec=40)


def item_bytes(item: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the size of an item, with the names of its attributes."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind in {"BOOL", "NULL"}:
        return 1
    if kind == "L":
        return _CONTAINER_BYTES + sum(1 + _value_bytes(part) for part in content)
    if kind == "M":
        return _CONTAINER_BYTES + len(content) + item_bytes(content)
    parts = content if kind in {"NS", "SS", "BS"} else [content]
    return sum(map(_number_bytes if kind in {"N", "NS"} else _text_bytes, parts))


def _text_bytes(content: str | bytes) -> int:
    return len(content.encode() if isinstance(content, str) else content)


def _number_bytes(text: str) -> int:
    """Return one byte, one for each two digits, and one for a minus sign; zero has one byte."""
    sign, digits, exponent = Decimal(text).normalize(_EXACT).as_tuple()
    if digits == (0,):
        return 1
    # The digits are stored in pairs that are aligned to the decimal point.
    padding = int(exponent) % _DIGITS_PER_BYTE
    return 1 + -(-(len(digits) + padding) // _DIGITS_PER_BYTE) + sign
