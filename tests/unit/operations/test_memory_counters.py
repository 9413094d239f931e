"""The fixture for the tests of users, and the public decoder."""

import copy
import pickle
import tomllib
from pathlib import Path

import pytest

from dynatomic import Row, RowError, decode
from dynatomic.events.schema import encode
from dynatomic.operations import pytest_plugin
from dynatomic.operations.memory_counters import TOPIC, MemoryCounters
from dynatomic.operations.pytest_plugin import dynatomic_counters as _fixture  # noqa: F401 - pytest finds it


def test_pytest_finds_the_fixture_by_an_entry_point() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"dynatomic": pytest_plugin.__name__}


def test_usage(dynatomic_counters: MemoryCounters) -> None:
    dynatomic_counters.emit(Row("usage", "customer-7", incr=512))
    assert dynatomic_counters.value("usage", "customer-7") == 512


def test_what_is_emitted_is_counted_once(dynatomic_counters: MemoryCounters) -> None:
    row = Row("views", "a", range="2026", counter="hits", incr=2)
    for _ in range(3):
        dynatomic_counters.emit(row)
    assert dynatomic_counters.rows() == [row] * 3
    assert (dynatomic_counters.count(), dynatomic_counters.count()) == (3, 0)
    dynatomic_counters.emit(row)
    assert dynatomic_counters.value("views", "a", range="2026", counter="hits") == 8
    assert dynatomic_counters.value("views", "a", range="2027") == 0
    assert dynatomic_counters.value("usage", "a") == 0


def test_an_event_that_cannot_be_counted_fails_the_test(dynatomic_counters: MemoryCounters) -> None:
    dynatomic_counters.emit(Row("usage", "a"))
    with pytest.raises(RowError, match="range-unexpected"):
        dynatomic_counters.emit(Row("usage", "a", range="r")) or dynatomic_counters.count()  # type: ignore[func-returns-value]


def test_the_decoder_gives_the_row_back() -> None:
    row = Row("usage", "kůň", range="r", counter="c", incr=-3)
    assert decode(encode(row)) == row
    with pytest.raises(RowError, match="undecodable"):
        decode(encode(row)[:-1])
    assert TOPIC == "row-events"


def test_a_third_text_needs_its_name() -> None:
    with pytest.raises(TypeError, match="positional"):
        Row("usage", "customer-7", "hits")  # type: ignore[call-arg]
    row = Row("usage", "a", counter="hits")
    again = pickle.loads(pickle.dumps(row))  # noqa: S301 - written above
    assert copy.copy(row) == again == row
    assert type(again) is Row


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"table": "usage", "key": "a"}, "a row is a Row, not a dict: use Row"),
        (Row("usage", 7), "field key must be text, not int"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_row_is_said(dynatomic_counters: MemoryCounters, given: Row, words: str) -> None:
    with pytest.raises(RowError, match=words):
        dynatomic_counters.emit(given)
