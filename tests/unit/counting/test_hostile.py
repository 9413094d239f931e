"""Hostile payloads, files and loads: counted or refused, with bounded memory."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynatomic.counting import items, times
from dynatomic.counting.counting import Counting
from dynatomic.counting.file import loads
from dynatomic.counting.items import Moments
from dynatomic.counting.template import parse_template
from dynatomic.errors import ConfigError

_T = TypeVar("_T")

TEXT = """
[event]
time = "time"

[[counter]]
name = "c"
when = "kind != 'x' && length(kind) < `9`"
table = "usage"
key = "{id}"
range = "{time|minute}#{kind}"
add = { n = 1, v = { path = "v", scale = 2 } }

[[counter]]
name = "timeless"
table = "usage"
key = "{id}"
range = "all"
add = { n = 1 }
"""
EVENT = {"id": "a", "kind": "k", "time": "2026-11-29T00:50:59.123Z", "v": 1.25, "o": {"a": [1]}}
HOSTILE = Counting(loads(TEXT))


def _flipped(position: int, byte: int) -> bytes:
    data = bytearray(json.dumps(EVENT).encode())
    data[position % len(data)] = byte
    return bytes(data)


_payloads = st.one_of(
    st.binary(max_size=40),
    st.builds(_flipped, st.integers(0, 200), st.integers(0, 255)),
    st.sampled_from(
        [
            *(b"[" * 5000, b'{"id":' * 5000, b'{"time":' + b"9" * 9999 + b"}", b'{"v":1e999999}'),
            *(b'{"id":"a","kind":NaN}', b'{"id":"\xf0\x28\x8c\x28"}', b"\xef\xbb\xbf{}", b"null"),
            *(b'{"id":"a","id":null}', b'{"id":' + b'"\\u0000",' * 9 + b"}", b'{"time":[["x"]]}'),
            *(
                b'{"time":{"a":1}}',
                b'{"time":"2026-11-29T00:50:59.123456789Z"}',
                b'{"id":"\\ud800"}',
            ),
        ]
    ),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(_payloads, max_size=4))
def test_any_payload_is_counted_or_rejected_with_its_reason(payloads: list[bytes]) -> None:
    good = json.dumps(EVENT).encode()
    counted = HOSTILE.count([*payloads, good], [0] * (len(payloads) + 1))
    assert len(counted.units) == sum(counted.counts)
    assert counted.counts[-1] == 3, "the good event beside them is counted"
    for index, error in counted.rejected.items():
        assert counted.counts[index] == 0
        assert "\n" not in str(error)


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="{}|ab.#%time '`\"[]!&@", max_size=30))
def test_any_template_is_parsed_or_refused(text: str) -> None:
    template, problem = _tried(parse_template, text)
    assert "\n" not in problem
    for expression in template.expressions if template else ():
        assert callable(expression.compile())


def _tried(function: Callable[[str], _T], text: str) -> tuple[_T | None, str]:
    try:
        return function(text), ""
    except ConfigError as error:
        return None, str(error)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.one_of(
            st.integers(), st.booleans(), st.text(max_size=9), st.sampled_from(["json", "{a}"])
        ),
        lambda values: st.one_of(
            st.lists(values, max_size=3),
            st.dictionaries(
                st.sampled_from(
                    ["event", "counter", "key", "add", "table", "name", "time", "path"]
                ),
                values,
                max_size=4,
            ),
        ),
        max_leaves=12,
    )
)
def test_any_file_is_loaded_or_refused(document: Any) -> None:
    if isinstance(document, dict):
        text = "\n".join(f"{name} = {_toml(value)}" for name, value in document.items())
        assert "\n" not in _tried(loads, text)[1]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(entry)}" for name, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def test_names_that_never_repeat_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Moments] = []
    original = Moments.__init__

    def keep(self: Moments, *arguments: Any) -> None:
        made.append(self)
        original(self, *arguments)

    monkeypatch.setattr(Moments, "__init__", keep)
    monkeypatch.setattr(items, "_MEMO_BYTES", 100_000)
    monkeypatch.setattr(items, "_MAX_MINUTES", 10)
    monkeypatch.setattr(times, "_MEMO_ENTRIES", 10)
    counting = Counting(loads(TEXT))
    (moments,) = made
    for number in range(2000):
        moment = f"2026-11-{1 + number % 28:02}T00:{number % 60:02}:00.{number:06}Z"
        event = {**EVENT, "id": f"id-{number}", "time": moment}
        counted = counting.count([json.dumps(event).encode()], [0])
        assert [unit.ref.key for unit in counted.units] == [f"id-{number}"] * 3
        assert counted.units[0].ref.range == f"{moment[:16]}#k"
        kept = [*moments.timeless, *moments._buckets.values()]
        assert sum(map(len, kept)) <= 100_000 / 600
        assert len(moments) <= 10
