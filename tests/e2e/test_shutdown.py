"""A signal finishes the open windows, commits and leaves; nothing is counted twice by that."""

import re
import signal
import time
from functools import partial

import pytest

from tests.support.events import Event, lower
from tests.support.faults import Delay, Fault, Hold, Request, writes
from tests.support.live_load import Load
from tests.support.proxy import FaultyProxy
from tests.support.stack import Stack, same
from tests.support.tables import Table
from tests.support.waiting import wait_until

PARTITIONS = 4


def when_written(fault: Fault, request: Request) -> Fault | None:
    """Return the fault for writes of windows."""
    return fault if writes(request) else None


def slow(request: Request) -> Fault | None:
    """Keep writes on their way long enough that a signal finds some."""
    return Delay(0.05) if writes(request) else None


def owned(logs: str) -> int:
    """Return how many partitions the last line about an assignment names."""
    return int(re.findall(r'"owned": (\d+)', logs)[-1])


@pytest.mark.parametrize(
    ("number", "protocol"), [(signal.SIGTERM, "classic"), (signal.SIGINT, "consumer")]
)
def test_a_signal_under_load_drains_and_nothing_is_counted_twice(
    stack: Stack, table: Table, number: signal.Signals, protocol: str
) -> None:
    topic, name = stack.topic(PARTITIONS), table()
    arguments = ("--group-protocol", protocol)
    with FaultyProxy(stack.endpoint_url, slow) as proxy:
        with Load(stack, topic, name, PARTITIONS) as load:
            for _ in range(2):
                child = stack.run(topic, [name], *arguments, endpoint_url=proxy.endpoint_url)
                stack.wait_more(name)
                child.signal(number)
                assert child.wait() == 0, child.logs()
        stack.drain(topic, [name], *arguments)
    assert stack.counters(name) == load.log
    assert stack.committed(topic) == stack.ends(topic)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_rebalance_counts_nothing_twice(stack: Stack, table: Table, protocol: str) -> None:
    topic, name = stack.topic(PARTITIONS), table()
    arguments = ("--group-protocol", protocol)
    with FaultyProxy(stack.endpoint_url, slow) as proxy:

        def start(rounds: int) -> None:
            first = stack.run(topic, [name], *arguments, endpoint_url=proxy.endpoint_url)
            stack.wait_more(name)
            for _ in range(rounds):
                revoked = first.stderr.count('"revoked"')
                second = stack.run(topic, [name], *arguments, endpoint_url=proxy.endpoint_url)
                second.wait_for('"owned": 2')
                wait_until(lambda r=revoked: first.stderr.count('"revoked"') > r, "revoked")  # type: ignore[misc]
                second.signal(signal.SIGTERM)
                assert second.wait() == 0, second.logs()
                wait_until(lambda: owned(first.stderr) == 4, "owns all partitions again")
            first.signal(signal.SIGTERM)
            assert first.wait() == 0, first.logs()

        with Load(stack, topic, name, PARTITIONS) as load:
            start(2 if stack.name == "real" else 1)
        stack.drain(topic, [name], *arguments)
    same(stack, load.log, stack.counters(name), protocol)
    assert stack.committed(topic) == stack.ends(topic)


def test_a_second_signal_ends_at_once(stack: Stack, table: Table) -> None:
    runs = []
    for number in (signal.SIGTERM, signal.SIGINT):
        topic, name, hold = stack.topic(1), table(), Hold()
        log = stack.produce(topic, [Event(name, f"k{n}") for n in range(5)])
        script = partial(when_written, hold)
        with FaultyProxy(stack.endpoint_url, script) as proxy:
            child = stack.run(topic, [name], endpoint_url=proxy.endpoint_url)
            assert hold.arrived.wait(20)
            child.signal(number)
            child.wait_for("stopping")
            assert child.returncode is None
            start = time.monotonic()
            child.signal(number)
            assert child.wait() == 128 + number, child.logs()
            assert time.monotonic() - start < 2
            assert not stack.committed(topic)
        runs.append((log, name, stack.run(topic, [name], "--once")))
    for log, name, child in runs:
        assert child.wait() == 0, child.logs()
        # What the proxy held may have been let go after all: then it is counted twice.
        assert not lower(log, stack.counters(name))


def test_a_shutdown_that_takes_too_long_fails_and_loses_nothing(stack: Stack, table: Table) -> None:
    topic, name, hold = stack.topic(1), table(), Hold()
    log = stack.produce(topic, [Event(name, f"k{n}") for n in range(5)])
    with FaultyProxy(stack.endpoint_url, partial(when_written, hold)) as proxy:
        arguments = ("--shutdown-timeout-ms", "1000")
        child = stack.run(topic, [name], *arguments, endpoint_url=proxy.endpoint_url)
        assert hold.arrived.wait(20)
        start = time.monotonic()
        child.signal(signal.SIGTERM)
        assert child.wait() == 1, child.logs()
        assert time.monotonic() - start < 3, child.logs()
        assert "within the bound" in child.stderr
        assert not stack.committed(topic)
    stack.drain(topic, [name])
    assert not lower(log, stack.counters(name))
