"""Counting the busiest counters in bounded memory."""

from dynatomic.errors import RowError
from dynatomic.events.decoded import Decoded, UnitIncrement
from dynatomic.events.row import CounterRef, Reason
from dynatomic.operations.hot import BusiestCounters, HotOptions, lines


class Reader:
    """Reads messages that are numbers of counters; a negative one is rejected."""

    def read(self, messages: list[int]) -> Decoded:
        units = [UnitIncrement(CounterRef("t", f"k{n}", None, "count"), 2) for n in messages]
        errors = {i: RowError(Reason.TOO_LARGE, "") for i, n in enumerate(messages) if n < 0}
        return Decoded(units, None, errors)


def added(busiest: BusiestCounters, *numbers: int) -> BusiestCounters:
    busiest.add(Reader(), numbers)  # type: ignore[arg-type]
    return busiest


def test_the_busiest_come_first_and_rejected_events_are_no_counter() -> None:
    busiest = added(BusiestCounters(), 1, 2, 2, -1, 3, 3, 3)
    assert [(ref.key, n, total) for ref, n, total in busiest.top(2)] == [("k3", 3, 6), ("k2", 2, 4)]
    assert {ref.key for ref, _, _ in busiest.top(9)} == {"k1", "k2", "k3"}
    assert (busiest.events, busiest.rejected, busiest.is_exact) == (7, 1, True)
    head, *_, last = lines(busiest, HotOptions(5, 2.5))
    assert head == "7 events in the last 2.5 minutes"
    assert last == "1 of them cannot be counted: see `dynatomic dlq show`"


def test_memory_is_bounded_and_the_busiest_stay() -> None:
    busiest = BusiestCounters(max_counters=10)
    for start in range(0, 1000, 5):
        added(busiest, 7777, *range(start, start + 5))
    assert not busiest.is_exact
    ((ref, events, _),) = busiest.top(1)
    assert (ref.key, events) == ("k7777", 200)
    assert len(busiest.top(100)) <= 10
    assert "lower bounds" in list(lines(busiest, HotOptions()))[-1]


def test_without_events_there_is_no_table() -> None:
    assert list(lines(BusiestCounters(), HotOptions())) == ["0 events in the last 5 minutes"]
