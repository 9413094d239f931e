"""Reads a counter: ``dynatomic get``."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import reduce
from typing import Literal

from dynatomic.console import table_lines
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.items import key_of, query_items
from dynatomic.dynamodb.tables import describe
from dynatomic.errors import ConfigError, DynatomicError
from dynatomic.events.row import Row, check, key_value

Values = list[tuple[str | None, Decimal]]
"""The range of each item, None in a table without a range key, and the value of the counter."""

_EXACT = Context(prec=400)


@dataclass(frozen=True, slots=True)
class GetOptions:
    """What to print: a counter, of which ranges, its sum only, and in which form."""

    counter: str
    range: str | None = None
    prefix: str = ""
    total: bool = False
    output: Literal["text", "json"] = "text"


def get(endpoint_url: str | None, table: str, key: str, options: GetOptions) -> Iterator[str]:
    """Yield the lines of the command.

    Raises RowError for a key that the table cannot have, DynatomicError if no item has the
    counter, ConfigError or UnavailableError if the table cannot be read.
    """
    check(Row(table, key, range=options.range, counter=options.counter))
    client = make_client(endpoint_url)
    keys = describe(client, table)
    if keys.range_name is None and (options.range is not None or options.prefix):
        raise ConfigError(f"table {table} has no range key: leave out --range and --prefix")
    if options.prefix and keys.range_type != "S":
        raise ConfigError(f"table {table} has a number as range key: use --range, not --prefix")
    range_ = options.range
    if range_ is not None:
        range_ = key_value(range_, keys.range_type or "S")
    items = query_items(
        client,
        table,
        keys,
        key_value(key, keys.hash_type),
        range_=range_,
        prefix=options.prefix,
    )
    values: Values = [
        (key_of(item_key)[1], Decimal(item[options.counter]["N"]))
        for item_key, item in items
        if "N" in item.get(options.counter, {})
    ]
    if not values:
        raise DynatomicError(
            f"table {table}: no item of this key has a number in {options.counter!r}; check the "
            "key, --range, --prefix and --counter"
        )
    if options.total:
        yield from _total(values, options)
    elif options.output == "json":
        for range_, value in values:
            yield json.dumps({"key": key, "range": range_, "value": _json_value(value)})
    elif options.range is not None or keys.range_name is None:
        yield format(values[0][1], "f")
    else:
        yield from table_lines([(r or "", format(value, "f")) for r, value in values], right={1})


def _total(values: Values, options: GetOptions) -> Iterator[str]:
    total = reduce(_EXACT.add, (value for _, value in values))
    if options.output == "json":
        yield json.dumps({"items": len(values), "value": _json_value(total)})
    else:
        yield format(total, "f")


def _json_value(value: Decimal) -> int | float:
    """Return the value for JSON. Only another program's counter has a fraction."""
    return int(value) if value == value.to_integral_value(context=_EXACT) else float(value)
