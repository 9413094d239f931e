"""The protocol as a whole: whatever happens, in whatever order, the counters are right.

See `model` for what may happen and what is checked after every step. ``MODEL_EXAMPLES``
plays more of it (100 times the default takes an hour), ``MODEL_SEED`` another part of it.
"""

import os
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from dynatomic.dynamodb import table_queue
from dynatomic.dynamodb.statements import Step
from tests.support.model import ALWAYS, STEPS, Model, schedule

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "70"))
SEED = os.environ.get("MODEL_SEED")
SCHEDULES = EXAMPLES * 3
STEP_COUNT = 60

pytestmark = pytest.mark.no_cover  # as all tests of many examples: see conftest


class Machine(RuleBasedStateMachine):
    """Takes steps of the model; hypothesis chooses them and makes a failure short."""

    guarantee = "exactly-once"
    inserts = False

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(self.guarantee, inserts=self.inserts)
        self.model.step("start", 0, 0, 1)
        self.broken = False

    def take(self, name: str, numbers: list[int]) -> None:
        try:
            self.model.step(name, *numbers)
        except BaseException:
            self.broken = True
            raise

    def teardown(self) -> None:
        try:
            if not self.broken:
                self.model.finish()
        finally:
            self.model.close()


def _add(name: str, bounds: tuple[int, ...], alias: str) -> None:
    def step(self: Machine, **numbers: int) -> None:
        self.take(name, [numbers[key] for key in sorted(numbers)])

    step.__name__ = alias
    numbers: Any = {f"n{i}": st.integers(0, below - 1) for i, below in enumerate(bounds)}
    made: Any = rule(**numbers)
    setattr(Machine, alias, made(step))


for _name, (_, _bounds) in STEPS.items():
    _add(_name, _bounds, _name)
    if _name in ALWAYS:  # without these nothing moves, so they are taken more often
        _add(_name, _bounds, f"{_name}_too")


class AtLeastOnce(Machine):
    guarantee = "at-least-once"


class InsertFirst(Machine):
    inserts = True


@pytest.mark.parametrize("machine", [Machine, InsertFirst, AtLeastOnce])
def test_promise_2_and_3_whatever_happens(machine: type[Machine]) -> None:
    how = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEP_COUNT,
        deadline=None,
        derandomize=SEED is None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(int(SEED))(machine) if SEED else machine, settings=how)


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_promise_2_and_3_with_real_threads(guarantee: str) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for number in range(EXAMPLES // 2):
            schedule(number, guarantee, threads=True)
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_the_model_comes_to_inserts_that_are_tried_first(
    guarantee: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: Counter[Step] = Counter()
    learn = table_queue.TableQueue.record_missing

    def counted(table: Any, step: Step, *found: Any) -> None:
        opened[step] += 1
        learn(table, step, *found)

    monkeypatch.setattr(table_queue.TableQueue, "record_missing", counted)
    for number in range(30):
        schedule(number, guarantee)
    assert opened[Step.UPDATE] > 50
    assert opened[Step.INSERT] > 15


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_promise_2_and_3_where_events_add_to_several_items(guarantee: str) -> None:
    first = int(SEED or 0) * SCHEDULES
    for number in range(first, first + EXAMPLES // 2):
        schedule(number, guarantee, declared=True)


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_promise_2_and_3_on_fixed_schedules(guarantee: str) -> None:
    first = int(SEED or 0) * SCHEDULES
    # The last one found a deleted topic's offset that the broker forgot while it was looked up.
    for number in (*range(first, first + SCHEDULES), 387):
        schedule(number, guarantee)
