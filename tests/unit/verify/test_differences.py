"""Which differences verify finds, how it shows them, and which events it leaves out."""

import json

import pytest

from dynatomic.config.settings import ProcessingGuarantee
from dynatomic.verify.report import TableValue
from tests.support.verify_world import (
    FENCED,
    UNFENCED,
    World,
    differences,
)


@pytest.mark.parametrize("guarantee", [FENCED, UNFENCED])
def test_a_table_that_is_right_is_ok(guarantee: ProcessingGuarantee) -> None:
    w = World(2)
    w.emit("a", "b", "a", incr=5)
    w.emit("c", incr=-3, partition=1)
    w.emit("a", incr=2, counter="views")
    w.emit("z", table="bytes", incr=7)
    w.item("a", 10, {0: 3}, views={"N": "2"})
    w.item("b", 5, {0: 1})
    w.item("c", -3, {1: 0})
    w.item("z", 7, {0: 4}, table="bytes")
    w.commit(5, 1)
    verdict = w.verify(guarantee)
    assert list(verdict.text(20)) == ["OK  5 counters, sum 21 = 21"]
    assert (verdict.events, verdict.rejected, verdict.uncommitted) == (6, 0, 0)


@pytest.mark.parametrize("guarantee", [FENCED, UNFENCED])
def test_an_empty_topic_is_ok(guarantee: ProcessingGuarantee) -> None:
    assert list(World(3).verify(guarantee).text(20)) == ["OK  0 counters, sum 0 = 0"]


@pytest.mark.parametrize("guarantee", [FENCED, UNFENCED])
def test_every_kind_of_difference_is_found_and_nothing_else(
    guarantee: ProcessingGuarantee,
) -> None:
    w = World(2)
    w.emit("high", "low", "gone", "bare", "text", "right", "half")
    w.emit("low", partition=1)
    w.emit("zero", incr=5)
    last = w.emit("zero", incr=-5)
    w.item("high", 2, {0: 0})
    w.item("low", 1, {0: 1, 1: 0})
    w.item("bare", None, {0: 3})
    w.item("text", "many", {0: 4})
    w.item("right", 1, {0: 5})
    w.item("half", 0.5, {0: 6})
    w.emit("text", incr=-1)
    last = w.emit("zero", incr=0)
    w.commit(last + 1, 1)
    verdict = w.verify(guarantee)
    assert not verdict.ok
    assert list(verdict.text(20)) == [
        "DIFFERENT  6 of 8 counters, sum in topic 7, in table 4",
        "table  item  counter  in topic         in table  difference  partitions",
        "hits   high  count           1                2          +1  0",
        "hits   low   count           2                1          -1  0, 1",
        "hits   gone  count           1     missing item          -1  0",
        "hits   bare  count           1          missing          -1  0",
        "hits   half  count           1  no whole number           ?  0",
        "hits   text  count           0        no number           ?  0",
    ]


def test_text_has_at_most_so_many_lines_the_largest_first_and_json_has_all() -> None:
    w = World()
    for number in range(30):
        w.item(f"k{number:02}", 2 * number + 1, {0: w.emit(f"k{number:02}", incr=number)})
    w.item("k28", -1)
    w.commit(30)
    verdict = w.verify()
    lines = list(verdict.text(3))
    assert lines[0] == "DIFFERENT  30 of 30 counters, sum in topic 435, in table 842"
    assert [line.split()[1] for line in lines[2:5]] == ["k29", "k28", "k27"]
    assert lines[5:-1] == ["and 27 more: increase --limit, or use -o json"]
    assert list(verdict.text(0))[1:-1] == ["and 30 more: increase --limit, or use -o json"]
    told = json.loads(verdict.json())
    assert len(told["differences"]) == 30
    assert (told["ok"], told["counters"], told["in_topic"], told["in_table"]) == (
        False,
        30,
        435,
        842,
    )
    assert told["differences"][7] == {
        "table": "hits",
        "key": "k07",
        "range": None,
        "counter": "count",
        "in_topic": 7,
        "in_table": 15,
        "difference": 8,
        "partitions": [0],
        "baseline": None,
        "note": None,
    }


def test_numbers_are_compared_to_the_last_digit() -> None:
    w, big = World(), 2**63 - 1
    for key, wrong in (("right", 0), ("wrong", 1)):
        for _ in range(3):
            last = w.emit(key, incr=big)
        w.item(key, 3 * big - wrong, {0: last})
    assert differences(w.verify()) == {"wrong": -1}


@pytest.mark.parametrize(
    ("text", "number"),
    [("-7", -7), ("100.0", 100), ("1E+2", 100), ("1" * 38 + "0", int("1" * 38) * 10)],
)
def test_a_whole_number_is_one_however_it_is_written(text: str, number: int) -> None:
    assert TableValue.of({"count": {"N": text}}, "count") == TableValue(number)


@pytest.mark.parametrize("text", ["0.5", "1E-3", "1" * 37 + ".5"])
def test_a_fraction_is_no_whole_number(text: str) -> None:
    assert TableValue.of({"count": {"N": text}}, "count") == TableValue(note="no whole number")


def test_items_with_a_range_key_are_told_apart() -> None:
    w = World(ranged=True)
    for range_, held in (("1", 1), ("2", 7)):
        w.emit("a", range=range_)
        w.item("a", held, {0: 1}, rk={"S": range_})
    (difference,) = w.verify().differences
    assert (difference.item, difference.difference) == (("a", "2"), 6)
    assert difference.cells()[1] == "a/2"
    assert difference.fields()["range"] == "2"


def test_keys_that_a_terminal_would_obey_are_not_printed_as_they_are() -> None:
    w = World()
    w.emit("\x1b[2J" + "x" * 100)
    w.commit(1)
    (difference,) = w.verify().differences
    assert difference.cells()[1] == "?[2J" + "x" * 53 + "..."


def test_events_that_are_dead_letters_are_told_not_counted() -> None:
    w = World()
    w.emit("a")
    w.put_raw(None)
    for _ in range(3):
        w.put_raw(b"no row")
    w.emit("b", table="not-listed")
    w.emit("a", incr=1_000)
    w.item("a", 1, {0: 6})
    w.commit(7)
    verdict = w.verify(max_incr=999)
    assert list(verdict.text(20)) == [
        "OK  1 counter, sum 1 = 1",
        "dead letters, not counted: 6",
    ]
