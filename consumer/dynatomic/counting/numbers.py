"""Exact integers from the numbers of events."""

from decimal import Decimal
from typing import Any

from dynatomic.counting.reasons import EventRejected, RejectReason


def to_increment(value: Any, scale: int = 0) -> int:
    """Return ``value * 10**scale``, which must be an integer.

    Raises EventRejected for null, for values that are not numbers, and if digits after the point
    are left. Booleans, text and binary floats (which are not exact) are not numbers here.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value * 10**scale)
    if value is None:
        raise EventRejected(RejectReason.FIELD_MISSING, "")
    if not isinstance(value, Decimal):
        raise EventRejected(RejectReason.FIELD_TYPE, f"{json_type(value)}, not a number")
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise EventRejected(RejectReason.FIELD_TYPE, "not a finite number")
    exponent += scale
    unscaled = int("".join(map(str, digits)))
    if exponent >= 0:
        total = unscaled * int(10**exponent)
    else:
        total, rest = divmod(unscaled, int(10**-exponent))
        if rest:
            raise EventRejected(RejectReason.NOT_INTEGRAL, f"digits are left at a scale of {scale}")
    return -total if sign else total


def json_type(value: Any) -> str:
    """Return the name that JSON gives the type of a value."""
    if isinstance(value, bool):
        return "a boolean"
    for kind, name in _TYPES.items():
        if isinstance(value, kind):
            return name
    return "of an unknown type"


_TYPES = {
    type(None): "null",
    int: "a number",
    Decimal: "a number",
    float: "a binary float",
    str: "text",
    bytes: "bytes",
    list: "an array",
    dict: "an object",
}
