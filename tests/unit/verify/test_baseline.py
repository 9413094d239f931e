"""The baseline file: what is written is read back, and nothing else is believed."""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynatomic.errors import ConfigError, DynatomicError
from dynatomic.kafka.client import Watermarks
from dynatomic.verify.baseline import Baseline, BaselineItem, Snapshot, check_starts, require_listed

ID = "0123456789abcdef" * 2
TABLES = ("hits", "bytes")
ITEMS = [
    BaselineItem("hits", "customer-7", {"count": 5, "views": -3}, {"age": 41}, {0: 17, 4: 3}),
    BaselineItem("hits", ("é\n", "\0"), {"count": 10**37}, {}, {}),
    BaselineItem("bytes", "1.5", {}, {}, {}),
]


def write(path: Path, items: list[BaselineItem], offsets: Mapping[int, int]) -> None:
    with Snapshot(path) as snapshot:
        snapshot.write_head("row-events", ID, offsets, TABLES)
        for held in items:
            snapshot.add(held)
        snapshot.complete()


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "base"
    write(file, ITEMS, {0: 18, 4: 0})
    found = Baseline.open(file)
    assert (found.topic, found.topic_id, found.offsets) == ("row-events", ID, {0: 18, 4: 0})
    assert found.tables == TABLES
    assert list(found.items()) == ITEMS
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_every_line_is_json(tmp_path: Path) -> None:
    file = tmp_path / "base"
    write(file, ITEMS[:1], {0: 18})
    first, item, last = map(json.loads, file.read_text().splitlines())
    assert first == {
        "format": "dynatomic baseline",
        "version": 2,
        "topic": "row-events",
        "topic_id": ID,
        "tables": ["hits", "bytes"],
        "offsets": {"0": 18},
    }
    assert item["counters"] == {"count": 5, "views": -3}
    assert last == {"items": 1}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": "something else"}, "not a file that `dynatomic verify` wrote"),
        ({"version": 1}, "version 1, this dynatomic reads 2; take a new one with --snapshot"),
        ({"offsets": {"0": "18"}}, "line 1: damaged"),
        ({"offsets": None}, "line 1: damaged"),
        ({"topic": None}, "line 1: damaged"),
        ({"topic_id": 7}, "line 1: damaged"),
        ({"tables": "hits"}, "line 1: damaged"),
        ({"tables": [7]}, "line 1: damaged"),
    ],
)
def test_a_first_line_that_is_not_ours_is_refused(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    file = tmp_path / "base"
    write(file, ITEMS, {0: 18})
    first, *rest = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps(json.loads(first) | change), *rest]))
    with pytest.raises(ConfigError, match=told):
        Baseline.open(file)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\xff\xfe", b"[1]\n", b"nonsense", b"[" * 100_000, b"9" * 5_000]
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "base"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="line 1: damaged, or not a file"):
        Baseline.open(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Baseline.open(tmp_path / "none")


@pytest.mark.parametrize(
    "change",
    [
        {"counters": {"count": 1.5}},
        {"counters": {"count": True}},
        {"counters": [1]},
        {"counters": None},
        {"others": {"age": "41"}},
        {"fences": {"x": 1}},
        {"key": 7},
        {"range": 7},
        {"table": None},
    ],
)
def test_a_damaged_item_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    file = tmp_path / "base"
    write(file, ITEMS, {0: 18})
    lines = file.read_text().splitlines()
    lines[2] = json.dumps(json.loads(lines[2]) | change)
    file.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="line 3: damaged"):
        list(Baseline.open(file).items())


@settings(max_examples=60)
@given(keep=st.floats(0, 1))
def test_a_file_that_was_cut_off_is_refused(
    tmp_path_factory: pytest.TempPathFactory, keep: float
) -> None:
    file = tmp_path_factory.getbasetemp() / "cut"
    write(file, ITEMS, {0: 18})
    text = file.read_text()
    cut = text[: int(keep * (len(text) - 2))]
    file.write_text(cut)
    with pytest.raises(ConfigError, match=r"cut off|damaged"):
        list(Baseline.open(file).items())


