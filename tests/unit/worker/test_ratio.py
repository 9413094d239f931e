"""A consumer that throws everything away is stopped, and leaves no sums that it does not commit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaError, KafkaException

from dynatomic.errors import ConfigError
from dynatomic.worker.ratio import MIN_EVENTS, RECENT_EVENTS, DeadLetterRatio
from tests.support.clients import LETTERS
from tests.support.harness import World, world

Judge = Callable[[DeadLetterRatio], Callable[[int, list[str]], None]]
JUDGES = [lambda ratio: ratio.count_read, lambda ratio: ratio.count_written]
either = pytest.mark.parametrize("judge", JUDGES, ids=["read", "settled"])


def told(ratio: DeadLetterRatio, judge: Judge, *events: str) -> str | None:
    """Judge events, the dead letters of which are an x; return the message."""
    for each in events:
        judge(ratio)(len(each), ["undecodable"] * each.count("x"))
    return None if ratio.exceeded is None else str(ratio.exceeded)


@either
def test_a_few_events_are_not_judged(judge: Judge) -> None:
    ratio = DeadLetterRatio(0.5, min_events=10)
    assert told(ratio, judge, "x" * 9) is None
    message = told(ratio, judge, "x")
    assert message is not None
    assert "10 of the last 10 events" in message
    assert "(undecodable 10)" in message


@either
@pytest.mark.parametrize(("events", "stops"), [("x.", False), ("xx.", True), ("...", False)])
def test_more_than_the_ratio_stops(judge: Judge, events: str, *, stops: bool) -> None:
    ratio = DeadLetterRatio(0.5, min_events=10)
    assert (told(ratio, judge, *[events] * 100) is not None) == stops


@either
def test_a_ratio_of_one_allows_all_and_zero_none(judge: Judge) -> None:
    assert told(DeadLetterRatio(1.0), judge, "x" * 50_000) is None
    ratio = DeadLetterRatio(0.0)
    assert told(ratio, judge, "." * 5_000) is None
    assert "1 of the last 5,001" in (told(ratio, judge, "x") or "")


@either
def test_what_was_long_ago_does_not_count(judge: Judge) -> None:
    ratio = DeadLetterRatio(0.5, min_events=10, span=100)
    # Up to twice the span is looked at.
    assert told(ratio, judge, *["."] * 10_000, *["x"] * 99) is None
    assert told(ratio, judge, *["x"] * 10)


@either
def test_the_first_error_stays(judge: Judge) -> None:
    ratio = DeadLetterRatio(0.5, min_events=10, span=100)
    first = told(ratio, judge, "x" * 100)
    assert first
    assert told(ratio, judge, *["."] * 300, *["x"] * 300) == first


def test_each_message_names_the_command_that_shows_something() -> None:
    ratio = DeadLetterRatio(0.5)
    assert "`dynatomic run --once --dry-run`" in (told(ratio, JUDGES[0], "x" * MIN_EVENTS) or "")
    ratio = DeadLetterRatio(0.5)
    assert "`dynatomic dlq show --limit 20`" in (told(ratio, JUDGES[1], "x" * MIN_EVENTS) or "")


# --- in the loop -----------------------------------------------------------------------------


@pytest.fixture
def w() -> Iterator[World]:
    with world() as made:
        yield made


def test_nothing_is_stored_or_committed_where_everything_is_bad(w: World) -> None:
    member = w.worker(dead_letter_max_ratio=0.5)
    for _ in range(MIN_EVENTS):
        w.put(b"\x02bad")
    w.emit("a")
    with pytest.raises(ConfigError, match=r"100 of the last 101 events are dead letters"):
        w.window()
    assert w.broker.messages(LETTERS) == []
    member.worker.close()
    assert w.committed() is None


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_what_the_table_refuses_is_stored_and_committed_before_the_stop(
    w: World, guarantee: str
) -> None:
    w.spoil("odd")
    w.emit(*["odd", "odd", "good"] * MIN_EVENTS)
    with stopped(w, r"refused 200 of the last 300 events \(counter-not-a-number 200\)", guarantee):
        w.until(lambda: False, step_s=0.1)
    for _ in range(3):
        member = w.worker(dead_letter_max_ratio=0.5, processing_guarantee=guarantee)
        w.window()
        w.window()
        member.worker.close()
        member.alive = False
        assert w.counts() == {"good": MIN_EVENTS}
    assert w.committed() == 3 * MIN_EVENTS
    assert len(w.broker.messages(LETTERS)) == 2 * MIN_EVENTS


@contextmanager
def stopped(w: World, message: str, guarantee: str = "at-least-once") -> Iterator[None]:
    """Run a worker that stops with this message within the block."""
    member = w.worker(dead_letter_max_ratio=0.5, processing_guarantee=guarantee)
    with pytest.raises(ConfigError, match=message):
        yield
    member.worker.close()
    member.alive = False


def test_refused_rows_are_compared_to_the_events_of_their_window(w: World) -> None:
    w.spoil("odd")
    w.emit(*["odd"] * (2 * RECENT_EVENTS), *["good"] * (3 * RECENT_EVENTS))
    w.worker(dead_letter_max_ratio=0.5)
    w.until(w.all_committed, step_s=0.1)
    assert w.counts() == {"good": 3 * RECENT_EVENTS}


def test_rows_that_were_rejected_before_do_not_hide_what_the_table_refuses(w: World) -> None:
    w.spoil("odd")
    for _ in range(MIN_EVENTS):
        w.put(b"\x02bad")
        w.emit("odd")
    with stopped(w, r"refused 100 of the last 100"):
        w.until(lambda: False, step_s=0.1)


@pytest.mark.parametrize("partition", [0, 1])
def test_a_window_on_its_way_is_committed_before_the_stop(partition: int) -> None:
    with world(2) as w:
        w.emit(*["a"] * MIN_EVENTS)
        w.gate.close("hits")
        with stopped(w, r"undecodable"):
            w.turn(2)
            w.advance(1.0)
            w.turn(2)
            assert w.gate.held
            w.emit("never", partition=partition)
            for _ in range(3 * MIN_EVENTS):
                w.put(b"\x02bad", partition=partition)
            w.emit("late", partition=0)
            for _ in range(5):
                w.turn()  # it waits for the table
                w.advance(10.0)
            w.emit("later", partition=1)
            w.gate.open()
            w.until(lambda: False, step_s=0.1)
        assert w.counts() == {"a": MIN_EVENTS}
        assert w.committed() == MIN_EVENTS
        assert not w.committed(1)
        assert w.broker.messages(LETTERS) == []


def test_a_commit_that_failed_is_repeated_before_the_stop(w: World) -> None:
    w.spoil("odd")
    w.emit(*["odd", "odd", "good"] * MIN_EVENTS)
    w.commit_raises = KafkaException(KafkaError(KafkaError._TIMED_OUT))
    with stopped(w, r"refused 200"):
        for _ in range(20):
            w.turn()
            w.advance(1.0)
        assert w.counts() == {"good": MIN_EVENTS}
        w.commit_raises = None
        w.until(lambda: False, step_s=0.1)
    assert w.committed() == 3 * MIN_EVENTS


def test_a_signal_ends_it_while_it_waits_for_the_table(w: World) -> None:
    member = w.worker(dead_letter_max_ratio=0.5)
    w.emit(*["a"] * MIN_EVENTS)
    w.gate.close("hits")
    w.turn(2)
    w.advance(1.0)
    w.turn(2)
    for _ in range(3 * MIN_EVENTS):
        w.put(b"\x02bad")
    w.turn(2)
    w.gate.open()
    member.quiet()
    assert member.worker.shut_down()
    member.alive = False
    assert (w.counts(), w.committed()) == ({"a": MIN_EVENTS}, MIN_EVENTS)


def test_a_share_that_is_allowed_is_stored_and_committed(w: World) -> None:
    w.worker(dead_letter_max_ratio=0.5)
    for _ in range(MIN_EVENTS):
        w.put(b"\x02bad")
        w.emit("a")
    w.window()
    assert w.counts() == {"a": MIN_EVENTS}
    assert w.committed() == 2 * MIN_EVENTS
    assert len(w.letters()) == MIN_EVENTS
