"""Generated events through the worker, with kills and rewinds, against a plain implementation."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynatomic.counting.records import Record
from tests.support.clients import GROUP, TOPIC
from tests.support.declared import DeclaredWorld, declared
from tests.unit.counting import reference

pytestmark = pytest.mark.no_cover  # as all tests of many examples: see conftest

FILE = """
[event]
time = "time"

[[counter]]
name = "daily"
when = "kind != 'internal'"
table = "usage"
key = "{tenant}"
range = "day#{time|day}"
add = { requests = 1, bytes = "size" }

[[counter]]
name = "refunds"
when = "kind == 'refund'"
table = "usage"
key = "{tenant}"
range = "day#{time|day}"
subtract = { bytes = "size", cents = { path = "price", scale = 2 } }

[[counter]]
name = "kinds"
table = "totals"
key = "{kind}#{_kafka.partition}"
add = { requests = 1 }
"""

_events = st.one_of(
    st.sampled_from([None, b"{", b"[]", b"7"]),
    st.fixed_dictionaries(
        {
            "time": st.sampled_from(["2026-11-28T23:59:59Z", "2026-11-29T00:00:00Z", "soon", None]),
            "tenant": st.sampled_from(["a", "b#c", 7, 7, None, True]),
            "kind": st.sampled_from(["web", "web", "refund", "internal", None]),
            "size": st.sampled_from([1, -2, 10**12, 1, 2, 1.5, "1"]),
            "price": st.sampled_from([12.34, 0.1, 5, 0.001]),
        }
    ),
)
_steps = st.one_of(
    st.tuples(st.just("emit"), st.integers(0, 1), st.lists(_events, min_size=1, max_size=6)),
    st.tuples(st.sampled_from(["window", "window", "turn", "kill", "stop"])),
    st.tuples(st.just("rewind"), st.integers(0, 1), st.integers(0, 12)),
)


class Play:
    """One world that takes the steps."""

    def __init__(self, d: DeclaredWorld, guarantee: str) -> None:
        self.d = d
        self.once = guarantee == "exactly-once"
        self.guarantee: Any = guarantee
        self.log: list[tuple[int, int, Any]] = []
        self.start()

    def start(self) -> None:
        self.member = self.d.worker(processing_guarantee=self.guarantee)

    def take(self, step: Any) -> None:
        name, *values = step
        if name == "emit":
            partition, events = values
            for event in events:
                self.log.append((partition, self.d.emit(event, partition=partition), event))
        elif name == "window":
            self.d.world.window()
        elif name == "turn":
            self.d.world.turn()
        elif name == "stop":
            self.end()
            self.start()
        elif self.once and name == "kill":
            self.member.alive = False
            self.d.world.broker.kill(self.member.consumer)
            self.start()
        elif self.once and name == "rewind":
            self.end()
            partition, offset = values
            offsets = self.d.world.broker.group(GROUP).offsets
            if offset < offsets.get((TOPIC, partition), 0):
                offsets[TOPIC, partition] = offset
            self.start()

    def end(self) -> None:
        assert self.member.worker.shut_down()
        self.member.alive = False

    def all_committed(self) -> bool:
        ends = {partition: offset + 1 for partition, offset, _ in self.log}
        return all((self.d.world.committed(p) or 0) >= end for p, end in ends.items())

    def check(self) -> None:
        self.d.world.until(self.all_committed, step_s=0.5)
        expected: Counter[tuple[str, str, str | None, str]] = Counter()
        letters = set()
        tables = {counter.name: counter.table for counter in self.d.definition.counters}
        for partition, offset, event in self.log:
            if event is None:
                continue
            value = event if isinstance(event, bytes) else json.dumps(event).encode()
            record = Record(value, None, (), 1_000_000, partition, offset, TOPIC)
            added = _reference(self.d, record)
            if isinstance(added, str):
                letters.add((partition, offset))
                continue
            for name, key, range_, amounts in added:
                for attribute, amount in amounts.items():
                    ref = (tables[name], key, range_, attribute)
                    expected[ref] = expected[ref] + amount
        assert self.d.values() == dict(expected)
        assert set(self.d.world.letters()) == letters


def _reference(d: DeclaredWorld, record: Record) -> reference.Result:
    try:
        return reference.additions(d.definition, record)
    except ValueError:  # json.loads of the reference
        return "undecodable"


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_every_event_is_in_its_counters_once(guarantee: str) -> None:
    @settings(
        max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(st.lists(_steps, min_size=4, max_size=25))
    def play(steps: list[Any]) -> None:
        with declared(2, FILE) as d:
            made = Play(d, guarantee)
            for step in steps:
                made.take(step)
            made.check()

    play()
