"""Request threads, retries, and who waits: with real threads, a scripted table, no sleeps."""

import itertools
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from dynatomic.dynamodb.answers import (
    Answer,
    Applied,
    PartiallyRejected,
    Refused,
    Rejected,
    Retry,
    TryStep,
)
from dynatomic.dynamodb.statements import Change, Step
from dynatomic.dynamodb.write import WindowWrite
from dynatomic.dynamodb.writer import FIRST_PAUSE_S, LONGEST_PAUSE_S, REFUSED_PAUSE_S, Writer
from dynatomic.events.row import CounterRef, Reason
from tests.support.windows import window_of

SECONDS = 10
"""How long a test waits for what must happen; only a failing one waits that long."""

Script = Callable[[Step, Change], Answer]
THROTTLED = Retry("ProvisionedThroughputExceeded")
NO_NUMBER = Rejected(Reason.COUNTER_NOT_A_NUMBER, "no number")


def applied(_step: Step, _change: Change) -> Answer:
    return Applied()


class Requests:
    """Stands for `Counters.execute`: records requests, answers by a script, holds them."""

    def __init__(self, script: Script = applied) -> None:
        self.script = script
        self.calls: list[tuple[Step, tuple[Change, ...]]] = []
        self.running = 0
        self.held: Callable[[Sequence[Change]], bool] = lambda _: False
        self._changed = threading.Condition()

    def __call__(self, step: Step, batch: Sequence[Change]) -> list[Answer]:
        with self._changed:
            self.calls.append((step, tuple(batch)))
            self.running += 1
            self._changed.notify_all()
            self._wait(lambda: not self.held(batch))
            answers = [self.script(step, change) for change in batch]
            self.running -= 1
            self._changed.notify_all()
        return answers

    @property
    def sent(self) -> list[Change]:
        """Every change of every request, in the order of the requests."""
        return [change for _, batch in self.calls for change in batch]

    def hold(self, which: Callable[[Sequence[Change]], bool] = lambda _: True) -> None:
        with self._changed:
            self.held = which
            self._changed.notify_all()

    def release(self) -> None:
        self.hold(lambda _: False)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            self._wait(condition)

    def _wait(self, condition: Callable[[], bool]) -> None:
        assert self._changed.wait_for(condition, SECONDS)


@contextmanager
def writing(requests: Requests, *, fails: bool = False, **options: Any) -> Iterator[Writer]:
    """Make a writer whose pauses are over at once, and check that no thread of it failed."""
    jumps = itertools.count(0.0, 1000.0)
    writer = Writer(requests, **{"clock": jumps.__next__, **options})
    try:
        yield writer
    finally:
        requests.release()
        writer.close()
    assert (writer.failure is not None) == fails


def wait_for(writer: Writer, condition: Callable[[], bool]) -> None:
    """Wait for a state of the writer's own, which wakes only as many as it has work for."""
    deadline = time.monotonic() + SECONDS
    with writer._changed:
        while not condition():
            assert time.monotonic() < deadline
            writer._changed.wait(0.01)


def ended(writer: Writer) -> None:
    """Wait for the end of the only thread."""
    (thread,) = writer._threads
    thread.join(SECONDS)
    assert not thread.is_alive()


class Settled:
    """Takes the calls of ``on_complete``."""

    def __init__(self) -> None:
        self._queue: queue.Queue[WindowWrite] = queue.Queue()

    def __call__(self, write: WindowWrite) -> None:
        self._queue.put(write)

    def get(self) -> WindowWrite:
        return self._queue.get(timeout=SECONDS)

    @property
    def more(self) -> int:
        return self._queue.qsize()


def sums(count: int, table: str = "tab", start: int = 0) -> dict[CounterRef, int]:
    return {CounterRef(table, f"k{start + i}", None, "count"): i + 1 for i in range(count)}


def submit(
    writer: Writer, sums: dict[CounterRef, int], on_complete: Callable[[WindowWrite], None]
) -> WindowWrite:
    return writer.submit(window_of(sums), on_complete)


def change(key: str, **counters: int) -> Change:
    return Change("tab", key, None, counters or {"count": 1})


