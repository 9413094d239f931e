"""A consumer that throws everything away is stopped before it stores or commits anything of it."""

from collections.abc import Iterator

import pytest

from consumer.dead_letter_ratio import LEAST, DeadLetterRatio
from consumer.errors import ConfigError
from tests.harness import LETTERS, World, world


def fed(ratio: DeadLetterRatio, *events: str) -> None:
    for each in events:
        ratio.read(len(each))
        for _ in range(each.count("x")):
            ratio.letter("undecodable")


def test_a_few_events_are_not_judged() -> None:
    ratio = DeadLetterRatio(0.5, least=10)
    fed(ratio, "x" * 9)
    ratio.check()
    fed(ratio, "x")
    with pytest.raises(ConfigError, match=r"10 of the last 10 events .*\(undecodable 10\)"):
        ratio.check()


@pytest.mark.parametrize(("events", "stops"), [("x.", False), ("xx.", True), ("...", False)])
def test_more_than_the_ratio_stops(events: str, *, stops: bool) -> None:
    ratio = DeadLetterRatio(0.5, least=10)
    fed(ratio, *[events] * 100)
    if stops:
        with pytest.raises(ConfigError, match="dlq show"):
            ratio.check()
    else:
        ratio.check()


def test_a_ratio_of_one_allows_all_and_zero_none() -> None:
    ratio = DeadLetterRatio(1.0)
    fed(ratio, "x" * 50_000)
    ratio.check()
    ratio = DeadLetterRatio(0.0)
    fed(ratio, "." * 5_000)
    ratio.check()
    fed(ratio, "x")
    with pytest.raises(ConfigError, match=r"1 of the last 5,001"):
        ratio.check()


def test_what_was_long_ago_does_not_count() -> None:
    ratio = DeadLetterRatio(0.5, least=10, span=100)
    fed(ratio, *["."] * 10_000)
    fed(ratio, *["x"] * 99)
    ratio.check()  # up to twice the span is looked at
    fed(ratio, *["x"] * 10)
    with pytest.raises(ConfigError):
        ratio.check()
    fed(ratio, *["."] * 200)
    ratio.check()


# --- in the loop -----------------------------------------------------------------------------


@pytest.fixture
def w() -> Iterator[World]:
    with world() as made:
        yield made


def test_nothing_is_stored_or_committed_where_everything_is_bad(w: World) -> None:
    member = w.worker(dead_letter_max_ratio=0.5)
    for _ in range(LEAST):
        w.put(b"\x02bad")
    w.emit("a")
    with pytest.raises(ConfigError, match=r"100 of the last 101 events are dead letters"):
        w.window()
    assert w.broker.messages(LETTERS) == []
    member.worker.close()
    assert w.committed() is None


def test_what_the_table_refuses_counts_too(w: World) -> None:
    w.spoil("odd")
    w.worker(dead_letter_max_ratio=0.9)
    w.emit(*["odd"] * LEAST)
    with pytest.raises(ConfigError, match=r"\(counter-not-a-number 100\)"):
        w.until(lambda: bool(w.committed()), step_s=0.1)
    assert w.broker.messages(LETTERS) == []
    assert w.committed() is None


def test_a_share_that_is_allowed_is_stored_and_committed(w: World) -> None:
    w.worker(dead_letter_max_ratio=0.5)
    for _ in range(LEAST):
        w.put(b"\x02bad")
        w.emit("a")
    w.window()
    assert w.counts() == {"a": LEAST}
    assert w.committed() == 2 * LEAST
    assert len(w.letters()) == LEAST


def test_letters_that_wait_are_held(w: World) -> None:
    w.deliveries_held = True
    member = w.worker(dead_letter_max_ratio=0.5)
    w.emit("a")
    w.put(b"\x02bad")
    w.turn(3)
    letters = member.worker._letters
    assert (letters.held, letters.held_bytes) == (1, 4)
    assert letters.trouble is None
    w.deliveries_held = False
    w.window()
    assert (letters.held, letters.held_bytes) == (0, 0)
    assert w.committed() == 2
