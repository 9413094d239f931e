"""How old an event is when its counter has it: from ``produce()`` to the sink's answer.

A producer sends events with an increment of 1 at a steady rate, in ticks of 5 ms, and records the
start of each tick. The sink records the time and the amount of each addition to a counter. The
events of a counter are added in the order of sending. So the n-th unit that arrives at a counter is
the n-th event that was sent to it. This gives the age of each event, at most 5 ms too old. Events
of the first seconds, when the consumer starts and joins its group, are sent but not counted.
"""

import json
import subprocess
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from statistics import quantiles
from typing import Any, Final

from bench.child import Plan
from bench.children import output, started
from bench.measure import Bench
from bench.sink import Arrival
from bench.workloads import Message, Workload
from dynatomic.config.settings import ProcessingGuarantee, Settings
from dynatomic.errors import DynatomicError
from dynatomic.kafka.client import new_producer, producer_config

_TICK_S: Final = 0.005
_LIMIT_S: Final = 30.0
_MOST_S: Final = 600.0  # of sending

Tick = tuple[float, int]
"""When a tick began, and how many events were sent at its end."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """The ages of events at one load, in seconds, and what the consumer cost."""

    load: int
    guarantee: str
    window_ms: int
    events: int
    events_per_write: float
    p50_s: float
    p99_s: float
    max_s: float
    cpu_us: float
    of_core: float


def steady(  # noqa: PLR0913 - what is asked for
    bench: Bench,
    load: int,
    guarantee: ProcessingGuarantee,
    window_ms: int,
    seconds: float,
    left_out_s: float,
) -> Freshness:
    """Send ``load`` events a second for ``seconds``, of which the first are left out.

    Raises `DynatomicError` if the producer or the consumer fails, or if an event does not arrive.
    """
    workload, events = Workload(), round(load * seconds)
    with bench.topics.empty(workload) as topic:
        plan = Plan(
            topic=topic.name, group=topic.name, share=0, window_ms=window_ms, guarantee=guarantee
        )
        ticks, seen = _follow(bench, plan, load, events)
    begin = ticks[0][0] + left_out_s
    found = ages_of(workload, ticks, bench.sink.arrivals())
    ages = [age for sent_at, age in found if sent_at >= begin]
    (first, cpu_first), (last, cpu_last) = seen["first"], seen["last"]
    cuts = quantiles(ages, n=100, method="inclusive")
    result = Freshness(
        load=load,
        guarantee=guarantee,
        window_ms=window_ms,
        events=len(ages),
        events_per_write=events / bench.sink.take().statements,
        p50_s=cuts[49],
        p99_s=cuts[98],
        max_s=max(ages),
        cpu_us=(cpu_last - cpu_first) / events * 1e6,
        of_core=(cpu_last - cpu_first) / (last - first),
    )
    bench.say(
        f"freshness, {load:,} events/s, {window_ms / 1000:g} s, {guarantee}: "
        f"p50 {result.p50_s:.2f} s, p99 {result.p99_s:.2f} s"
    )
    return result


def _follow(bench: Bench, plan: Plan, load: int, events: int) -> tuple[list[Tick], dict[str, Any]]:
    """Send the events to a consumer that runs; return the ticks and what the consumer saw."""
    bench.sink.take()
    bench.sink.watch()
    sent = {"servers": bench.topics.bootstrap_servers, "topic": plan.topic}
    numbers = {"load": load, "events": events}
    producing = [sys.executable, "-m", "bench.freshness", json.dumps(sent | numbers)]
    with started(bench.child("run", plan), bench.environment()) as follower:
        with started(producing, bench.environment()) as producer:
            ticks = json.loads(output(producer, "the producer", _MOST_S))
        _wait_for(bench, events, follower)
        follower.terminate()
        seen = json.loads(output(follower, "the consumer", _LIMIT_S))
    return ticks, seen


def ages_of(
    workload: Workload, ticks: Iterable[Tick], arrivals: Iterable[Arrival]
) -> Iterator[tuple[float, float]]:
    """Return when each event was sent and its age when it arrived, both in seconds.

    Raises `DynatomicError` if the sum of a counter differs from the sum that was sent.
    """
    ticks = list(ticks)
    choices = chain.from_iterable(workload.choices(ticks[-1][1]))
    waiting: defaultdict[str, deque[float]] = defaultdict(deque)
    sent = 0
    for began, upto in ticks:
        for _ in range(upto - sent):
            waiting[f"key-{next(choices)}"].append(began)
        sent = upto
    for arrived, key, added in arrivals:
        queue = waiting[key]
        if added > len(queue):
            raise DynatomicError(f"a counter was added {added}, and {len(queue)} were sent to it")
        for _ in range(added):
            began = queue.popleft()
            yield began, arrived - began
    if left := sum(map(len, waiting.values())):
        raise DynatomicError(f"{left} of {sent} events did not arrive")


def _wait_for(bench: Bench, events: int, follower: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while (added := bench.sink.count().added) < events:
        if follower.poll() is not None:
            output(follower, "the consumer", _LIMIT_S)
        if time.monotonic() > deadline:
            raise DynatomicError(f"{added} of {events} events arrived in {_LIMIT_S:.0f} s")
        time.sleep(0.1)


def produce(plan: dict[str, Any], messages: Iterator[Message]) -> list[Tick]:
    """Send the events at a steady rate and return the ticks."""
    settings = Settings(bootstrap_servers=plan["servers"], topic=plan["topic"])
    producer = new_producer(producer_config(settings))
    ticks: list[Tick] = []
    begin, sent = time.monotonic(), 0
    while sent < plan["events"]:
        now = time.monotonic()
        due = min(plan["events"], 1 + int((now - begin) * plan["load"]))
        for _ in range(due - sent):
            value, key = next(messages)
            producer.produce(plan["topic"], value, key)
        producer.poll(0)
        ticks.append((now, due))
        sent = due
        time.sleep(max(0.0, now + _TICK_S - time.monotonic()))
    producer.flush(_LIMIT_S)
    return ticks


if __name__ == "__main__":
    plan = json.loads(sys.argv[1])
    pieces = list(Workload().messages(plan["events"]))  # made before the measurement starts
    print(json.dumps(produce(plan, chain.from_iterable(pieces))))
