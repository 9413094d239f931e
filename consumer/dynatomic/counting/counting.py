"""What one record adds to which counters: a pure function of the record and the file."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from dynatomic.counting.definition import Amount, CounterDefinition, CountersFile
from dynatomic.counting.expression import Access, EvaluationError, dict_access, is_false
from dynatomic.counting.numbers import to_increment
from dynatomic.counting.reasons import Rejected, RejectReason
from dynatomic.counting.records import JsonReader, Record, kafka_object
from dynatomic.counting.template import Template, TimePart, ValuePart, escape_table, key_text
from dynatomic.counting.times import bucket_end_ms, bucket_function, time_reader
from dynatomic.events.row import INT64_MAX, INT64_MIN, MAX_KEY_BYTES, MAX_RANGE_BYTES

_SECOND_MS: Final = 1000
Evaluate = Callable[[Any, Any], Any]
Render = Callable[[Any, Any, int], str]


class Addition(NamedTuple):
    """What one counter of the file adds to one item.

    ``amounts`` are pairs of attribute and increment. ``expires_s`` is the Unix time in seconds
    for the table's TTL attribute, or None.
    """

    counter: str
    table: str
    key: str
    range: str | None
    amounts: tuple[tuple[str, int], ...]
    expires_s: int | None


class Counting:
    """The counters of a file, compiled.

    `additions` raises Rejected where a counter that takes the event cannot be computed: then the
    event adds to no counter at all.
    """

    def __init__(self, definition: CountersFile) -> None:
        paths = {path for e in _expressions(definition) for path in e.paths}
        self._reader = JsonReader(paths)
        self._whole = _Program(definition, dict_access)
        self._fields = (
            _Program(definition, self._reader.access) if self._reader.reads_fields else None
        )
        self._uses_kafka = any(path[:1] in {("_kafka",), ()} for path in paths)

    def additions(self, record: Record) -> list[Addition]:
        """Return what the record adds; raises Rejected. Empty where no counter takes it."""
        kafka = kafka_object(record) if self._uses_kafka else None
        if self._fields is not None:
            fields = self._reader.fields(record.value)
            if fields is not None:
                return self._fields.additions(fields, kafka, record.timestamp_ms)
        event = self._reader.whole(record.value)
        return self._whole.additions(event, kafka, record.timestamp_ms)


def _expressions(definition: CountersFile) -> list[Any]:
    expressions = [definition.event.time]
    for counter in definition.counters:
        expressions.append(counter.when)
        expressions += [amount.field for amount in counter.amounts]
        expressions += counter.key.expressions
        expressions += counter.range.expressions if counter.range else []
    return [expression for expression in expressions if expression is not None]


class _Program:
    """A file compiled for one way to access an event."""

    def __init__(self, definition: CountersFile, access: Access) -> None:
        event = definition.event
        self._time = event.time.compile(access) if event.time else None
        self._time_text = event.time.text if event.time else ""
        self._read_time = time_reader(event.time_unit)
        self._max_age_ms = None if event.max_age_s is None else event.max_age_s * _SECOND_MS
        self._max_ahead_ms = None if event.max_ahead_s is None else event.max_ahead_s * _SECOND_MS
        self._has_bounds = event.max_age_s is not None or event.max_ahead_s is not None
        self._counters = [
            _CompiledCounter(counter, access, event.utc_offset_ms)
            for counter in definition.counters
        ]

    def additions(self, event: Any, kafka: Any, timestamp_ms: int | None) -> list[Addition]:
        """Return what an event adds to the counters that take it."""
        additions: list[Addition] = []
        time_ms: int | None = None
        for counter in self._counters:
            if not counter.takes(event, kafka):
                continue
            if time_ms is None and (self._has_bounds or counter.bucket):
                time_ms = self._time_ms(event, kafka, timestamp_ms)
            additions.append(counter.addition(event, kafka, time_ms or 0))
        return additions

    def _time_ms(self, event: Any, kafka: Any, timestamp_ms: int | None) -> int:
        if self._time is None:
            if timestamp_ms is None or timestamp_ms < 0:
                raise Rejected(RejectReason.FIELD_MISSING, "time: the record has no timestamp")
            return timestamp_ms
        try:
            time_ms = self._read_time(self._time(event, kafka))
        except EvaluationError:
            raise Rejected(RejectReason.FIELD_TYPE, _detail("time", self._time_text)) from None
        except Rejected as error:
            detail = _detail("time", self._time_text, error.detail)
            raise Rejected(error.reason, detail) from None
        if timestamp_ms is None:
            return time_ms
        if self._max_age_ms is not None and timestamp_ms - time_ms > self._max_age_ms:
            raise Rejected(RejectReason.TIME_OUT_OF_RANGE, "older than max_age allows")
        if self._max_ahead_ms is not None and time_ms - timestamp_ms > self._max_ahead_ms:
            raise Rejected(RejectReason.TIME_OUT_OF_RANGE, "further ahead than max_ahead allows")
        return time_ms


class _CompiledCounter:
    """One counter, compiled for one way to access an event."""

    def __init__(self, counter: CounterDefinition, access: Access, offset_ms: int) -> None:
        self._name = counter.name
        self._table = counter.table
        self._when = counter.when.compile(access) if counter.when else None
        self._when_text = counter.when.text if counter.when else ""
        self._key = _renderer(counter, counter.key, access, offset_ms, MAX_KEY_BYTES)
        self._range = (
            None
            if counter.range is None
            else _renderer(counter, counter.range, access, offset_ms, MAX_RANGE_BYTES)
        )
        self._amounts = [_amount(counter, amount, access) for amount in counter.amounts]
        self._constants = _constants(counter.amounts)
        self._expires_s = counter.expires_s
        self.bucket = counter.bucket
        self._offset_ms = offset_ms

    def takes(self, event: Any, kafka: Any) -> bool:
        """Return whether the counter's ``when`` holds; raises Rejected if it cannot be computed."""
        if self._when is None:
            return True
        try:
            return not is_false(self._when(event, kafka))
        except EvaluationError:
            detail = f"counter {self._name}: when: a function got a value of the wrong type"
            raise Rejected(RejectReason.FIELD_TYPE, detail) from None

    def addition(self, event: Any, kafka: Any, time_ms: int) -> Addition:
        """Return what the event adds; raises Rejected with the counter and the path."""
        expires_s = None
        if self._expires_s is not None and self.bucket is not None:
            end_ms = bucket_end_ms(self.bucket, self._offset_ms, time_ms)
            expires_s = -(-end_ms // _SECOND_MS) + self._expires_s
        key = self._key(event, kafka, time_ms)
        range_key = None if self._range is None else self._range(event, kafka, time_ms)
        amounts = self._constants or tuple(
            [(attribute, amount(event, kafka)) for attribute, amount in self._amounts]
        )
        return Addition(self._name, self._table, key, range_key, amounts, expires_s)


def _constants(amounts: tuple[Amount, ...]) -> tuple[tuple[str, int], ...] | None:
    if any(amount.field is not None for amount in amounts):
        return None
    return tuple((a.attribute, -a.constant if a.negative else a.constant) for a in amounts)


def _amount(
    counter: CounterDefinition, amount: Amount, access: Access
) -> tuple[str, Callable[[Any, Any], int]]:
    attribute, sign, scale = amount.attribute, -1 if amount.negative else 1, amount.scale
    if amount.field is None:
        constant = sign * amount.constant
        return attribute, lambda _event, _kafka: constant
    text, evaluate = amount.field.text, amount.field.compile(access)

    def read(event: Any, kafka: Any) -> int:
        value = _evaluated(counter.name, text, evaluate, event, kafka)
        if type(value) is int and not scale:
            total = sign * value
        else:
            try:
                total = sign * to_increment(value, scale)
            except Rejected as error:
                detail = _detail(f"counter {counter.name}", text, error.detail)
                raise Rejected(error.reason, detail) from None
        if not INT64_MIN <= total <= INT64_MAX:
            detail = _detail(f"counter {counter.name}", text, "not an int64")
            raise Rejected(RejectReason.INCR_OUT_OF_BOUNDS, detail)
        return total

    return attribute, read


def _renderer(
    counter: CounterDefinition, template: Template, access: Access, offset_ms: int, max_bytes: int
) -> Render:
    parts: list[Callable[[Any, Any, int], str]] = [
        _part(counter, part, access, offset_ms) for part in template.parts
    ]

    def render(event: Any, kafka: Any, time_ms: int) -> str:
        text = "".join([part(event, kafka, time_ms) for part in parts])
        if len(text) * 4 > max_bytes or not text:
            _check_size(counter.name, template.text, text, max_bytes)
        return text

    return render


def _check_size(name: str, template: str, text: str, max_bytes: int) -> None:
    if not text:
        raise Rejected(RejectReason.KEY_EMPTY, f"counter {name}: {template} gives no text")
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        detail = f"counter {name}: {template} gives {size} bytes, the limit is {max_bytes}"
        raise Rejected(RejectReason.KEY_TOO_LARGE, detail)


def _part(
    counter: CounterDefinition, part: str | ValuePart | TimePart, access: Access, offset_ms: int
) -> Render:
    if isinstance(part, str):
        return lambda _event, _kafka, _time_ms: part
    if isinstance(part, TimePart):
        bucket = bucket_function(part.bucket, offset_ms)
        return lambda _event, _kafka, time_ms: bucket(time_ms)
    text, evaluate = part.expression.text, part.expression.compile(access)
    escapes = escape_table(part.escaped)

    def render(event: Any, kafka: Any, _time_ms: int) -> str:
        value = _evaluated(counter.name, text, evaluate, event, kafka)
        if type(value) is not str:
            try:
                value = key_text(value)
            except Rejected as error:
                detail = _detail(f"counter {counter.name}", text, error.detail)
                raise Rejected(error.reason, detail) from None
        return value.translate(escapes) if escapes else value

    return render


def _evaluated(name: str, text: str, evaluate: Evaluate, event: Any, kafka: Any) -> Any:
    try:
        return evaluate(event, kafka)
    except EvaluationError:
        detail = _detail(f"counter {name}", text, "a function got a value of the wrong type")
        raise Rejected(RejectReason.FIELD_TYPE, detail) from None


def _detail(place: str, path: str, problem: str = "") -> str:
    return f"{place}: {path}: {problem}" if problem else f"{place}: {path}"