def test_a_window_goes_in_batches_of_25_and_each_item_once() -> None:
    requests, settled = Requests(), Settled()
    with writing(requests, max_requests=3) as writer:
        write = submit(writer, sums(60), settled)
        assert settled.get() is write
    assert sorted(len(batch) for _, batch in requests.calls) == [10, 25, 25]
    assert {step for step, _ in requests.calls} == {Step.UPDATE}
    assert Counter(c.key for c in requests.sent) == Counter(f"k{i}" for i in range(60))
    assert write.requests == 3
    assert write.is_complete


def test_counters_of_one_item_go_together_and_tables_apart() -> None:
    refs = [
        CounterRef("tab", "k", None, "hits"),
        CounterRef("tab", "k", None, "bytes"),
        CounterRef("other", "k", None, "hits"),
    ]
    requests, settled = Requests(), Settled()
    with writing(requests) as writer:
        submit(writer, dict.fromkeys(refs, 7), settled)
        settled.get()
    assert sorted(requests.calls, key=str) == sorted(
        [
            (Step.UPDATE, (Change("tab", "k", None, {"hits": 7, "bytes": 7}),)),
            (Step.UPDATE, (Change("other", "k", None, {"hits": 7}),)),
        ],
        key=str,
    )


def test_single_mode_sends_an_item_a_request() -> None:
    requests, settled = Requests(), Settled()
    with writing(requests, first_step=Step.UPDATE_ITEM) as writer:
        submit(writer, sums(30), settled)
        settled.get()
    assert [(step, len(batch)) for step, batch in requests.calls] == [(Step.UPDATE_ITEM, 1)] * 30


def test_one_thread_sends_in_the_order_of_submission() -> None:
    requests, settled = Requests(), Settled()
    with writing(requests, max_requests=1) as writer:
        writes = [submit(writer, sums(30, start=i * 30), settled) for i in range(4)]
        assert [settled.get() for _ in writes] == writes
    assert [c.key for c in requests.sent] == [f"k{i}" for i in range(120)]


def test_an_empty_window_is_settled_at_once() -> None:
    requests, settled = Requests(), Settled()
    with writing(requests) as writer:
        write = submit(writer, {}, settled)
        assert settled.get() is write
    assert (requests.calls, settled.more) == ([], 0)


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


def flow(script: Script, window: dict[CounterRef, int]) -> tuple[Requests, WindowWrite]:
    requests, settled = Requests(script), Settled()
    with writing(requests, max_requests=1) as writer:
        submit(writer, window, settled)
        write = settled.get()
        while write.held_back:
            writer.write_held_back(write)
            assert settled.get() is write
    assert settled.more == 0
    assert write.is_complete
    return requests, write


def test_a_missing_item_is_inserted_and_lost_races_are_updated() -> None:
    answers: dict[str, Iterator[Answer]] = {
        "k0": iter([Applied()]),
        "k1": iter([TryStep(Step.INSERT), Applied()]),
        "k2": iter([TryStep(Step.INSERT), TryStep(Step.UPDATE), Applied()]),
    }
    requests, write = flow(lambda _, c: next(answers[c.key]), sums(3))
    assert [(step, [c.key for c in batch]) for step, batch in requests.calls] == [
        (Step.UPDATE, ["k0", "k1", "k2"]),
        (Step.INSERT, ["k1", "k2"]),
        (Step.UPDATE, ["k2"]),
    ]
    assert write.rejected == {}
    assert write.requests == 3


def test_statements_that_the_item_refuses_become_single_updates() -> None:
    def script(step: Step, found: Change) -> Answer:
        return TryStep(Step.UPDATE_ITEM) if step is Step.UPDATE and found.key != "k1" else Applied()

    requests, _ = flow(script, sums(3))
    assert [(step, [c.key for c in batch]) for step, batch in requests.calls] == [
        (Step.UPDATE, ["k0", "k1", "k2"]),
        (Step.UPDATE_ITEM, ["k0"]),
        (Step.UPDATE_ITEM, ["k2"]),
    ]


