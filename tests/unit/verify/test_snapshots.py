"""Snapshots, and the baselines that they become."""

import json
import stat
from pathlib import Path

import pytest

from dynatomic.config.settings import ProcessingGuarantee
from dynatomic.verify.baseline import Baseline
from tests.support.verify_world import (
    FENCED,
    TOPIC,
    UNFENCED,
    World,
    differences,
    first_line,
)


def test_a_table_that_counted_before_the_topic_began_needs_a_baseline(tmp_path: Path) -> None:
    w, file = World(), tmp_path / "base"
    w.emit("a")
    w.item("a", 101, {0: 0})
    assert differences(w.verify()) == {"a": 100}
    taken = w.verify(snapshot=file)
    assert first_line(taken) == "1 counter, sum 101; nothing was compared"
    assert json.loads(taken.json())["ok"] is None
    w.emit("a", "b", incr=2)
    w.item("a", 103, {0: 1})
    w.item("b", 2, {0: 2})
    verdict = w.verify(baseline=file)
    assert first_line(verdict) == "OK  2 counters, sum 105 = 105"
    w.item("a", 104, {0: 1})
    (difference,) = w.verify(baseline=file).differences
    assert difference.fields()["baseline"] == 101
    assert difference.partitions == [0]


def test_a_counter_that_the_topic_names_later_begins_with_what_its_item_held(
    tmp_path: Path,
) -> None:
    w, file = World(), tmp_path / "base"
    w.emit("a")
    w.item("a", 1, {0: 0}, views={"N": "30"}, height={"N": "1.5"})
    w.verify(snapshot=file)
    (held,) = Baseline.open(file).items()
    assert (held.counters, held.others) == ({"count": 1}, {"views": 30})
    assert first_line(w.verify(baseline=file)) == "OK  1 counter, sum 1 = 1"
    w.emit("a", counter="views")
    w.item("a", 1, {0: 1}, views={"N": "31"})
    assert first_line(w.verify(baseline=file)) == "OK  2 counters, sum 32 = 32"


@pytest.mark.parametrize("guarantee", [FENCED, UNFENCED])
def test_an_item_whose_events_retention_removed_is_in_the_first_snapshot_and_all_later_ones(
    guarantee: ProcessingGuarantee, tmp_path: Path
) -> None:
    w, first, second = World(), tmp_path / "first", tmp_path / "second"
    w.emit("old", "older", "a", incr=100)
    w.item("old", 100, {0: 0})
    w.item("older", 100, {0: 1}, views={"N": "7"})
    w.item("a", 100, {0: 2})
    w.commit(3)
    w.broker.delete_before(TOPIC, 0, 2)
    taken = w.verify(guarantee, snapshot=first)
    assert list(taken.text(20)) == [
        "1 counter, sum 100; nothing was compared",
        "the snapshot also contains 2 items that the topic does not name",
    ]
    assert first_line(w.verify(guarantee, baseline=first)) == "OK  1 counter, sum 100 = 100"
    w.item("old", 107, {0: w.emit("old", incr=7)})
    w.commit(4)
    assert first_line(w.verify(guarantee, baseline=first)) == "OK  2 counters, sum 207 = 207"
    w.verify(guarantee, baseline=first, snapshot=second)
    w.item("older", 101, {0: w.emit("older", incr=1)}, views={"N": "8"})
    w.emit("older", counter="views")
    w.commit(6)
    w.item("older", 101, {0: 5}, views={"N": "8"})
    assert first_line(w.verify(guarantee, baseline=second)) == "OK  4 counters, sum 316 = 316"
    w.item("older", 101, {0: 5}, views={"N": "9"})
    assert differences(w.verify(guarantee, baseline=second)) == {"older": 1}


def test_a_later_snapshot_does_not_accept_what_was_changed_beside_the_topic(
    tmp_path: Path,
) -> None:
    w, first, second = World(), tmp_path / "first", tmp_path / "second"
    w.emit("old", "a")
    w.item("old", 100, {0: 0})
    w.item("a", 1, {0: 1})
    w.commit(2)
    w.broker.delete_before(TOPIC, 0, 1)
    w.verify(snapshot=first)
    w.item("old", 105, {0: 0})
    w.verify(baseline=first, snapshot=second)
    w.item("old", 106, {0: w.emit("old")})
    w.commit(3)
    assert differences(w.verify(baseline=second)) == {"old": 5}


