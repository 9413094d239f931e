"""JMESPath's functions over exact numbers.

The library's own take ``int`` and ``float``. An event's numbers are ``int`` and ``Decimal``, and
no result may depend on the precision of a float.
"""

import re
from collections.abc import Callable
from decimal import Context, Decimal, Inexact, InvalidOperation
from difflib import get_close_matches
from typing import Any, Final, TypeVar

import msgspec
from jmespath.exceptions import JMESPathTypeError
from jmespath.functions import Functions, signature

_Function = TypeVar("_Function", bound=Callable[..., Any])

MAX_DIGITS: Final = 60
"""Digits before and after the point of a number that is read; DynamoDB keeps 38."""

_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d{1,9})?", re.ASCII)
_INTEGER: Final = re.compile(r"-?\d+", re.ASCII)
_TO_JSON: Final = msgspec.json.Encoder(decimal_format="number").encode
_REFUSED: Final = frozenset(("avg",))
_EXACT: Final = Context(prec=1000, traps=[Inexact, InvalidOperation])


def _signature(*arguments: dict[str, list[str]]) -> Callable[[_Function], _Function]:
    # The library's decorator has no types.
    decorate: Callable[[_Function], _Function] = signature(*arguments)
    return decorate


class ExactFunctions(Functions):  # type: ignore[misc] # jmespath has no types
    """The built-in functions; `check_call` refuses ``avg``, because its result is not exact."""

    def _type_check_single(self, current: Any, types: list[str], function_name: str) -> None:
        if type(current) is Decimal:
            if "number" not in types:
                raise JMESPathTypeError(function_name, current, "number", types)
            return
        super()._type_check_single(current, types, function_name)

    def _subtype_check(self, current: Any, allowed: list[str], types: Any, name: str) -> None:
        if isinstance(current, list) and any(type(element) is Decimal for element in current):
            # An array of numbers may mix int and Decimal; to the library they are two types.
            current = [0 if type(element) is Decimal else element for element in current]
        super()._subtype_check(current, allowed, types, name)

    def _convert_to_jmespath_type(self, pyobject: str) -> str:
        known = "float" if pyobject == "Decimal" else pyobject
        return str(super()._convert_to_jmespath_type(known))

    @_signature({"types": ["number"]})
    def _func_abs(self, arg: int | Decimal) -> int | Decimal:
        return arg.copy_abs() if isinstance(arg, Decimal) else abs(arg)

    @_signature({"types": ["array-number"]})
    def _func_sum(self, arg: list[int | Decimal]) -> int | Decimal:
        total: int | Decimal = 0
        for element in arg:
            if type(element) is int and type(total) is int:
                total += element
            else:
                total = _EXACT.add(Decimal(total), Decimal(element))
        return total

    @_signature({"types": []})
    def _func_type(self, arg: Any) -> str:
        return "number" if type(arg) is Decimal else str(super()._func_type(arg))

    @_signature({"types": []})
    def _func_to_string(self, arg: Any) -> str:
        return arg if isinstance(arg, str) else _TO_JSON(arg).decode()

    @_signature({"types": []})
    def _func_to_number(self, arg: Any) -> int | Decimal | None:
        if type(arg) in {int, Decimal}:
            return arg  # type: ignore[no-any-return]
        if not isinstance(arg, str):
            return None
        try:
            return exact_number(arg)
        except ValueError:
            return None


def check_call(function_name: str, count: int) -> None:
    """Raise ValueError if no call with this number of arguments can succeed."""
    entry = ExactFunctions.FUNCTION_TABLE.get(function_name)
    if entry is None:
        close = get_close_matches(function_name, ExactFunctions.FUNCTION_TABLE, 1)
        hint = f"; did you mean {close[0]}()?" if close else ""
        raise ValueError(f"there is no function {function_name}(){hint}")
    if function_name in _REFUSED:
        raise ValueError(f"{function_name}() is refused: its result is not exact")
    expected = entry["signature"]
    is_variadic = bool(expected) and expected[-1].get("variadic", False)
    if count < len(expected) or (count > len(expected) and not is_variadic):
        raise ValueError(f"{function_name}() takes {len(expected)} arguments, not {count}")


def exact_number(text: str) -> int | Decimal:
    """Return the number that a JSON number has as its text.

    Raises ValueError if the text is not a number, or has too many digits before or after the
    point: a number of ten characters can have a thousand million digits.
    """
    if len(text) > 2 * MAX_DIGITS or not _NUMBER.fullmatch(text):
        raise ValueError("not a number of at most 60 digits before and after the point")
    if _INTEGER.fullmatch(text):
        return int(text)
    value = Decimal(text)
    if value and not -MAX_DIGITS <= value.adjusted() < MAX_DIGITS:
        raise ValueError("not a number of at most 60 digits before and after the point")
    return value
