"""Writes Python source for JMESPath expressions and for the fields that they read.

All expressions of a file share one `Scope`, so that one function holds them all and each field is
read once. Names and constants of the file enter the source only as the ``repr`` of text, or by
the scope.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from dynatomic.counting.functions import ExactFunctions
from dynatomic.counting.values import (
    COMPARE,
    ORDER_SYMBOLS,
    ExactInterpreter,
    Node,
    equals,
    is_false,
)

FieldPath = tuple[str, ...]

KAFKA_ROOT: Final = "_kafka"
"""The name of the record in an expression: key, headers, timestamp, partition and topic."""

_COMPILED_FUNCTIONS: Final = frozenset(
    (
        *("abs", "contains", "ends_with", "join", "keys", "length", "not_null"),
        *("starts_with", "to_string", "type", "to_number", "values"),
    )
)
_BOOLEAN_FUNCTIONS: Final = frozenset(("contains", "ends_with", "starts_with"))


@dataclass(slots=True)
class Tree:
    """A field of the events that are read; ``variable`` if an expression uses its value."""

    variable: str | None = None
    children: dict[str, "Tree"] = field(default_factory=dict)


class Scope:
    """The constants, the variables and the fields of one compiled function."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"is_false": is_false, "equals": equals}
        self.roots: dict[str, Tree] = {}
        self._count = 0

    def name(self, prefix: str) -> str:
        """Return a name that is not used yet."""
        self._count += 1
        return f"{prefix}{self._count}"

    def constant(self, value: Any) -> str:
        """Return the name of a constant."""
        name = self.name("k")
        self.names[name] = value
        return name

    def variable(self, path: FieldPath) -> str:
        """Return the variable that holds the value at a path of the event or of the record."""
        root, path = ("kafka", path[1:]) if path[:1] == (KAFKA_ROOT,) else ("event", path)
        node = self.roots.setdefault(root, Tree())
        for step in path:
            node = node.children.setdefault(step, Tree())
        if node.variable is None:
            node.variable = self.name("p")
        return node.variable

    def function(self, name: str, lines: Iterable[str]) -> Callable[..., Any]:
        """Return the function of this name that the source lines define."""
        exec("\n".join(lines), self.names)  # noqa: S102 - see the head of the module
        function: Callable[..., Any] = self.names[name]
        return function


