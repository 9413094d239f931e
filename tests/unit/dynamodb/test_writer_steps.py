"""The writer follows the steps that the answers ask for."""

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence

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
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.row import CounterRef, Reason
from tests.support.writing import (
    THROTTLED,
    Requests,
    Script,
    Settled,
    change,
    submit,
    sums,
    writing,
)

NO_NUMBER = Rejected(Reason.COUNTER_NOT_A_NUMBER, "no number")


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
