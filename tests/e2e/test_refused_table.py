"""A table that refuses writes stops only the partitions with its rows."""

import json
import signal

import pytest

from tests.support.events import Event
from tests.support.faults import Error, Fault, Request, access_denied
from tests.support.proxy import FaultyProxy
from tests.support.stack import REAL, Stack
from tests.support.tables import Table
from tests.support.waiting import wait_until

pytestmark = REAL


@pytest.mark.parametrize(
    ("mode", "code"),
    [("batch", "AccessDeniedException"), ("single", "ResourceNotFoundException")],
)
def test_a_refused_table_stops_only_the_partition_with_its_rows(
    stack: Stack, table: Table, mode: str, code: str
) -> None:
    topic, refused, good = stack.topic(2), table(), table()
    fault = access_denied() if code.startswith("Access") else Error(code)

    def choose(request: Request) -> Fault | None:
        return fault if refused in json.dumps(request.body) else None

    with FaultyProxy(stack.endpoint_url) as proxy:
        child = stack.run(
            topic, [refused, good], "--write-mode", mode, endpoint_url=proxy.endpoint_url
        )
        child.wait_for('"assigned"')
        proxy.script(choose)  # from now on: the tables were fine at the start
        log = stack.produce(topic, [Event(good, "beside"), Event(refused, "k")], 0)
        child.wait_for('"table waits"')
        waits = next(x for x in child.stderr.splitlines() if '"table waits"' in x)
        assert refused in waits
        assert code.removesuffix("Exception") in waits

        # The other partition is counted and committed all the while, window after window.
        for number in range(3):
            log.update(stack.produce(topic, [Event(good, f"k{n}") for n in range(40)], 1))
            wait_until(
                lambda end=40 * (number + 1): stack.committed(topic).get(1) == end,  # type: ignore[misc]
                "the good partition is committed",
            )
        assert 0 not in stack.committed(topic)
        assert not stack.counters(refused)
        assert stack.counters(good) == {r: n for r, n in log.items() if r[0] == good}

        proxy.script(())
        wait_until(lambda: stack.committed(topic) == stack.ends(topic), "all is committed", 30)
        child.signal(signal.SIGTERM)
        assert child.wait() == 0, child.logs()
    assert stack.counters(refused, good) == log
    assert not stack.letters(topic)


def test_sigterm_with_a_refused_table_fails_within_the_bound_and_loses_nothing(
    stack: Stack, table: Table
) -> None:
    topic, refused, good = stack.topic(2), table(), table()

    def choose(request: Request) -> Fault | None:
        return access_denied() if refused in json.dumps(request.body) else None

    with FaultyProxy(stack.endpoint_url) as proxy:
        arguments = ("--shutdown-timeout-ms", "2000")
        child = stack.run(topic, [refused, good], *arguments, endpoint_url=proxy.endpoint_url)
        child.wait_for('"assigned"')
        proxy.script(choose)
        log = stack.produce(topic, [Event(refused, f"k{n}") for n in range(30)], 0)
        log.update(stack.produce(topic, [Event(good, f"k{n}") for n in range(30)], 1))
        child.wait_for('"table waits"')
        wait_until(lambda: stack.committed(topic) == {1: 30}, "the good partition is committed")
        child.signal(signal.SIGTERM)
        assert child.wait(2 + 1.5) == 1, child.logs()
        assert stack.committed(topic) == {1: 30}
    stack.drain(topic, [refused, good])
    # Refused means not applied, so this is exact.
    assert stack.counters(refused, good) == log
    assert stack.committed(topic) == stack.ends(topic)


def test_once_with_a_refused_table_says_so_and_fails(stack: Stack, table: Table) -> None:
    topic, name = stack.topic(), table()
    log = stack.produce(topic, [Event(name, "k")])

    def choose(request: Request) -> Fault | None:
        probe = "-check" in json.dumps(request.body)
        write = request.operation == "BatchExecuteStatement"
        return access_denied() if write and not probe else None

    with FaultyProxy(stack.endpoint_url, choose) as proxy:
        child = stack.run(topic, [name], "--once", endpoint_url=proxy.endpoint_url)
        assert child.wait(40) == 1, child.logs()
        assert f"table {name} refuses writes" in child.stderr
        assert not stack.committed(topic)
    stack.drain(topic, [name])
    assert stack.counters(name) == log