class ExpressionCompiler:
    """Writes the source of one expression; ``can_raise`` if it may raise `JMESPathError`."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.can_raise = False

    def value(self, tree: Node) -> str:
        """Return source text of the expression's value."""
        return self._value(self._emit(tree, ()))

    def test(self, tree: Node, current: str | FieldPath = ()) -> str:
        """Return source text of a condition that is true if the value is true in JMESPath."""
        kind = tree["type"]
        if kind in {"and_expression", "or_expression"}:
            left, right = (self.test(child, current) for child in tree["children"])
            return f"({left} {'and' if kind == 'and_expression' else 'or'} {right})"
        source = self._value(self._emit(tree, current))
        is_boolean = kind in {"comparator", "not_expression"} or (
            kind == "function_expression" and tree["value"] in _BOOLEAN_FUNCTIONS
        )
        return source if is_boolean else f"(not is_false({source}))"

    def _value(self, code: str | FieldPath) -> str:
        if isinstance(code, str):
            return code
        if code:
            return self._scope.variable(code)
        # The whole event: only here the two roots must be one object.
        event, kafka = self._scope.variable(()), self._scope.variable((KAFKA_ROOT,))
        return f"({{**{event}, '_kafka': {kafka}}} if type({event}) is dict else {event})"

    def _emit(self, node: Node, current: str | FieldPath) -> str | FieldPath:
        """Return a path if the value is one, otherwise source text."""
        method = getattr(self, f"_{node['type']}", None)
        return self._interpreted(node, current) if method is None else method(node, current)

    def _interpreted(self, node: Node, current: str | FieldPath) -> str:
        self.can_raise = True
        visit = self._scope.constant(ExactInterpreter().visit)
        return f"{visit}({self._scope.constant(node)}, {self._value(current)})"

    def _field(self, node: Node, current: str | FieldPath) -> str | FieldPath:
        name = node["value"]
        if isinstance(current, tuple):
            return (*current, name)
        t = self._scope.name("t")
        return f"({t}.get({name!r}) if type({t} := {current}) is dict else None)"

    def _chain(self, node: Node, current: str | FieldPath) -> str | FieldPath:
        for child in node["children"]:
            if isinstance(current, str) and self.can_raise:
                # Its error rejects the event, also if the next part does not use its value.
                t = self._scope.name("t")
                current = f"({t} := {current}, {self._value(self._emit(child, t))})[1]"
            else:
                current = self._emit(child, current)
        return current

    _subexpression = _index_expression = _pipe = _chain

    def _identity(self, _: Node, current: str | FieldPath) -> str | FieldPath:
        return current

    _current = _identity

    def _literal(self, node: Node, _: str | FieldPath) -> str:
        value = node["value"]
        return repr(value) if type(value) in {int, bool, type(None)} else self._constant(value)

    def _constant(self, value: Any) -> str:
        return self._scope.constant(value)

    def _index(self, node: Node, current: str | FieldPath) -> str:
        index = node["value"]
        least = index + 1 if index >= 0 else -index
        t = self._scope.name("t")
        inside = f"type({t} := {self._value(current)}) is list and len({t}) >= {least}"
        return f"({t}[{index}] if {inside} else None)"

    def _comparator(self, node: Node, current: str | FieldPath) -> str:
        operator, (left, right) = node["value"], node["children"]
        first = self._value(self._emit(left, current))
        if right["type"] == "literal":
            inline = self._with_literal(operator, first, right["value"])
            if inline is not None:
                return inline
        second = self._value(self._emit(right, current))
        return f"{self._constant(COMPARE[operator])}({first}, {second})"

    def _with_literal(self, operator: str, left: str, literal: Any) -> str | None:
        """Return a comparison with text or a number without a call in the usual case."""
        kind, t = type(literal), self._scope.name("t")
        if operator in ORDER_SYMBOLS and kind in {int, Decimal}:
            constant = repr(literal) if kind is int else self._constant(literal)
            compare = self._constant(COMPARE[operator])
            return (
                f"({t} {ORDER_SYMBOLS[operator]} {constant} if type({t} := {left}) is int "
                f"else {compare}({t}, {constant}))"
            )
        if operator == "eq" and kind is str:
            return f"({left} == {literal!r})"
        if operator == "ne" and kind is str:
            return f"({left} != {literal!r})"
        if operator == "eq" and kind is int:
            return f"(type({t} := {left}) is not bool and {t} == {literal!r})"
        return None

    def _or_expression(self, node: Node, current: str | FieldPath) -> str:
        left, right = (self._value(self._emit(c, current)) for c in node["children"])
        t = self._scope.name("t")
        return f"({right} if is_false({t} := {left}) else {t})"

    def _and_expression(self, node: Node, current: str | FieldPath) -> str:
        left, right = (self._value(self._emit(c, current)) for c in node["children"])
        t = self._scope.name("t")
        return f"({t} if is_false({t} := {left}) else {right})"

    def _not_expression(self, node: Node, current: str | FieldPath) -> str:
        return f"(not {self.test(node['children'][0], current)})"

    def _function_expression(self, node: Node, current: str | FieldPath) -> str:
        if node["value"] not in _COMPILED_FUNCTIONS:
            return self._interpreted(node, current)
        self.can_raise = True
        arguments = [self._value(self._emit(c, current)) for c in node["children"]]
        call = self._constant(ExactFunctions().call_function)
        return f"{call}({node['value']!r}, [{', '.join(arguments)}])"


def dict_loads(tree: Tree, root: str) -> list[str]:
    """Return statements that read the fields from nested dicts, and null where one is missing."""
    return list(_dict_loads(tree, root, [0]))


def _dict_loads(tree: Tree, source: str, count: list[int]) -> Iterable[str]:
    if tree.variable is not None:
        yield f"{tree.variable} = {source}"
        source = tree.variable
    for name, child in tree.children.items():
        count[0] += 1
        target = child.variable or f"{source}_{count[0]}"
        yield f"{target} = {source}.get({name!r}) if type({source}) is dict else None"
        yield from _dict_loads(Tree(None, child.children), target, count)