def test_counters_that_fail_together_are_looked_at_and_only_the_bad_one_is_rejected() -> None:
    window = {CounterRef("tab", "k", None, name): i for i, name in enumerate(["a", "bad", "c"])}
    window |= sums(2)

    def script(step: Step, found: Change) -> Answer:
        if "bad" not in found.sums:
            return Applied()
        if step is Step.INSPECT:
            return PartiallyRejected({"bad": NO_NUMBER})
        return TryStep(Step.INSPECT if step is Step.UPDATE_ITEM else Step.UPDATE_ITEM)

    requests, write = flow(script, window)
    assert write.rejected == {CounterRef("tab", "k", None, "bad"): NO_NUMBER}
    all_three = (change("k", a=0, bad=1, c=2),)
    assert [call for call in requests.calls if call[0].alone] == [
        (Step.UPDATE_ITEM, all_three),
        (Step.INSPECT, all_three),
        (Step.UPDATE_ITEM, (change("k", a=0, c=2),)),
    ]


def test_what_is_held_back_is_written_only_when_it_may() -> None:
    window = {CounterRef("tab", "k", None, name): 1 for name in ("good", "bad")}

    def script(_step: Step, found: Change) -> Answer:
        return PartiallyRejected({"bad": NO_NUMBER}) if "bad" in found.sums else Applied()

    requests, settled = Requests(script), Settled()
    with writing(requests) as writer:
        write = submit(writer, window, settled)
        assert settled.get() is write
        assert (write.is_complete, write.held_back, len(requests.calls)) == (
            True,
            [change("k", good=1)],
            1,
        )
        writer.write_held_back(write)
        assert settled.get() is write
    assert (write.held_back, requests.sent[-1]) == ([], change("k", good=1))


def test_a_rejected_item_rejects_each_of_its_counters_and_nothing_else() -> None:
    window = {CounterRef("tab", "k", "r", name): 1 for name in ("a", "b")} | sums(30)
    _, write = flow(lambda _, c: NO_NUMBER if c.key == "k" else Applied(), window)
    assert write.rejected == {CounterRef("tab", "k", "r", n): NO_NUMBER for n in ("a", "b")}


def test_the_one_failed_statement_of_25_is_sent_again_alone() -> None:
    failures = iter([THROTTLED, Retry("InternalServerError")])

    def script(_step: Step, found: Change) -> Answer:
        return next(failures, Applied()) if found.key == "k7" else Applied()

    requests, write = flow(script, sums(25))
    assert [len(batch) for _, batch in requests.calls] == [25, 1, 1]
    assert requests.calls[1] == requests.calls[2] == (Step.UPDATE, (change("k7", count=8),))
    assert write.waits_by_table == {}


def test_a_failed_insert_is_sent_again_as_an_insert() -> None:
    answers: Iterator[Answer] = iter([TryStep(Step.INSERT), THROTTLED, Applied()])
    requests, _ = flow(lambda *_: next(answers), sums(1))
    assert [step for step, _ in requests.calls] == [Step.UPDATE, Step.INSERT, Step.INSERT]


class Items:
    """Tables in which items are missing until they are inserted; it counts the statements."""

    def __init__(self) -> None:
        self.there: set[tuple[str, str]] = set()
        self.statements: Counter[str] = Counter()

    def __call__(self, step: Step, found: Change) -> Answer:
        self.statements[found.table] += 1
        item = (found.table, found.key)
        if (step is Step.INSERT) is (item in self.there):
            return TryStep(Step.UPDATE if step is Step.INSERT else Step.INSERT)
        self.there.add(item)
        return Applied()


def test_where_most_items_are_missing_an_insert_comes_first() -> None:
    items, settled = Items(), Settled()
    other = {CounterRef("known", f"k{i}", None, "count"): 1 for i in range(200)}
    items.there |= {("known", ref.key) for ref in other}

    def spent(writer: Writer, window: dict[CounterRef, int]) -> Counter[str]:
        items.statements.clear()
        submit(writer, window, settled)
        settled.get()
        return Counter(items.statements)

    with writing(Requests(items), max_requests=1) as writer:
        # It takes some batches to learn that all are missing, and that all are there again.
        assert 1000 < spent(writer, sums(1000) | other)["tab"] < 1150
        assert spent(writer, sums(1000, start=1000) | other) == {"tab": 1000, "known": 200}
        assert 2000 < spent(writer, sums(2000) | other)["tab"] < 2150
        assert spent(writer, sums(2000) | other) == {"tab": 2000, "known": 200}


