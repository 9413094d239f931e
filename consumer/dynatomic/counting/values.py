"""The rules of JMESPath for values: which are false, which are equal, and their order.

Numbers are ``int`` and ``Decimal``, and ``float`` where Avro has binary numbers. Python compares
all three exactly.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from jmespath.visitor import Options, TreeInterpreter

from dynatomic.counting.functions import ExactFunctions

Node = Mapping[str, Any]
NUMBERS: Final = frozenset((int, Decimal, float))
_CONTAINERS: Final = frozenset((str, list, dict))
ORDER_SYMBOLS: Final = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def is_false(value: Any) -> bool:
    """Return whether the value is false in JMESPath: null, false, or empty."""
    return value is None or value is False or (type(value) in _CONTAINERS and not value)


def equals(left: Any, right: Any) -> bool:
    """Compare two values; a boolean never equals a number, inside arrays and objects too."""
    kind = type(left)
    if kind is bool or type(right) is bool:
        return left is right
    if kind is list and type(right) is list:
        return len(left) == len(right) and all(map(equals, left, right))
    if kind is dict and type(right) is dict:
        return left.keys() == right.keys() and all(equals(left[name], right[name]) for name in left)
    return bool(left == right)


def _ordered(symbol: str) -> Callable[[Any, Any], bool | None]:
    scope: dict[str, Any] = {"numbers": NUMBERS}
    source = (
        "def compare(left, right):\n"
        "    if type(left) in numbers and type(right) in numbers:\n"
        f"        return left {symbol} right\n"
        "    return None\n"
    )
    exec(source, scope)  # noqa: S102 - our own text
    compare: Callable[[Any, Any], bool | None] = scope["compare"]
    return compare


COMPARE: Final[dict[str, Callable[[Any, Any], bool | None]]] = {
    "eq": equals,
    "ne": lambda left, right: not equals(left, right),
    **{name: _ordered(symbol) for name, symbol in ORDER_SYMBOLS.items()},
}


class ExactInterpreter(TreeInterpreter):  # type: ignore[misc] # jmespath has no types
    """The library's interpreter with exact numbers, and null where types cannot be compared."""

    def __init__(self) -> None:
        super().__init__(Options(custom_functions=ExactFunctions()))

    def visit_comparator(self, node: Node, value: Any) -> Any:
        """Compare as the compiled code does."""
        left, right = (self.visit(child, value) for child in node["children"])
        return COMPARE[node["value"]](left, right)

    def visit_not_expression(self, node: Node, value: Any) -> bool:
        """Negate: only null, false and empty values are false; 0 is true."""
        return is_false(self.visit(node["children"][0], value))
