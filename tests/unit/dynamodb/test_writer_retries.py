"""The writer retries: limits of requests, pauses, tables that wait."""

import itertools
import random

import pytest

from dynatomic.dynamodb.answers import (
    Answer,
    Applied,
    Refused,
    Retry,
)
from dynatomic.dynamodb.backoff import FIRST_PAUSE_S, LONGEST_PAUSE_S
from dynatomic.dynamodb.writer import (
    FIRST_UNKNOWN_PAUSE_S,
    LONGEST_UNKNOWN_PAUSE_S,
    REFUSED_PAUSE_S,
)
from tests.support.windows import window_of
from tests.support.writing import (
    THROTTLED,
    Requests,
    Settled,
    applied,
    submit,
    sums,
    wait_for,
    writing,
)


def test_as_many_requests_at_once_as_allowed_and_no_more() -> None:
    requests, settled = Requests(), Settled()
    requests.hold()
    with writing(requests, max_requests=3) as writer:
        submit(writer, sums(250), settled)
        requests.wait_for(lambda: requests.running == 3)
        with writer._changed:
            assert len(writer._tables["tab"].ready) == 7
            assert writer._pick_task() is None
        assert len(writer._threads) == 3
        requests.release()
        settled.get()
    assert len(requests.calls) == 10


def test_tables_take_turns() -> None:
    requests, settled = Requests(), Settled()
    requests.hold()
    with writing(requests, max_requests=1) as writer:
        for table in ("first", "second", "third"):
            submit(writer, sums(75, table), settled)
        requests.release()
        for _ in range(3):
            settled.get()
    order = [batch[0].table for _, batch in requests.calls]
    assert [sorted(order[i : i + 3]) for i in (1, 4)] == [["first", "second", "third"]] * 2


def test_throttling_brings_it_down_to_one_request_at_once_and_it_recovers() -> None:
    requests, settled = Requests(lambda *_: THROTTLED), Settled()
    with writing(requests, max_requests=8) as writer:
        submit(writer, sums(25 * 120), settled)
        table = writer._tables["tab"]
        wait_for(writer, lambda: table.limit == 1 and table.running <= 1)
        requests.hold()
        requests.wait_for(lambda: requests.running == 1)
        with writer._changed:
            assert table.ready
            assert writer._pick_task() is None

        requests.script = applied
        seen = len(requests.calls)
        requests.hold(lambda _: len(requests.calls) > seen + 60)
        requests.wait_for(lambda: requests.running == 8)
        requests.release()
        assert settled.get().waits_by_table == {}
    assert settled.more == 0


def test_each_retry_waits_longer_up_to_a_bound_and_with_jitter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    monkeypatch.setattr(random, "uniform", uniform)
    answers = iter([THROTTLED] * 30)
    requests, settled = Requests(lambda *_: next(answers, Applied())), Settled()
    with writing(requests) as writer:
        submit(writer, sums(1), settled)
        settled.get()
    ceilings = [high for _, high in asked]
    assert len(ceilings) == 30
    assert ceilings[0] == FIRST_PAUSE_S
    assert all(b == min(LONGEST_PAUSE_S, 2 * a) for a, b in itertools.pairwise(ceilings))
    assert ceilings[-1] == LONGEST_PAUSE_S
    assert all(low == high / 2 for low, high in asked)