@pytest.mark.parametrize("missing", [0.25, 0.75])
def test_what_comes_first_is_what_takes_fewer_statements(missing: float) -> None:
    items, settled = Items(), Settled()
    with writing(Requests(items), max_requests=1) as writer:
        for number in range(20):
            window = sums(400, start=number * 400)
            there = [ref for i, ref in enumerate(window) if i % 4 >= missing * 4]
            items.there |= {("tab", ref.key) for ref in there}
            items.statements.clear()
            submit(writer, window, settled)
            settled.get()
    assert items.statements["tab"] == 500


def test_a_table_that_refuses_tells_nothing_of_its_items() -> None:
    answers: Iterator[Answer] = itertools.chain([THROTTLED] * 200, itertools.repeat(Applied()))
    requests, _ = flow(lambda *_: next(answers), sums(100))
    assert {step for step, _ in requests.calls} == {Step.UPDATE}


class Table:
    """A table that answers as DynamoDB does, and refuses now and then; it counts what it added."""

    def __init__(self, chance: random.Random, keys: Sequence[str]) -> None:
        self.chance = chance
        self.added: Counter[CounterRef] = Counter()
        self.kind = {k: chance.choice(["missing", "there", "bare", "text"]) for k in keys}

    def __call__(self, step: Step, found: Change) -> Answer:
        if self.chance.random() < 0.3:
            causes: list[Answer] = [
                THROTTLED,
                Retry("InternalServerError"),
                Refused("AccessDenied"),
            ]
            return self.chance.choice(causes)
        kind = self.kind[found.key]
        if step.alone:
            if kind == "text" and "bad" in found.sums:
                many = len(found.sums) > 1
                if step is Step.INSPECT:
                    return PartiallyRejected({"bad": NO_NUMBER})
                return TryStep(Step.INSPECT) if many else NO_NUMBER
        elif step is Step.INSERT:
            if kind != "missing":
                return TryStep(Step.UPDATE)
        elif kind != "there":
            return TryStep(Step.INSERT if kind == "missing" else Step.UPDATE_ITEM)
        if kind == "missing":
            self.kind[found.key] = "there"
        self.added.update(dict(zip(found.refs(), map(found.sums.get, found.names), strict=True)))
        return Applied()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_each_sum_is_added_once_or_rejected(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - test data
    keys = [f"k{i}" for i in range(60)]
    table, settled = Table(chance, keys), Settled()
    text = {key for key, kind in table.kind.items() if kind == "text"}
    windows = [
        {
            CounterRef("tab", key, None, name): chance.randint(-9, 9)
            for key in chance.sample(keys, chance.randint(1, 60))
            for name in chance.sample(["good", "bad", "other"], chance.randint(1, 3))
        }
        for _ in range(6)
    ]
    with writing(Requests(table), max_requests=4) as writer:
        writes = [submit(writer, window, settled) for window in windows]
        done: list[WindowWrite] = []
        while len(done) < len(writes):
            write = settled.get()
            if write.held_back:
                writer.write_held_back(write)
            else:
                done.append(write)
    assert settled.more == 0
    assert {id(write) for write in done} == {id(write) for write in writes}
    expected: Counter[CounterRef] = Counter()
    for write, window in zip(writes, windows, strict=True):
        bad = {ref for ref in window if ref.key in text and ref.name == "bad"}
        assert write.rejected == dict.fromkeys(bad, NO_NUMBER)
        expected.update({ref: n for ref, n in window.items() if ref not in bad})
    assert table.added == expected


def test_settled_is_said_once_and_only_when_nothing_is_open() -> None:
    requests, settled = Requests(), Settled()
    last = "k249"
    requests.hold(lambda batch: any(c.key == last for c in batch))
    with writing(requests, max_requests=4) as writer:
        write = submit(writer, sums(250), settled)
        wait_for(writer, lambda: write.open_tasks == 1)
        assert (settled.more, write.is_complete) == (0, False)
        requests.release()
        assert settled.get() is write
    assert settled.more == 0


def test_a_cancelled_window_sends_nothing_more_and_is_never_settled() -> None:
    requests, settled = Requests(), Settled()
    requests.hold()
    with writing(requests, max_requests=2) as writer:
        gone = submit(writer, sums(250), settled)
        requests.wait_for(lambda: requests.running == 2)
        writer.cancel(gone)
        requests.release()
        other = submit(writer, sums(50, start=1000), settled)
        assert settled.get() is other
    assert len(requests.calls) == 4
    assert settled.more == 0


@pytest.mark.parametrize(
    "after", [TryStep(Step.INSERT), THROTTLED, Refused("AccessDenied"), PartiallyRejected()]
)
def test_a_cancelled_window_is_not_followed_up(after: Answer) -> None:
    requests, settled = Requests(lambda *_: after), Settled()
    requests.hold()
    with writing(requests, max_requests=1) as writer:
        gone = submit(writer, sums(1), settled)
        requests.wait_for(lambda: requests.running == 1)
        writer.cancel(gone)
        requests.release()
        wait_for(writer, lambda: gone.requests == 1)
        requests.script = applied
        other = submit(writer, sums(1, start=5), settled)
        assert settled.get() is other
    assert [c.key for c in requests.sent] == ["k0", "k5"]
    assert settled.more == 0


def test_the_last_answer_of_a_cancelled_window_does_not_settle_it() -> None:
    requests, settled = Requests(), Settled()
    requests.hold()
    with writing(requests, max_requests=1) as writer:
        gone = submit(writer, sums(1), settled)
        requests.wait_for(lambda: requests.running == 1)
        writer.cancel(gone)
        requests.release()
        wait_for(writer, lambda: gone.requests == 1)
    assert settled.more == 0


def test_close_waits_for_what_is_on_its_way_and_sends_no_more() -> None:
    requests, settled = Requests(), Settled()
    requests.hold()
    writer = Writer(requests, max_requests=2)
    submit(writer, sums(250), settled)
    requests.wait_for(lambda: requests.running == 2)
    closing = threading.Thread(target=writer.close)
    closing.start()
    wait_for(writer, lambda: writer._closed)
    assert closing.is_alive()
    requests.release()
    closing.join(SECONDS)
    assert not closing.is_alive()
    assert not any(thread.is_alive() for thread in writer._threads)
    assert len(requests.calls) == 2
    assert (requests.running, writer.failure, settled.more) == (0, None, 0)


def test_close_does_not_wait_for_pauses() -> None:
    requests, settled = Requests(lambda *_: Refused("AccessDenied")), Settled()
    with writing(requests, clock=lambda: 0.0) as writer:
        submit(writer, sums(1), settled)
        wait_for(writer, lambda: bool(writer._delayed))
    assert len(requests.calls) == 1


def test_an_exception_of_a_request_surfaces() -> None:
    def broken(_step: Step, _change: Change) -> Answer:
        raise RuntimeError("a defect")

    requests, settled = Requests(broken), Settled()
    with writing(requests, fails=True, max_requests=1) as writer:
        write = submit(writer, sums(1), settled)
        ended(writer)
    assert isinstance(writer.failure, RuntimeError)
    assert not write.is_complete
    assert settled.more == 0


def test_an_answer_too_few_is_a_defect_not_a_loss() -> None:
    class Short(Requests):
        def __call__(self, step: Step, batch: Sequence[Change]) -> list[Answer]:
            return super().__call__(step, batch)[:-1]

    settled = Settled()
    with writing(Short(), fails=True, max_requests=1) as writer:
        write = submit(writer, sums(25), settled)
        ended(writer)
    assert isinstance(writer.failure, ValueError)
    assert not write.is_complete


def test_an_exception_of_the_one_who_is_told_surfaces() -> None:
    def told(_write: WindowWrite) -> None:
        raise RuntimeError("a defect")

    with writing(Requests(), fails=True, max_requests=1) as writer:
        submit(writer, sums(1), told)
        ended(writer)
    assert isinstance(writer.failure, RuntimeError)
