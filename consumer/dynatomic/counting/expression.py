"""JMESPath expressions as Python functions (specification: jmespath.org).

An expression is compiled to Python source once, because the interpreter of the library takes
longer than the rest of an event. What the compiler does not know runs in the interpreter.
Numbers are ``int`` and ``Decimal``: JMESPath's own numbers would be floats.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from jmespath import exceptions
from jmespath.parser import Parser
from jmespath.visitor import Options, TreeInterpreter

from dynatomic.counting.functions import ExactFunctions, check_call
from dynatomic.errors import ConfigError

EvaluationError: Final = exceptions.JMESPathError
KAFKA_ROOT: Final = "_kafka"
"""The name under which an expression finds the record's key, headers, timestamp and place."""

Node = Mapping[str, Any]
Path = tuple[str, ...]
Access = Callable[[str, Path], str]
"""Takes the source text of the event and a path; returns source text of the value at the path."""

_SIMPLE_FUNCTIONS = frozenset(
    (
        *("abs", "contains", "ends_with", "join", "keys", "length", "not_null"),
        *("starts_with", "to_string", "type", "to_number", "values"),
    )
)
_ORDER: Final = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


class ExactInterpreter(TreeInterpreter):  # type: ignore[misc] # jmespath has no types
    """The library's interpreter with exact numbers, and null where types cannot be compared."""

    def __init__(self) -> None:
        super().__init__(Options(custom_functions=ExactFunctions()))

    def visit_comparator(self, node: Node, value: Any) -> Any:
        """Compare as the compiled code does."""
        left, right = (self.visit(child, value) for child in node["children"])
        return COMPARE[node["value"]](left, right)

    def visit_not_expression(self, node: Node, value: Any) -> bool:
        """Negate: only null, false and what is empty are false; 0 is true."""
        return is_false(self.visit(node["children"][0], value))


def is_false(value: Any) -> bool:
    """Return whether JMESPath takes the value for false: null, false, or empty."""
    return value is None or value is False or (type(value) in {str, list, dict} and not value)


def equals(left: Any, right: Any) -> bool:
    """Compare two values; a boolean never equals a number."""
    if type(left) is bool or type(right) is bool:
        return left is right
    return bool(left == right)


def _ordered(symbol: str) -> Callable[[Any, Any], bool | None]:
    scope: dict[str, Any] = {"numbers": (int, Decimal)}
    source = (
        "def compare(left, right):\n"
        "    kind, other = type(left), type(right)\n"
        "    if (kind in numbers and other in numbers) or (kind is str and other is str):\n"
        f"        return left {symbol} right\n"
        "    return None\n"
    )
    exec(source, scope)  # noqa: S102 - our own text
    compare: Callable[[Any, Any], bool | None] = scope["compare"]
    return compare


COMPARE: Final[dict[str, Callable[[Any, Any], bool | None]]] = {
    "eq": equals,
    "ne": lambda left, right: not equals(left, right),
    **{name: _ordered(symbol) for name, symbol in _ORDER.items()},
}


