"""JMESPath expressions of a file, parsed and checked (specification: jmespath.org).

An expression is compiled to Python source once, because the interpreter of the library takes
longer than the rest of an event. What the compiler does not know runs in the interpreter.
Numbers are ``int`` and ``Decimal``: JMESPath's own numbers would be floats.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from jmespath import exceptions
from jmespath.parser import Parser

from dynatomic.counting.compiler import ExpressionCompiler, FieldPath, Scope, Tree, dict_loads
from dynatomic.counting.functions import check_call
from dynatomic.counting.values import Node
from dynatomic.errors import ConfigError

EvaluationError: Final = exceptions.JMESPathError
MAX_EXPRESSION_LENGTH: Final = 4096
MAX_DEPTH: Final = 50


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression. ``paths`` are the paths of an event that it reads, outermost first."""

    text: str
    tree: Node
    paths: frozenset[FieldPath]

    def compile(self) -> Callable[[Any, Any], Any]:
        """Return a function of an event of dicts and lists, and of the ``_kafka`` object.

        The function raises `EvaluationError` where a JMESPath function gets a wrong type.
        """
        return _compiled(self.tree, Scope())


def parse(text: str) -> Expression:
    """Parse an expression; raises ConfigError with what is wrong and a hint."""
    if len(text) > MAX_EXPRESSION_LENGTH:
        raise ConfigError(f"an expression has at most {MAX_EXPRESSION_LENGTH} characters")
    scope = Scope()
    try:
        with warnings.catch_warnings():  # the old form of a literal, `text`, is a literal too
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            tree = _checked(Parser().parse(text).parsed, 0)
        _compiled(tree, scope)
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
    return Expression(text, tree, frozenset(_paths(scope)))


def _compiled(tree: Node, scope: Scope) -> Callable[[Any, Any], Any]:
    value = ExpressionCompiler(scope).value(tree)
    loads = [line for root, node in scope.roots.items() for line in dict_loads(node, root)]
    lines = [*loads, f"return {value}"]
    return scope.function("evaluate", ["def evaluate(event, kafka):", *(f"    {x}" for x in lines)])


def _paths(scope: Scope) -> list[FieldPath]:
    paths: list[FieldPath] = []

    def visit(tree: Tree, path: FieldPath) -> None:
        if tree.variable is not None:
            paths.append(path)
        for name, child in tree.children.items():
            visit(child, (*path, name))

    for root, tree in scope.roots.items():
        visit(tree, ("_kafka",) if root == "kafka" else ())
    return paths


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


def _checked(node: Node, depth: int) -> Node:
    """Return a node with exact literals; raises ValueError and RecursionError."""
    if depth > MAX_DEPTH:
        raise RecursionError
    if node["type"] == "literal":
        return {**node, "value": _exact(node["value"])}
    if node["type"] == "function_expression":
        check_call(node["value"], len(node["children"]))
    if node["type"] == "slice" and node["children"][2] == 0:
        raise ValueError("the step of a slice cannot be 0")
    is_chain = node["type"] in {"subexpression", "index_expression"}
    if is_chain and node["children"][0]["type"] == "not_expression":
        raise ValueError("! takes only the name after it, as in (!a).b: write !(a.b)")
    children = [_checked(c, depth + 1) if isinstance(c, dict) else c for c in node["children"]]
    return {**node, "children": children}


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, list):
        return [_exact(element) for element in value]
    if isinstance(value, dict):
        return {name: _exact(element) for name, element in value.items()}
    return value
