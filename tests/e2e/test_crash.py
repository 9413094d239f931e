"""Killed at any moment: no event is missing, and with exactly-once none is counted twice."""

import random
import time

import pytest

from tests.support.children import Child
from tests.support.events import Event, higher, lower
from tests.support.faults import Delay, DropRequest, Fault, Hold, Request, writes
from tests.support.live_load import Load
from tests.support.proxy import FaultyProxy
from tests.support.stack import Stack
from tests.support.tables import Table
from tests.support.waiting import wait_until

PARTITIONS = 4
ROUNDS = 3


@pytest.mark.parametrize(
    ("protocol", "guarantee"), [("classic", "at-least-once"), ("consumer", "exactly-once")]
)
def test_kill_at_any_moment(stack: Stack, table: Table, protocol: str, guarantee: str) -> None:
    random_ = random.Random(f"{stack.name} {protocol}")  # noqa: S311 - the same each time
    topic, name = stack.topic(PARTITIONS), table()
    arguments = ("--group-protocol", protocol, "--processing-guarantee", guarantee)

    def disturb(request: Request) -> Fault | None:
        if not writes(request):
            return None
        return random_.choice([None, Delay(random_.uniform(0, 0.2)), DropRequest()])

    with FaultyProxy(stack.endpoint_url, disturb) as proxy:

        def start() -> Child:
            return stack.run(topic, [name], *arguments, endpoint_url=proxy.endpoint_url)

        with Load(stack, topic, name, PARTITIONS) as load:
            members = [start(), start()]
            stack.wait_more(name)
            for _ in range(ROUNDS):
                members.pop(random_.randrange(len(members))).kill()
                members.append(start())
                stack.wait_more(name)
                # Not to wait for something: the moment of the kill is what varies.
                time.sleep(random_.uniform(0, 0.6))
        for member in members:
            member.kill()
    stack.drain(topic, [name], *arguments)
    found = stack.counters(name)
    assert not lower(load.log, found)
    assert found.keys() == load.log.keys()
    assert stack.committed(topic) == stack.ends(topic)
    if guarantee == "exactly-once":
        assert found == load.log
    doubled = higher(load.log, found)
    print(f"{len(doubled)} of {len(found)} counters higher after {ROUNDS + 2} kills")  # noqa: T201


def test_nothing_is_committed_before_it_is_in_the_table(stack: Stack, table: Table) -> None:
    """The worst moment: all is read, to the end of each partition, and nothing is written."""
    topic, name, hold = stack.topic(PARTITIONS), table(), Hold()
    events = [Event(name, f"k{n}") for n in range(40)]
    log = stack.produce(topic, events)
    with FaultyProxy(stack.endpoint_url, lambda r: hold if writes(r) else None) as proxy:
        child = stack.run(topic, [name], endpoint_url=proxy.endpoint_url)
        ends = stack.ends(topic)
        wait_until(lambda: len([r for r in proxy.requests if r.fault]) >= len(ends), "written")
        assert not stack.committed(topic)
        child.kill()
        assert not stack.committed(topic)
    stack.drain(topic, [name])
    assert not lower(log, stack.counters(name))
