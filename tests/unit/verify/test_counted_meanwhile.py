"""Verifying while a consumer counts."""

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dynatomic.verify.baseline import Baseline
from dynatomic.verify.sample import CounterSample
from tests.support.verify_counting import Counting
from tests.support.verify_world import (
    GROUP,
    TOPIC,
    World,
    differences,
)


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32))
def test_a_table_that_is_counted_meanwhile_is_ok_at_any_moment(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test
    partitions = chance.randint(1, 3)
    w = World(partitions)
    counting = Counting(w, partitions, chance)

    def steps() -> None:
        for _ in range(chance.randrange(12)):
            counting.step()

    def step() -> None:
        if chance.random() < 0.3:
            counting.step()

    w.on_request, w.on_consume, w.on_read = step, steps, steps
    for turn in range(4):
        steps()
        verdict = w.verify(sample=CounterSample(2, seed) if turn == 2 else None)
        assert verdict.ok, list(verdict.text(20))
    w.on_request = w.on_consume = w.on_read = lambda: None
    letters = w.verify().waiting
    assert letters is not None
    assert letters.events == len(counting.stored)
    if counting.counts:
        wrong = chance.choice(sorted(counting.counts))
        by = chance.choice([-1, 1])
        counting.write(wrong, by)
        assert differences(w.verify()) == {wrong: by}


def test_a_snapshot_of_a_table_that_is_counted_meanwhile_is_a_baseline(tmp_path: Path) -> None:
    for seed in range(60):
        chance = random.Random(seed)  # noqa: S311 - a test
        w = World(2)
        counting, file = Counting(w, 2, chance), tmp_path / f"{seed}.jsonl"

        def steps() -> None:
            for _ in range(chance.randrange(12)):  # noqa: B023 - called in this turn only
                counting.step()  # noqa: B023 - as above

        for _ in range(10):
            steps()
        w.on_consume = w.on_read = steps
        w.verify(snapshot=file)
        for _ in range(3):
            steps()
            verdict = w.verify(baseline=file)
            assert verdict.ok, list(verdict.text(20))
            reached = Baseline.open(file).offsets
            for number in range(2):
                w.broker.delete_before(TOPIC, number, chance.randint(0, reached[number]))
        w.verify(baseline=file, snapshot=file)
        assert w.verify(baseline=file).ok


def test_a_snapshot_holds_what_retention_removed_though_it_is_counted_meanwhile(
    tmp_path: Path,
) -> None:
    for seed in range(60):
        chance = random.Random(seed)  # noqa: S311 - a test
        w = World(2)
        counting, file = Counting(w, 2, chance), tmp_path / f"{seed}.jsonl"
        for _ in range(40):
            counting.step()
        for number in range(2):
            reached = w.broker.committed(GROUP, TOPIC, number) or 0
            w.broker.delete_before(TOPIC, number, reached)

        def steps() -> None:
            for _ in range(chance.randrange(8)):  # noqa: B023 - called in this turn only
                counting.step()  # noqa: B023 - as above

        w.on_consume = w.on_read = steps
        w.verify(snapshot=file)
        for _ in range(3):
            for _ in range(20):
                counting.step()
            verdict = w.verify(baseline=file)
            assert verdict.ok, (seed, list(verdict.text(20)))
            w.verify(baseline=file, snapshot=file)
