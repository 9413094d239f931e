"""The counters of a file as one generated function.

A call for each field, filter and amount takes most of the time of an event, so one function holds
them all: it reads each field once, asks each counter whether it takes the event, and finds the
items by their names. The usual case is inline code. Other cases are calls that compute the same or
raise EventRejected.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from dynatomic.counting.compiler import ExpressionCompiler, Scope, Tree
from dynatomic.counting.definition import Amount, CounterDefinition, CountersFile
from dynatomic.counting.expression import EvaluationError, Expression
from dynatomic.counting.items import CounterUnit, Moments
from dynatomic.counting.numbers import to_increment
from dynatomic.counting.reasons import EventRejected, RejectReason
from dynatomic.counting.template import ValuePart, key_text
from dynatomic.counting.times import MINUTE_MS, UNITS_PER_SECOND, rfc3339_memos, time_reader
from dynatomic.events.row import INT64_MAX, INT64_MIN

Loads = Callable[[Tree, str], list[str]]
"""Writes the statements that read the fields of a tree from the variable of this name."""

_SECOND_MS: Final = 1000
_EPOCH_SOURCE: Final = {"s": "{} * 1000", "ms": "{}", "us": "{} // 1000", "ns": "{} // 1000000"}
_MAX_EPOCH_S: Final = 2**37
"""Later times, after the year 6000, are left to the call."""


class ProgramOutput:
    """What events add: ``units[i]`` is added ``multipliers[i]`` times.

    ``counts`` has the number of units of each event.
    """

    __slots__ = ("counts", "multipliers", "rejected", "units")

    def __init__(self, events: int) -> None:
        self.counts = [0] * events
        self.units: list[CounterUnit] = []
        self.multipliers: list[int] = []
        self.rejected: dict[int, EventRejected] = {}


class Program:
    """A file compiled for one form of events. ``tree`` has the fields of the event that it reads.

    `build` makes the function, when it is known how the fields of the tree are read.
    """

    def __init__(self, definition: CountersFile, moments: Moments) -> None:
        self._scope = Scope()
        self._moments = moments
        self._definition = definition
        self._counters = definition.counters
        self._timed = [counter for counter in self._counters if counter.bucket]
        self._timeless = [counter for counter in self._counters if not counter.bucket]
        body = list(self._body())
        self._lines = body
        self.tree = self._scope.roots.get("event", Tree())
        self.kafka_tree = self._scope.roots.get("kafka")

    def build(
        self, event_loads: Loads, kafka_loads: Loads
    ) -> Callable[
        [Sequence[Any], int, Sequence[int | None], Callable[[int], Any], ProgramOutput], None
    ]:
        """Return the function ``count(events, start, timestamps, kafka_of, output)``."""
        loads = event_loads(self.tree, "event")
        if self.kafka_tree is not None:
            loads = ["kafka = kafka_of(i)", *kafka_loads(self.kafka_tree, "kafka"), *loads]
        lines = [
            "def count(events, start, timestamps, kafka_of, output):",
            "    units, multipliers = output.units, output.multipliers",
            "    counts = output.counts",
            "    for i, event in enumerate(events, start):",
            "        n = len(units)",
            "        try:",
            *(f"            {line}" for line in [*loads, *self._lines]),
            "        except EventRejected as error:",
            "            del units[n:], multipliers[n:]",
            "            output.rejected[i] = error.with_traceback(None)",
            "        else:",
            "            counts[i] = len(units) - n",
        ]
        self._scope.names["EventRejected"] = EventRejected
        return self._scope.function("count", lines)

    def _body(self) -> Iterator[str]:
        taken: dict[str, str] = {}
        for counter in self._counters:
            if counter.when is not None:
                taken[counter.name] = self._scope.name("w")
                yield from self._guarded(
                    taken[counter.name], counter.when, f"counter {counter.name}: when", test=True
                )
        timed = self._counters if self._has_bounds else self._timed
        if timed:
            yield from _only_if([taken.get(counter.name) for counter in timed], self._time())
        for counter in self._counters:
            yield from _only_if([taken.get(counter.name)], self._counter(counter))

    @property
    def _has_bounds(self) -> bool:
        event = self._definition.event
        return event.max_age_s is not None or event.max_ahead_s is not None

    def _guarded(
        self, variable: str, expression: Expression, location: str, *, test: bool = False
    ) -> Iterator[str]:
        """Write ``variable = expression``, and an EventRejected for a function that raises."""
        compiler = ExpressionCompiler(self._scope)
        write = compiler.test if test else compiler.value
        line = f"{variable} = {write(expression.tree)}"
        if not compiler.can_raise:
            yield line
            return
        problem = "a function got a value of the wrong type"
        detail = f"{location}: {problem}" if test else f"{location}: {expression.text}: {problem}"
        reject = self._scope.constant(_rejecting(RejectReason.FIELD_TYPE, detail))
        self._scope.names["EvaluationError"] = EvaluationError
        yield from ["try:", f"    {line}", "except EvaluationError:", f"    {reject}()"]

    def _variable(self, expression: Expression, location: str) -> tuple[list[str], str]:
        """Return the lines that compute an expression, and the variable that has its value."""
        variable = self._scope.name("x")
        lines = list(self._guarded(variable, expression, location))
        start = f"{variable} = "
        if len(lines) == 1 and lines[0].removeprefix(start).isidentifier():
            return [], lines[0].removeprefix(start)
        return lines, variable

    def _time(self) -> Iterator[str]:
        event = self._definition.event
        if event.time is None:
            missing = _rejecting(RejectReason.FIELD_MISSING, "time: the record has no timestamp")
            yield "ms = timestamps[i]"
            yield "if ms is None or ms < 0:"
            yield f"    {self._scope.constant(missing)}()"
        else:
            lines, variable = self._variable(event.time, "time")
            read = self._scope.constant(_time_reading(event.time, event.time_unit))
            yield from lines
            yield from self._read_time(variable, read)
            yield from self._bounds()
        if self._timed:
            yield f"m = {self._scope.constant(self._moments)}[ms // {MINUTE_MS}]"

    def _read_time(self, variable: str, read: str) -> Iterator[str]:
        unit = self._definition.event.time_unit
        if unit is not None:
            source = _EPOCH_SOURCE[unit].format(variable)
            limit = _MAX_EPOCH_S * UNITS_PER_SECOND[unit]
            yield f"if type({variable}) is int and 0 <= {variable} < {limit}:"
            yield f"    ms = {source}"
            yield f"else: ms = {read}({variable})"
            return
        minutes, seconds, ends = map(self._scope.constant, rfc3339_memos())
        yield "try:"
        yield (
            f"    ms = {minutes}[{variable}[:17]] + {seconds}[{variable}[17:19]] "
            f"+ {ends}[{variable}[19:]]"
        )
        yield f"except (KeyError, TypeError): ms = {read}({variable})"

    def _bounds(self) -> Iterator[str]:
        event = self._definition.event
        if not self._has_bounds:
            return
        yield "late = timestamps[i]"
        yield "if late is not None:"
        yield "    late -= ms"
        for bound, sign, words in (
            (event.max_age_s, ">", "older than max_age allows"),
            (event.max_ahead_s, "< -", "further ahead than max_ahead allows"),
        ):
            if bound is not None:
                reject = _rejecting(RejectReason.TIME_OUT_OF_RANGE, words)
                yield f"    if late {sign}{bound * _SECOND_MS}: {self._scope.constant(reject)}()"

    def _counter(self, counter: CounterDefinition) -> Iterator[str]:
        location = f"counter {counter.name}"
        texts: list[str] = []
        for template in [counter.key, *([counter.range] if counter.range else [])]:
            for part in template.parts:
                if isinstance(part, ValuePart):
                    lines, variable = self._variable(part.expression, location)
                    yield from lines
                    to_text = self._scope.constant(_to_text(location, part.expression.text))
                    text = self._scope.name("s")
                    is_text = f"type({variable}) is str"
                    yield f"{text} = {variable} if {is_text} else {to_text}({variable})"
                    texts.append(text)
        name = texts[0] if len(texts) == 1 else f"({''.join(f'{text}, ' for text in texts)})"
        amounts = []
        for amount in counter.amounts:
            lines, source = self._amount(location, amount)
            yield from lines
            amounts.append(source)
        yield f"units += {self._items(counter)}[{name}]"
        yield f"multipliers += ({', '.join(amounts)},)"

    def _items(self, counter: CounterDefinition) -> str:
        if counter.bucket:
            return f"m[{self._timed.index(counter)}]"
        return self._scope.constant(self._moments.timeless[self._timeless.index(counter)])

    def _amount(self, location: str, amount: Amount) -> tuple[list[str], str]:
        if amount.field is None:
            return [], "1"
        lines, variable = self._variable(amount.field, location)
        read = self._scope.constant(_amount_reading(location, amount))
        total = self._scope.name("a")
        if amount.scale:
            return [*lines, f"{total} = {read}({variable})"], total
        # The negation of the smallest int64 is not an int64, so the call handles it.
        inside = f"type({variable}) is int and {-INT64_MAX} <= {variable} <= {INT64_MAX}"
        return [*lines, f"{total} = {variable} if {inside} else {read}({variable})"], total


def _only_if(conditions: Sequence[str | None], lines: Iterator[str]) -> Iterator[str]:
    """Indent lines below the condition that one of the variables is true; None is always true."""
    if any(condition is None for condition in conditions):
        yield from lines
        return
    yield f"if {' or '.join(filter(None, conditions))}:"
    yield from (f"    {line}" for line in lines)


def _rejecting(reason: RejectReason, detail: str) -> Callable[[], None]:
    def reject() -> None:
        raise EventRejected(reason, detail) from None

    return reject


def _time_reading(expression: Expression, unit: str | None) -> Callable[[Any], int]:
    read = time_reader(unit)

    def read_time(value: Any) -> int:
        try:
            return read(value)
        except EventRejected as error:
            raise _named(error, "time", expression.text) from None

    return read_time


def _to_text(location: str, path: str) -> Callable[[Any], str]:
    def to_text(value: Any) -> str:
        try:
            return key_text(value)
        except EventRejected as error:
            raise _named(error, location, path) from None

    return to_text


def _amount_reading(location: str, amount: Amount) -> Callable[[Any], int]:
    path = "" if amount.field is None else amount.field.text
    low = -INT64_MAX if amount.negative else INT64_MIN
    high = -INT64_MIN if amount.negative else INT64_MAX

    def read(value: Any) -> int:
        try:
            total = to_increment(value, amount.scale)
        except EventRejected as error:
            raise _named(error, location, path) from None
        if not low <= total <= high:
            detail = f"{location}: {path}: not an int64"
            raise EventRejected(RejectReason.INCR_OUT_OF_BOUNDS, detail)
        return total

    return read


def _named(error: EventRejected, location: str, path: str) -> EventRejected:
    detail = f"{location}: {path}: {error.detail}" if error.detail else f"{location}: {path}"
    return EventRejected(error.reason, detail)