def test_a_file_that_lost_a_line_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "base"
    write(file, ITEMS, {0: 18})
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:1] + lines[2:]))
    with pytest.raises(ConfigError, match="cut off after 2 items"):
        list(Baseline.open(file).items())


def test_lines_after_the_end_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "base"
    write(file, ITEMS, {0: 18})
    file.write_text(file.read_text() + file.read_text().splitlines()[1])
    with pytest.raises(ConfigError, match="line 6: damaged"):
        list(Baseline.open(file).items())


def test_a_baseline_of_another_topic_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "base"
    write(file, ITEMS, {0: 18})
    found = Baseline.open(file)
    found.check("row-events", ID)
    with pytest.raises(ConfigError, match="belongs to topic 'row-events', not to 'other'"):
        found.check("other", ID)
    with pytest.raises(ConfigError, match="deleted and made again"):
        found.check("row-events", "f" * 32)


def test_a_baseline_with_a_table_that_is_not_listed_is_refused() -> None:
    assert list(require_listed(ITEMS, ["hits", "bytes"])) == ITEMS
    with pytest.raises(ConfigError, match="items of table bytes: list it with --table"):
        list(require_listed(ITEMS, ["hits"]))


MARKS = {0: Watermarks(10, 20), 1: Watermarks(0, 5)}


@pytest.mark.parametrize(
    ("offsets", "told"),
    [
        (None, "partition 0 of t begins at offset 10: .* cannot be recounted; use --baseline FILE"),
        ({}, "partition 0 of t begins at offset 10: .* the baseline reaches 0; use a newer one"),
        ({0: 9}, "the baseline reaches 9; use a newer one"),
        ({0: 21}, "reaches offset 21 of partition 0 of t, which ends at 20"),
        ({0: 10, 1: 6}, "reaches offset 6 of partition 1 of t, which ends at 5"),
        ({0: 10, 2: 1}, "the baseline has partition 2, but t does not have it"),
    ],
)
def test_what_the_topic_does_not_hold_is_refused(offsets: dict[int, int] | None, told: str) -> None:
    baseline = None if offsets is None else Baseline(Path("base"), "t", ID, offsets, ())
    with pytest.raises(ConfigError, match=told):
        check_starts("t", MARKS, baseline)


@pytest.mark.parametrize("offsets", [{0: 10}, {0: 20, 1: 5}, {0: 15, 2: 0}])
def test_what_the_topic_holds_is_enough(offsets: dict[int, int]) -> None:
    check_starts("t", MARKS, Baseline(Path("base"), "t", ID, offsets, ()))
    check_starts("t", {0: Watermarks(0, 20)}, None)


def test_a_snapshot_that_is_not_finished_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "base"
    write(file, ITEMS, {0: 18})
    before = file.read_bytes()
    with Snapshot(file) as snapshot:
        snapshot.write_head("row-events", ID, {0: 99}, TABLES)
        snapshot.add(ITEMS[0])
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_a_folder_that_is_not_there_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(DynatomicError, match="cannot be written: No such file"):
        Snapshot(tmp_path / "none" / "base")


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_told_before_anything_is_read_and_stays(
    tmp_path: Path, kind: str
) -> None:
    """As root, ``--snapshot /dev/stdout`` would put a file in its place."""
    place = tmp_path / "there"
    os.mkfifo(place) if kind == "pipe" else place.mkdir()
    with pytest.raises(DynatomicError, match="there cannot be written: it is not a regular file"):
        Snapshot(place)
    assert not place.is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_full_disk_is_told_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DynatomicError, match="cannot be written: No space left"):
        write(tmp_path / "base", ITEMS, {0: 18})
    assert list(tmp_path.iterdir()) == []
