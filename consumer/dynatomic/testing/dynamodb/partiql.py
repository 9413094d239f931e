"""The PartiQL statements that this package sends, parsed and run on a table.

Only these forms: ``UPDATE "T" SET "a"="a"+? SET "b"=? WHERE "pk"=? AND "f"<?`` (or
``AND "f" IS MISSING``) and ``INSERT INTO "T" VALUE {'pk': ?, 'a': ?}``. Any other text
gets the answer of DynamoDB to a statement that it cannot parse.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from dynatomic.testing.dynamodb.sizes import MAX_OPERATORS
from dynatomic.testing.dynamodb.values import (
    NO_ATTRIBUTE,
    WRONG_TYPE,
    InvalidError,
    Item,
    Key,
    Table,
    Value,
    added,
    copied,
    decimal,
    kind_of,
    mismatch_in_statement,
    stored,
)

_UPDATE = re.compile(r'\s*UPDATE\s+"([^"]+)"\s+(SET\s.+?)\s+WHERE\s+(.+?)\s*', re.IGNORECASE)
_INSERT = re.compile(r"""\s*INSERT\s+INTO\s+"([^"]+)"\s+VALUE\s*\{(.*)\}\s*""", re.IGNORECASE)
_SET = re.compile(r'\s*(?:SET\s+|,\s*)"([^"]+)"\s*=\s*(?:"([^"]+)"\s*([+-])\s*)?\?', re.IGNORECASE)
_TERM = re.compile(r'"([^"]+)"\s*(?:(<=|>=|<|>|=)\s*\?|(IS\s+MISSING))', re.IGNORECASE)
_FIELD = re.compile(r"\s*'([^']+)'\s*:\s*\?\s*")
_AND = re.compile(r"\s+AND\s+", re.IGNORECASE)

