"""The UpdateItem expressions that this package sends, run on one item.

``ADD #a :v, #b :w SET #f = :l`` with a condition of ``attribute_exists(#f)``,
``attribute_not_exists(#f)``, ``begins_with(#f, :v)`` and ``#f < :v`` joined by ``OR`` or ``AND``,
without parentheses. Anything else raises `NotImplementedError`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from dynatomic.testing.dynamodb.partiql import Term
from dynatomic.testing.dynamodb.sizes import MAX_EXPRESSION_BYTES
from dynatomic.testing.dynamodb.values import (
    WRONG_TYPE,
    InvalidError,
    Item,
    Value,
    added,
    kind_of,
    stored,
)

_T = TypeVar("_T")

_CLAUSE = re.compile(r"\s*\b(ADD|SET)\s+(.*?)(?=\s*\b(?:ADD|SET)\s|\s*$)", re.IGNORECASE)
_ADD = re.compile(r"\s*([#\w.-]+)\s+(:\w+)\s*")
_SET = re.compile(r"\s*([#\w.-]+)\s*=\s*(:\w+)\s*")
_EXISTS = re.compile(r"attribute_(not_)?exists\s*\(\s*([#\w.-]+)\s*\)")
_BEGINS = re.compile(r"begins_with\s*\(\s*([#\w.-]+)\s*,\s*(:\w+)\s*\)")
_COMPARISON = re.compile(r"([#\w.-]+)\s*(<=|>=|<|>|=)\s*(:\w+)")


@dataclass(frozen=True, slots=True)
class Expressions:
    """The expressions of one UpdateItem request with their names and values."""

    names: Mapping[str, str]
    values: Mapping[str, Value]

    def holds(self, condition: str | None, item: Item) -> bool:
        """Return whether an item, empty if there is none, meets the condition."""
        if condition is None:
            return True
        return any(
            all(self._term(part.strip(), item) for part in re.split(r"\s+AND\s+", either))
            for either in re.split(r"\s+OR\s+", condition)
        )

    def updated(self, expression: str, item: Item) -> Item:
        """Return the attributes that the update changes, or raise `InvalidError`."""
        return {
            name: self._sum(item.get(name), value) if verb == "ADD" else stored(value)
            for verb, name, value in self._actions(expression)
        }

    def _actions(self, expression: str) -> Iterator[tuple[str, str, Value]]:
        end = 0
        for clause in _CLAUSE.finditer(expression):
            if clause.start() != end:
                break
            end = clause.end()
            verb = clause[1].upper()
            for part in clause[2].split(","):
                matched = (_ADD if verb == "ADD" else _SET).fullmatch(part)
                if not matched:
                    raise NotImplementedError(f"the fake has no update {part.strip()!r}")
                yield verb, self._name(matched[1]), self._value(matched[2])
        if expression[end:].strip():
            raise NotImplementedError(f"the fake has no update {expression[end:]!r}")

    def _term(self, text: str, item: Item) -> bool:
        if matched := _EXISTS.fullmatch(text):
            return (self._name(matched[2]) in item) != bool(matched[1])
        if matched := _BEGINS.fullmatch(text):
            start = self._value(matched[2])["S"]
            return bool(item.get(self._name(matched[1]), {"S": ""})["S"].startswith(start))
        if matched := _COMPARISON.fullmatch(text):
            return Term(self._name(matched[1]), matched[2]).holds(item, self._value(matched[3]))
        raise NotImplementedError(f"the fake has no condition {text!r}")

    def _sum(self, old: Value | None, value: Value) -> Value:
        if kind_of(value) != "N":
            kind = {"S": "STRING"}.get(kind_of(value), kind_of(value))
            raise InvalidError(
                "Invalid UpdateExpression: Incorrect operand type for operator or function; "
                f"operator: ADD, operand type: {kind}, typeSet: ALLOWED_FOR_ADD_OPERAND"
            )
        if old is None:
            return stored(value)
        if "N" not in old:
            raise InvalidError(WRONG_TYPE)
        return {"N": added(old["N"], value["N"])}

    def _name(self, placeholder: str) -> str:
        if not placeholder.startswith("#"):
            return placeholder
        return _defined(self.names, placeholder, "name")

    def _value(self, placeholder: str) -> Value:
        return _defined(self.values, placeholder, "value")


def check_size(expression: str, name: str) -> None:
    """Raise `InvalidError` if an expression is too long."""
    size = len(expression.encode())
    if size > MAX_EXPRESSION_BYTES:
        raise InvalidError(
            f"Invalid {name}: Expression size has exceeded the maximum allowed size; "
            f"expression size: {size}"
        )


def _defined(given: Mapping[str, _T], placeholder: str, what: str) -> _T:
    if placeholder not in given:
        raise InvalidError(
            f"Invalid UpdateExpression: An expression attribute {what} used in expression is "
            f"not defined; attribute {what}: {placeholder}"
        )
    return given[placeholder]