@pytest.mark.parametrize(
    ("fence", "first_s"), [(None, FIRST_UNKNOWN_PAUSE_S), ("f", FIRST_PAUSE_S)]
)
def test_a_lost_answer_is_retried_later_where_a_retry_may_count_twice(
    fence: str | None, first_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def uniform(_low: float, high: float) -> float:
        asked.append(high)
        return 0.0

    monkeypatch.setattr(random, "uniform", uniform)
    answers = iter([Retry("ReadTimeoutError")] * 30)
    requests, settled = Requests(lambda *_: next(answers, Applied())), Settled()
    with writing(requests) as writer:
        writer.submit(window_of(sums(1)), settled, fence)
        settled.get()
    assert asked[0] == first_s
    assert asked[-1] == (LONGEST_PAUSE_S if fence else LONGEST_UNKNOWN_PAUSE_S)


@pytest.mark.parametrize("cause", [THROTTLED, Refused("AccessDenied: no")])
def test_nothing_is_sent_again_before_its_pause_is_over(cause: Answer) -> None:
    now = [0.0]
    answers = iter([cause])
    requests, settled = Requests(lambda *_: next(answers, Applied())), Settled()
    with writing(requests, max_requests=2, clock=lambda: now[0]) as writer:
        late = submit(writer, sums(1), settled)
        wait_for(writer, lambda: bool(writer._delayed))
        due = writer._delayed[0][0]
        if isinstance(cause, Refused):
            assert due == REFUSED_PAUSE_S
        else:
            assert FIRST_PAUSE_S / 2 <= due <= FIRST_PAUSE_S
        now[0] = due * 0.99
        other = submit(writer, sums(1, "other"), settled)  # both threads look at the clock again
        assert settled.get() is other
        assert len(requests.calls) == 2
        now[0] = due
        with writer._changed:
            writer._changed.notify_all()
        assert settled.get() is late
    assert [batch[0].table for _, batch in requests.calls] == ["tab", "other", "tab"]


@pytest.mark.parametrize("cause", [THROTTLED, Refused("ResourceNotFound: no table")])
def test_a_table_in_trouble_does_not_hold_up_another(cause: Retry | Refused) -> None:
    requests, settled = Requests(), Settled()
    requests.script = lambda _, c: cause if c.table == "bad" else Applied()
    with writing(requests, max_requests=4) as writer:
        stuck = submit(writer, sums(500, "bad"), settled)
        requests.wait_for(lambda: len(requests.calls) > 50)
        for _ in range(3):
            fine = submit(writer, sums(500, "good"), settled)
            assert settled.get() is fine
        assert not stuck.is_complete
        assert stuck.waits_by_table == {"bad": cause}
        assert fine.waits_by_table == {}
        requests.script = applied
        assert settled.get() is stuck


def test_a_slow_throttled_table_leaves_the_other_threads_to_others() -> None:
    requests, settled = Requests(), Settled()
    requests.script = lambda _, c: THROTTLED if c.table == "slow" else Applied()
    with writing(requests, max_requests=4) as writer:
        submit(writer, sums(500, "slow"), settled)
        slow = writer._tables["slow"]
        wait_for(writer, lambda: slow.limit == 1 and slow.running <= 1)
        requests.hold(lambda batch: batch[0].table == "slow")
        requests.wait_for(lambda: requests.running == 1)
        fine = submit(writer, sums(500, "good"), settled)
        assert settled.get() is fine
        requests.script = applied


def test_a_window_with_one_table_in_trouble_names_it_and_waits_for_it() -> None:
    requests, settled = Requests(), Settled()
    denied = Refused("AccessDenied: no")
    requests.script = lambda _, c: denied if c.table == "bad" else Applied()
    with writing(requests) as writer:
        write = submit(writer, sums(30, "bad") | sums(30, "good"), settled)
        wait_for(writer, lambda: write.open_tasks == 2 and len(write.waits_by_table) == 1)
        assert write.refused_tables == {"bad": "AccessDenied: no"}
        assert settled.more == 0
        requests.script = applied
        assert settled.get() is write
        assert (write.refused_tables, write.waits_by_table) == ({}, {})


def test_only_a_refusal_counts_as_refused() -> None:
    requests, settled = Requests(lambda *_: THROTTLED), Settled()
    with writing(requests) as writer:
        write = submit(writer, sums(1), settled)
        wait_for(writer, lambda: bool(write.waits_by_table))
        assert write.refused_tables == {}
        requests.script = applied
        settled.get()