def dict_access(root: str, path: Path) -> str:
    """Access a path in nested dicts; null where a name is missing or a value is no object."""
    source = root
    for name in path:
        source = f"(t.get({name!r}) if type(t := {source}) is dict else None)"
    return source


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression. ``paths`` are the paths of an event that it reads, outermost first."""

    text: str
    tree: Node
    paths: frozenset[Path]

    def compile(self, access: Access = dict_access) -> Callable[[Any, Any], Any]:
        """Return a function of the event and the ``_kafka`` object.

        The function raises `EvaluationError` where a JMESPath function gets a wrong type.
        """
        return _Compiler(access).function(self.tree)


def parse(text: str) -> Expression:
    """Parse an expression; raises ConfigError with what is wrong and a hint."""
    try:
        tree = _checked(Parser().parse(text).parsed)
        compiler = _Compiler(dict_access)
        compiler.function(tree)
    except RecursionError:
        raise ConfigError("the expression is nested too deeply") from None
    except exceptions.JMESPathError as error:
        first_line = str(error).splitlines()[0]
        hint = (
            "; a number in an expression needs backticks: `500`" if _has_bare_number(text) else ""
        )
        raise ConfigError(f"{text!r} is not a JMESPath expression: {first_line}{hint}") from None
    except ValueError as error:
        raise ConfigError(f"{text!r}: {error}") from None
    return Expression(text, tree, frozenset(compiler.paths))


def _has_bare_number(text: str) -> bool:
    previous = " "
    quoted = ""
    for character in text:
        if quoted:
            quoted = "" if character == quoted else quoted
        elif character in "`'\"":
            quoted = character
        elif character.isdigit() and previous in " <>=!":
            return True
        previous = character
    return False


def _checked(node: Node) -> Node:
    if node["type"] == "literal":
        return {**node, "value": _exact(node["value"])}
    if node["type"] == "function_expression":
        check_call(node["value"], len(node["children"]))
    children = [_checked(c) if isinstance(c, dict) else c for c in node["children"]]
    return {**node, "children": children}


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, list):
        return [_exact(element) for element in value]
    if isinstance(value, dict):
        return {name: _exact(element) for name, element in value.items()}
    return value


@dataclass(slots=True)
class _Compiler:
    """Writes Python source for one expression, and notes the paths that it reads."""

    access: Access
    paths: set[Path] = field(default_factory=set)
    scope: dict[str, Any] = field(default_factory=dict)

    def function(self, tree: Node) -> Callable[[Any, Any], Any]:
        """Return the function of an expression."""
        self.scope["is_false"] = is_false
        body = self._value(self._emit(tree, ()))
        source = f"def evaluate(event, kafka):\n    return {body}\n"
        exec(source, self.scope)  # noqa: S102 - names and constants go through repr or the scope
        evaluate: Callable[[Any, Any], Any] = self.scope["evaluate"]
        return evaluate

    def _constant(self, value: Any) -> str:
        name = f"k{len(self.scope)}"
        self.scope[name] = value
        return name

    def _value(self, code: str | Path) -> str:
        if isinstance(code, str):
            return code
        self.paths.add(code)
        if not code:
            # The whole event: only here the two roots have to be one object.
            return "({**event, '_kafka': kafka} if type(event) is dict else event)"
        if code[0] == KAFKA_ROOT:
            return dict_access("kafka", code[1:])
        return self.access("event", code)

    def _emit(self, node: Node, current: str | Path) -> str | Path:
        """Return a path as long as the value is one, else source text."""
        method = getattr(self, f"_{node['type']}", None)
        return self._interpreted(node, current) if method is None else method(node, current)

    def _interpreted(self, node: Node, current: str | Path) -> str:
        visit = ExactInterpreter().visit
        tree = self._constant(node)
        return f"{self._constant(visit)}({tree}, {self._value(current)})"

    def _field(self, node: Node, current: str | Path) -> str | Path:
        name = node["value"]
        if isinstance(current, tuple):
            return (*current, name)
        return dict_access(current, (name,))

    def _chain(self, node: Node, current: str | Path) -> str | Path:
        for child in node["children"]:
            current = self._emit(child, current)
        return current

    _subexpression = _index_expression = _pipe = _chain

    def _identity(self, _: Node, current: str | Path) -> str | Path:
        return current

    _current = _identity

    def _literal(self, node: Node, _: str | Path) -> str:
        return self._constant(node["value"])

    def _index(self, node: Node, current: str | Path) -> str:
        index = node["value"]
        least = index + 1 if index >= 0 else -index
        inside = f"type(t := {self._value(current)}) is list and len(t) >= {least}"
        return f"(t[{index}] if {inside} else None)"

    def _comparator(self, node: Node, current: str | Path) -> str:
        left, right = (self._value(self._emit(c, current)) for c in node["children"])
        return f"{self._constant(COMPARE[node['value']])}({left}, {right})"

    def _or_expression(self, node: Node, current: str | Path) -> str:
        left, right = (self._value(self._emit(c, current)) for c in node["children"])
        name = f"v{len(self.scope)}"
        self._constant(None)
        return f"({right} if is_false({name} := {left}) else {name})"

    def _and_expression(self, node: Node, current: str | Path) -> str:
        left, right = (self._value(self._emit(c, current)) for c in node["children"])
        name = f"v{len(self.scope)}"
        self._constant(None)
        return f"({name} if is_false({name} := {left}) else {right})"

    def _not_expression(self, node: Node, current: str | Path) -> str:
        return f"is_false({self._value(self._emit(node['children'][0], current))})"

    def _function_expression(self, node: Node, current: str | Path) -> str:
        if node["value"] not in _SIMPLE_FUNCTIONS:
            return self._interpreted(node, current)
        arguments = [self._value(self._emit(c, current)) for c in node["children"]]
        call = self._constant(ExactFunctions().call_function)
        return f"{call}({node['value']!r}, [{', '.join(arguments)}])"