def test_a_table_that_the_baseline_does_not_have_is_told_and_is_in_the_next_one(
    tmp_path: Path,
) -> None:
    w, first, second = World(), tmp_path / "first", tmp_path / "second"
    w.emit("a")
    w.item("a", 1, {0: 0})
    w.commit(1)
    w.item("z", 40, table="bytes")
    w.verify(snapshot=first, tables=("hits",))
    told = "table bytes is not in the baseline: its counters are assumed to start at 0"
    assert list(w.verify(baseline=first).text(20))[1:] == [told]
    assert list(w.verify(baseline=first, tables=("hits",)).text(20))[1:] == []
    w.verify(baseline=first, snapshot=second)
    w.item("z", 41, {0: w.emit("z", table="bytes")}, table="bytes")
    w.commit(2)
    assert differences(w.verify(baseline=first)) == {"z": 40}
    assert list(w.verify(baseline=second).text(20)) == ["OK  2 counters, sum 42 = 42"]


def test_a_counter_that_is_named_while_a_snapshot_is_taken_is_not_counted_twice(
    tmp_path: Path,
) -> None:
    w, file = World(), tmp_path / "base"
    w.emit("a")

    def name_another() -> None:
        w.on_read = lambda: None
        w.emit("a", counter="views")
        w.item("a", 1, {0: 1}, views={"N": "1"})

    w.on_read = name_another
    w.verify(snapshot=file)
    assert first_line(w.verify(baseline=file)) == "OK  2 counters, sum 2 = 2"


def test_a_switch_from_at_least_once_to_exactly_once_and_back(tmp_path: Path) -> None:
    w, file, later = World(2), tmp_path / "base", tmp_path / "later"
    w.emit("a", "b", "a")
    w.emit("a", partition=1)
    w.item("a", 4)  # one was counted twice
    w.item("b", 1)
    w.commit(3, 1)
    assert differences(w.verify(UNFENCED)) == {"a": 1}
    w.verify(UNFENCED, snapshot=file)  # which accepts it
    w.broker.delete_before(TOPIC, 0, 3)
    assert w.verify(FENCED, baseline=file).ok
    w.emit("a", "c", "a")
    w.emit("b", partition=1)
    w.item("a", 5, {0: 4})
    w.item("c", 1, {0: 4})
    w.commit(4)
    assert first_line(w.verify(FENCED, baseline=file)) == "OK  3 counters, sum 7 = 7"
    w.item("a", 6, {0: 4})
    assert differences(w.verify(FENCED, baseline=file)) == {"a": 1}
    w.item("a", 6, {0: 5})
    w.item("b", 2, {1: 1})
    w.verify(FENCED, baseline=file, snapshot=later)
    w.commit(6, 2)
    assert first_line(w.verify(UNFENCED, baseline=later)) == "OK  3 counters, sum 9 = 9"
    w.emit("a", "b")
    w.item("a", 7, {0: 5})
    w.item("b", 3, {1: 1})
    w.commit(8, 2)
    assert first_line(w.verify(UNFENCED, baseline=later)) == "OK  3 counters, sum 11 = 11"


def test_a_snapshot_keeps_what_an_earlier_one_had_and_the_topic_has_no_more(
    tmp_path: Path,
) -> None:
    w, first, second = World(), tmp_path / "first", tmp_path / "second"
    w.emit("old", "a")
    w.item("old", 1, {0: 0})
    w.item("a", 1, {0: 1})
    w.commit(2)
    w.verify(snapshot=first)
    w.emit("a")
    w.item("a", 2, {0: 2})
    w.commit(3)
    w.broker.delete_before(TOPIC, 0, 2)
    assert w.verify(baseline=first, snapshot=second).ok
    w.broker.delete_before(TOPIC, 0, 3)
    w.item("old", 5, {0: 0})
    assert differences(w.verify(baseline=second)) == {"old": 4}


def test_a_snapshot_is_not_written_over_differences(tmp_path: Path) -> None:
    w, file = World(), tmp_path / "base"
    w.emit("a")
    w.item("a", 1, {0: 0})
    w.verify(snapshot=file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    w.item("a", 2, {0: 0})
    assert not w.verify(baseline=file, snapshot=file).ok
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
    w.verify(snapshot=file)
    assert w.verify(baseline=file).ok


def test_a_counter_that_was_no_number_is_in_no_snapshot(tmp_path: Path) -> None:
    w, file = World(), tmp_path / "base"
    w.emit("a", "b")
    w.item("a", "many", {0: 0})
    w.item("b", 1, {0: 1})
    w.verify(snapshot=file)
    assert [(h.item, h.counters) for h in Baseline.open(file).items()] == [
        ("a", {}),
        ("b", {"count": 1}),
    ]
