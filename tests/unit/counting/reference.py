"""A plain implementation of the file's semantics, to compare the compiled one with."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from dynatomic.counting.definition import Amount, CounterDefinition, CountersFile
from dynatomic.counting.expression import EvaluationError, Expression
from dynatomic.counting.records import Record
from dynatomic.counting.template import Template, TimePart, ValuePart
from dynatomic.counting.values import ExactInterpreter

Result = list[tuple[str, str, str | None, dict[str, int]]] | str


def additions(definition: CountersFile, record: Record) -> Result:
    """Return what a record adds, or the reason why it cannot be counted."""
    try:
        event = json.loads(record.value, parse_float=Decimal)
        view = event
        if isinstance(event, dict):
            view = {**event, "_kafka": _kafka(record)}
        taken = [
            counter
            for counter in definition.counters
            if counter.when is None or _true(_search(counter.when, view))
        ]
        timed = any(counter.bucket for counter in taken)
        moment = _moment(definition, view, record) if timed else datetime.now(UTC)
        return [_addition(counter, view, moment) for counter in taken]
    except ValueError:
        return "undecodable"
    except _BadError as error:
        return str(error)


class _BadError(Exception):
    pass


def _kafka(record: Record) -> dict[str, Any]:
    return {
        "key": None if record.key is None else record.key.decode(),
        "headers": {name: value and value.decode() for name, value in record.headers},
        "timestamp": record.timestamp_ms,
        "partition": record.partition,
        "topic": record.topic,
    }


def _search(expression: Expression, event: Any) -> Any:
    try:
        return ExactInterpreter().visit(expression.tree, event)
    except EvaluationError:
        raise _BadError("field-type") from None


def _true(value: Any) -> bool:
    return not (value is None or value is False or value in ("", [], {}))


def _addition(
    counter: CounterDefinition, event: Any, moment: datetime
) -> tuple[str, str, str | None, dict[str, int]]:
    key = _render(counter.key, event, moment)
    range_key = None if counter.range is None else _render(counter.range, event, moment)
    amounts = {amount.attribute: _amount(amount, event) for amount in counter.amounts}
    if "" in (key, range_key):
        raise _BadError("key-empty")
    return counter.name, key, range_key, amounts


def _moment(definition: CountersFile, event: Any, record: Record) -> datetime:
    zone = timezone(timedelta(milliseconds=definition.event.utc_offset_ms))
    if definition.event.time is None:
        return datetime.fromtimestamp((record.timestamp_ms or 0) / 1000, UTC).astimezone(zone)
    value = _search(definition.event.time, event)
    if value is None:
        raise _BadError("field-missing")
    if not isinstance(value, str):
        raise _BadError("time-unreadable")
    try:
        return datetime.fromisoformat(value).astimezone(zone)
    except (ValueError, OverflowError):
        raise _BadError("time-unreadable") from None


def _render(template: Template, event: Any, moment: datetime) -> str:
    formats = {"day": "%Y-%m-%d", "month": "%Y-%m", "hour": "%Y-%m-%dT%H", "year": "%Y"}
    text = ""
    for part in template.parts:
        if isinstance(part, TimePart):
            text += moment.strftime(formats[part.bucket])
        elif isinstance(part, ValuePart):
            value = _search(part.expression, event)
            if value is None:
                raise _BadError("field-missing")
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise _BadError("field-type")
            text += "".join(f"%{ord(c):02X}" if c in part.escaped else c for c in str(value))
        else:
            text += part
    return text


def _amount(amount: Amount, event: Any) -> int:
    if amount.field is None:
        return -amount.constant if amount.negative else amount.constant
    value = _search(amount.field, event)
    if value is None:
        raise _BadError("field-missing")
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _BadError("field-type")
    scaled = Decimal(value).scaleb(amount.scale)
    if scaled != scaled.to_integral_value():
        raise _BadError("not-integral")
    total = -int(scaled) if amount.negative else int(scaled)
    if not -(2**63) <= total < 2**63:
        raise _BadError("incr-out-of-bounds")
    return total
