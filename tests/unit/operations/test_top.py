"""The live view, on the fakes: rates, order, what is printed, and when it ends."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState

from dynatomic.config.settings import Settings
from dynatomic.console import live_display
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.operations import top as module
from dynatomic.operations.lag import GroupLag, LagReader, PartitionLag
from dynatomic.operations.top import RATE_S, History, Rates, lines, top
from tests.support.clients import Clock
from tests.support.lag_world import GROUP, TOPIC, World, member

SETTINGS = Settings(topic=TOPIC, group_id=GROUP)


def look(at: float, *offsets: tuple[int | None, int | None]) -> GroupLag:
    """Return a look at partitions with these committed offsets and ends."""
    rows = [
        PartitionLag(n, current, end, None if current is None or end is None else end - current)
        for n, (current, end) in enumerate(offsets)
    ]
    return GroupLag(rows, [], at)


def history(*looks: GroupLag) -> History:
    made = History()
    for each in looks:
        made.add(each)
    return made


# --- rates -----------------------------------------------------------------------------------


def test_rates_are_offsets_a_second() -> None:
    seen = history(look(100, (10, 50), (0, 0)), look(102, (30, 150), (0, 6)))
    assert seen.rates(0) == Rates(10, 50)
    assert seen.rates(1) == Rates(0, 3)


def test_one_look_has_no_rates() -> None:
    assert history(look(100, (10, 50))).rates(0) == Rates()


def test_rates_are_over_the_last_seconds() -> None:
    looks = [look(100 + n, (n * n, 0)) for n in range(31)]
    assert history(*looks).rates(0).consumed == (30 * 30 - 20 * 20) / RATE_S


def test_with_a_long_interval_the_look_before_counts() -> None:
    assert history(look(0, (0, 0)), look(60, (60, 0)), look(120, (180, 0))).rates(0).consumed == 2


def test_offsets_that_went_back_have_no_rate() -> None:
    assert history(look(0, (9, 2)), look(1, (5, 6))).rates(0) == Rates(None, 4)


def test_rates_begin_with_the_first_commit() -> None:
    looks = [look(0, (None, 5)), look(1, (3, 6)), look(3, (9, 11))]
    assert history(*looks[:2]).rates(0) == Rates(None, 1)
    assert history(*looks).rates(0) == Rates(3, 2)


def test_a_new_partition_has_no_rates_yet() -> None:
    assert history(look(0, (1, 1)), look(1, (1, 1), (5, 9))).rates(1) == Rates()


@pytest.mark.parametrize(
    ("rates", "lag", "drain_s"),
    [
        (Rates(30, 10), 100, 5),
        (Rates(10, 10), 100, None),
        (Rates(5, 10), 100, None),
        (Rates(5, 10), 0, 0),
        (Rates(None, 10), 100, None),
        (Rates(30, 10), None, None),
    ],
)
def test_the_time_to_drain(rates: Rates, lag: int | None, drain_s: float | None) -> None:
    assert rates.drain_s(lag) == drain_s


# --- lines -----------------------------------------------------------------------------------


def shown(*looks: GroupLag) -> list[list[str]]:
    made = lines(SETTINGS, looks[-1], history(*looks), "12:00:00")
    return [line.split() for line in made]


def test_the_largest_lag_comes_first_and_what_is_unknown_before_it() -> None:
    rows = shown(look(0, (5, 10), (0, 10_000), (None, 3), (7, 7)))
    assert [row[0] for row in rows[3:]] == ["2", "1", "0", "3"]


def test_the_total_stands_on_top() -> None:
    _, heading, total, *_ = shown(look(0, (0, 1_000), (0, 0)), look(1, (600, 1_400), (0, 100)))
    assert heading == [
        *("PARTITION", "LAG", "AGE", "CONSUMED/S", "PRODUCED/S", "DRAIN", "MEMBER"),
    ]
    # The time until partition 1 is drained is not known, so that of the group is not known either.
    assert total == ["all", "900", "-", "600", "500", "-"]
    _, _, total, *_ = shown(look(0, (0, 900), (0, 40)), look(1, (600, 1_000), (50, 60)))
    assert total == ["all", "410", "-", "650", "120", "0.8s"]


def test_members_are_counted_once_and_named_in_their_rows() -> None:
    w = World(3)
    members = [member("m1", (TOPIC, 0), (TOPIC, 1)), member("m2")]
    w.admin.group = (ConsumerGroupState.STABLE, members)
    found = w.watch().read()
    head, _, _, *rows = lines(w.settings, found, history(found), "12:00:00")
    assert head == f"group {GROUP}  topic {TOPIC}  12:00:00  2 members"
    assert [("  app" in row) for row in rows] == [True, True, False]
    assert len(rows) == 3  # a member without partitions has none here


def test_a_note_is_shown() -> None:
    w = World()
    w.commit(3)
    found = w.watch().read()
    *_, row = lines(w.settings, found, history(found), "12:00:00")
    assert row.endswith("3 beyond the end: the log was cut at 0")


# --- the loop --------------------------------------------------------------------------------


class Scene:
    """Looks that were written by hand, and the time that passes between them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *looks: GroupLag | Exception) -> None:
        self.clock = Clock()
        self.slept: list[float] = []
        self.left = list(looks)
        self.look_s = 0.0

        @contextmanager
        def lag_reader(_settings: Settings) -> Iterator["Scene"]:
            yield self

        monkeypatch.setattr(module, "lag_reader", lag_reader)

    def read(self) -> GroupLag:
        self.clock.advance(self.look_s)
        found = self.left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        if not self.left:
            raise KeyboardInterrupt

    def run(self, **how: Any) -> int:
        return top(SETTINGS, clock=self.clock, sleep=self.sleep, **how)