_COMPARE: Mapping[str, Callable[[Decimal, Decimal], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}


class ConditionError(Exception):
    """The condition was not met; contains the item, or None if there is none."""

    def __init__(self, item: Item | None) -> None:
        super().__init__("The conditional request failed")
        self.item = item


class DuplicateError(Exception):
    """An item with the key of an INSERT exists."""


@dataclass(frozen=True, slots=True)
class Insert:
    """An INSERT: the names of its attributes, one parameter each."""

    table: str
    names: tuple[str, ...]

    def key(self, table: Table, parameters: Sequence[Value]) -> Key:
        """Return the key of the item, or raise `InvalidError`."""
        _same_length(len(self.names), parameters)
        item = dict(zip(self.names, parameters, strict=True))
        return table.key(item, mismatch_in_statement)

    def run(self, table: Table, parameters: Sequence[Value]) -> None:
        """Store the item. Raises `DuplicateError` or `InvalidError`."""
        key = self.key(table, parameters)
        if key in table.items:
            raise DuplicateError("Duplicate primary key exists in table")
        table.put(key, copied(dict(zip(self.names, parameters, strict=True))))


@dataclass(frozen=True, slots=True)
class Assignment:
    """``SET "name" = "operand" sign ?``, or ``SET "name" = ?`` without an operand."""

    name: str
    operand: str | None
    sign: int

    def result(self, item: Item, parameter: Value) -> Value:
        """Return the attribute's new value, or raise `InvalidError`."""
        if self.operand is None:
            return stored(parameter)
        if kind_of(parameter) != "N":
            raise InvalidError(
                "Incorrect operand type for operator or function; "
                f"operator or function: +, operand type: {kind_of(parameter)}"
            )
        if self.operand not in item:
            raise InvalidError(NO_ATTRIBUTE)
        if "N" not in item[self.operand]:
            raise InvalidError(WRONG_TYPE)
        return {"N": added(item[self.operand]["N"], parameter["N"], self.sign)}


@dataclass(frozen=True, slots=True)
class Term:
    """One condition of a WHERE: a comparison with a parameter, or IS MISSING."""

    name: str
    comparison: str | None

    def holds(self, item: Item, parameter: Value | None) -> bool:
        """Return whether the item meets it; different types never compare."""
        value = item.get(self.name)
        if self.comparison is None or parameter is None:
            return value is None
        if value is None or kind_of(value) != kind_of(parameter):
            return False
        if "N" not in value:
            return self.comparison == "=" and value == parameter
        return _COMPARE[self.comparison](decimal(value["N"]), decimal(parameter["N"]))


@dataclass(frozen=True, slots=True)
class Update:
    """An UPDATE of one item."""

    table: str
    sets: tuple[Assignment, ...]
    where: tuple[Term, ...]

    def key(self, table: Table, parameters: Sequence[Value]) -> Key:
        """Return the key of the item, or raise `InvalidError`."""
        return table.key(self._split(table, parameters)[0], mismatch_in_statement)

    def run(self, table: Table, parameters: Sequence[Value]) -> None:
        """Change the item. Raises `ConditionError` or `InvalidError`."""
        keys, conditions = self._split(table, parameters)
        table.must_not_change({assignment.name: None for assignment in self.sets})
        operators = sum(assignment.operand is not None for assignment in self.sets)
        if operators > MAX_OPERATORS:
            count = MAX_OPERATORS + 1  # AWS does not count further
            raise InvalidError(
                f"The expression contains too many operators; operator count: {count}"
            )
        key = table.key(keys, mismatch_in_statement)
        item = table.items.get(key)
        if item is None or not all(term.holds(item, value) for term, value in conditions):
            raise ConditionError(item)
        results = {
            assignment.name: assignment.result(item, parameter)
            for assignment, parameter in zip(self.sets, parameters, strict=False)
        }
        table.put(key, item | results)

    def _split(
        self, table: Table, parameters: Sequence[Value]
    ) -> tuple[Item, list[tuple[Term, Value | None]]]:
        compared = [term for term in self.where if term.comparison]
        _same_length(len(self.sets) + len(compared), parameters)
        rest = iter(parameters[len(self.sets) :])
        names = {name for name, _ in table.keys}
        keys: Item = {}
        conditions: list[tuple[Term, Value | None]] = []
        for term in self.where:
            value = next(rest) if term.comparison else None
            if term.name in names and term.comparison == "=" and value is not None:
                keys[term.name] = value
            else:
                conditions.append((term, value))
        if keys.keys() != names:
            raise InvalidError(
                "Where clause does not contain a mandatory equality on all key attributes"
            )
        return keys, conditions


def _same_length(expected: int, parameters: Sequence[Value]) -> None:
    if len(parameters) != expected:
        raise InvalidError("Number of parameters in request and statement don't match.")


@lru_cache(maxsize=4096)
def parse(text: str) -> Insert | Update:
    """Return the statement, or raise `InvalidError`."""
    if matched := _UPDATE.fullmatch(text):
        return Update(matched[1], _sets(text, matched[2]), _terms(text, matched[3]))
    if matched := _INSERT.fullmatch(text):
        names = [_FIELD.fullmatch(part) for part in matched[2].split(",")]
        if all(names):
            return Insert(matched[1], tuple(name[1] for name in names if name))
    raise _unreadable(text)


def _sets(text: str, clause: str) -> tuple[Assignment, ...]:
    end = 0
    sets = []
    while end < len(clause):
        matched = _SET.match(clause, end)
        if not matched:
            raise _unreadable(text)
        sets.append(Assignment(matched[1], matched[2], -1 if matched[3] == "-" else 1))
        end = matched.end()
    return tuple(sets)


def _terms(text: str, clause: str) -> tuple[Term, ...]:
    terms = [_TERM.fullmatch(part) for part in _AND.split(clause)]
    if not all(terms):
        raise _unreadable(text)
    return tuple(Term(matched[1], matched[2]) for matched in terms if matched)


def _unreadable(text: str) -> InvalidError:
    return InvalidError(f"Statement wasn't well formed, can't be processed: {text}")
