"""The compiled counters give what a plain implementation gives, for any event."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dynatomic.counting.counting import Counting
from dynatomic.counting.file import loads
from dynatomic.counting.reasons import Rejected
from dynatomic.counting.records import Record
from tests.unit.counting import reference

FILE = loads("""
[event]
time = "time"
utc_offset = "-03:30"

[[counter]]
name = "daily"
when = "kind == 'a' || http.status < `500` && !http.internal"
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


@settings(max_examples=1000, deadline=None)
@given(_events, st.sampled_from([(), (("source", b"test"),)]), st.integers(0, 3))
def test_the_compiled_counters_agree_with_a_plain_implementation(
    event: Any, headers: tuple[tuple[str, bytes], ...], partition: int
) -> None:
    record = Record(_json(event), b"k", headers, 1_764_000_000_000, partition)
    try:
        got: reference.Result = [
            (a.counter, a.key, a.range, dict(a.amounts)) for a in COUNTING.additions(record)
        ]
    except Rejected as error:
        got = str(error.reason)
    assert got == reference.additions(FILE, record)


COUNTING = Counting(FILE)