def test_it_shows_so_many_tables_and_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = Scene(monkeypatch, look(0, (0, 5)), look(2, (4, 5)))
    scene.look_s = 0.5
    assert scene.run(interval_s=2.0, iterations=2) == 0
    assert scene.slept == [1.5]  # the time that the brokers took is not added
    tables = capsys.readouterr().out.split("\n\n")
    assert len(tables) == 3
    assert tables[2] == ""
    assert tables[1].splitlines()[-1].split()[:6] == ["0", "1", "-", "2", "0", "0.5s"]


def test_slow_brokers_are_asked_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, look(0, (0, 5)), look(2, (4, 5)))
    scene.look_s = 3.0
    scene.run(iterations=2)
    assert scene.slept == [0.0]


def test_it_goes_on_until_it_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, *(look(n, (n, 5)) for n in range(4)))
    with pytest.raises(KeyboardInterrupt):  # which the command line turns into 130
        scene.run()
    assert scene.left == []


def test_brokers_that_are_away_for_a_while_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = UnavailableError("no broker; try again")
    scene = Scene(monkeypatch, look(0, (0, 5)), away, look(2, (4, 5)))
    assert scene.run(iterations=3) == 0
    first, second, third, _ = capsys.readouterr().out.split("\n\n")
    assert second == f"{first}\nnot up to date: no broker; try again"
    assert "not up to date" not in third


@pytest.mark.parametrize("error", [UnavailableError("away"), ConfigError("denied")])
def test_brokers_that_were_never_there_are_an_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with pytest.raises(type(error)):
        Scene(monkeypatch, error).run()


def test_a_denial_later_on_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError):
        Scene(monkeypatch, look(0, (0, 5)), ConfigError("denied")).run()


def test_on_the_fakes_rates_come_from_what_happens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    w = World()
    w.emit(100)
    w.commit(10)

    @contextmanager
    def lag_reader(_settings: Settings) -> Iterator[LagReader]:
        yield w.watch()

    def sleep(seconds: float) -> None:
        w.clock.advance(seconds)
        w.emit(20)
        w.commit(60)

    monkeypatch.setattr(module, "lag_reader", lag_reader)
    assert top(w.settings, interval_s=2.0, iterations=2, clock=w.clock, sleep=sleep) == 0
    row = capsys.readouterr().out.splitlines()[-2].split()
    assert row[:2] + row[3:6] == ["0", "60", "25", "10", "4.0s"]


# --- a terminal ------------------------------------------------------------------------------

ON_A_TERMINAL = """
from dynatomic.operations.top import live_display
with live_display() as show:
    show(["first", "x" * 300])
    show(["second"])
"""


def test_on_a_terminal_the_table_is_redrawn_in_place() -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "40", "LINES": "10"}
    child = subprocess.run(
        [sys.executable, "-c", ON_A_TERMINAL],
        stdout=follower,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=Path(module.__file__).parents[1],
        timeout=60,
        check=False,
    )
    os.close(follower)
    drawn = os.read(leader, 10_000).decode()
    os.close(leader)
    assert child.returncode == 0, child.stderr
    assert "x" * 40 in drawn
    assert "x" * 41 not in drawn  # cut, not wrapped
    assert "\x1b[1A" in drawn[drawn.index("first") : drawn.index("second")]  # the cursor goes up
    assert drawn.endswith("\x1b[?25h")  # and is shown again


def test_on_a_pipe_there_is_no_escape_sequence(capsys: pytest.CaptureFixture[str]) -> None:
    with live_display() as show:
        show(["one", "two"])
    assert capsys.readouterr().out == "one\ntwo\n\n"
