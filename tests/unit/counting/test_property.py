"""The compiled counters give what a plain implementation gives, for any event."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dynatomic.counting.counting import Counting
from dynatomic.counting.file import loads
from dynatomic.counting.records import Record, kafka_object
from tests.unit.counting import reference

Headers = tuple[tuple[str, bytes | None], ...]

FILE = loads("""
[event]
time = "time"
utc_offset = "-03:30"

[[counter]]
name = "daily"
when = "kind == 'a' || http.status < `500` && !(http.internal)"
table = "usage"
key = "{tenant.id}"
range = "day#{time|day}"
add = { requests = 1, bytes = "http.bytes" }

[[counter]]
name = "refunds"
when = "contains(['b', 'c'], kind) && _kafka.headers.source != 'test'"
table = "usage"
key = "{tenant.id}#{kind}#{_kafka.partition}"
range = "{time|month}/{tenant.plan}"
add = { refunds = 1 }
subtract = { cents = { path = "total", scale = 2 } }

[[counter]]
name = "first-item"
when = "items[0].sku && items[?count > `2`] | [0]"
table = "items"
key = "{items[0].sku}"
add = { sold = "items[0].count", all = "sum(items[*].count)" }
""")

_any = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.decimals(-1000, 1000, places=2),
    st.text(max_size=4),
    st.lists(st.integers(0, 5), max_size=2),
    st.dictionaries(st.sampled_from(["id", "a"]), st.integers(), max_size=1),
)


def _mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 19).flatmap(lambda roll: good if roll else _any)


def _object(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = {name: _mostly(good) for name, good in fields.items()}
    return _mostly(st.fixed_dictionaries(names))


_names = st.sampled_from(["x", "a#b", "50%", "c-7", 7, -1])
_times = st.integers(86_400, 2**32).map(
    lambda seconds: datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
)
_amounts = st.one_of(
    st.integers(-9, 9), st.decimals(-99, 99, places=2), st.sampled_from([2**63, -(2**63)])
)
_events = st.fixed_dictionaries(
    {
        "time": _mostly(_times),
        "kind": _mostly(st.sampled_from(["a", "b", "c"])),
        "tenant": _object(id=_names, plan=_names),
        "http": _object(
            status=st.sampled_from([200, 499, 500]),
            bytes=st.integers(-9, 9),
            internal=st.sampled_from([True, False, None]),
        ),
        "total": _mostly(_amounts),
        "items": _mostly(st.lists(_object(sku=_names, count=st.integers(-9, 9)), max_size=3)),
        "other": _any,
    },
)


class _Number(float):
    def __init__(self, value: Decimal) -> None:
        self.text = str(value)

    def __repr__(self) -> str:
        return self.text


def _json(event: Any) -> bytes:
    return json.dumps(event, default=_Number).encode()


_payloads = st.one_of(
    _events.map(_json), _events.map(_json), st.sampled_from([b"", b"[1]", b'{"time":', b'"\xff"'])
)
_headers: st.SearchStrategy[Headers] = st.sampled_from([(), (("source", b"test"),)])
_records = st.builds(
    Record,
    _payloads,
    st.just(b"k"),
    _headers,
    st.just(1_764_000_000_000),
    st.integers(0, 3),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_records, min_size=1, max_size=12))
def test_the_compiled_counters_agree_with_a_plain_implementation(records: list[Record]) -> None:
    counted = COUNTING.count(
        [record.value for record in records],
        [record.timestamp_ms for record in records],
        lambda index: kafka_object(records[index]),
    )
    got: list[reference.Result] = [
        str(counted.rejected[index].reason) if index in counted.rejected else []
        for index in range(len(records))
    ]
    additions: dict[tuple[int, str], tuple[str, str, str | None, dict[str, int]]] = {}
    multipliers = counted.multipliers
    assert multipliers is not None
    indexes = [index for index, count in enumerate(counted.counts) for _ in range(count)]
    for unit, multiplier, index in zip(counted.units, multipliers, indexes, strict=True):
        ref, place = unit.ref, (index, unit.counter)
        if place not in additions:
            additions[place] = (unit.counter, ref.key, ref.range, {})
            outcome = got[index]
            assert isinstance(outcome, list)
            outcome.append(additions[place])
        additions[place][3][ref.name] = unit.incr * multiplier
    assert got == [reference.additions(FILE, record) for record in records]


def test_one_record_adds_what_it_adds_in_a_batch() -> None:
    event = b'{"kind":"a","time":"2026-11-29T00:50:59Z","tenant":{"id":"c"},"http":{"bytes":5}}'
    (addition,) = COUNTING.additions(Record(event))
    assert addition[:4] == ("daily", "usage", "c", "day#2026-11-28")
    assert addition.amounts == (("requests", 1), ("bytes", 5))


COUNTING = Counting(FILE)
