"""Whatever stands between the consumer and the table: nothing is missing afterwards."""

import re
import threading
from collections.abc import Callable, Iterable

import pytest

from tests.support.events import Event, higher, lower
from tests.support.faults import (
    Delay,
    DropRequest,
    DropResponse,
    Error,
    FailStatements,
    Fault,
    Raw,
    Request,
    WrongChecksum,
    html,
    server_error,
    throttle,
    writes,
)
from tests.support.proxy import FaultyProxy
from tests.support.stack import REAL, Stack
from tests.support.tables import Table
from tests.support.waiting import wait_until

pytestmark = REAL

COUNTERS = 60  # three batches of UPDATE; every second item needs an INSERT

NOT_APPLIED: dict[str, Callable[[], Fault]] = {
    "throttled": throttle,
    "request limit": lambda: Error("RequestLimitExceeded"),
    "server error": server_error,
    "unavailable": lambda: Error("ServiceUnavailable", status=503),
    "request lost": DropRequest,
    "html": html,
    "empty body": Raw,
    "empty object": lambda: Raw(body=b"{}"),
    "bad gateway": lambda: Raw(502, b"<html>bad gateway</html>", "text/html"),
    "one statement throttled": lambda: FailStatements({7: "ThrottlingError"}),
    "many statements fail": lambda: FailStatements(
        dict.fromkeys(range(0, 20, 2), "ProvisionedThroughputExceeded") | {1: "TransactionConflict"}
    ),
    "one statement breaks": lambda: FailStatements({19: "InternalServerError"}),
}
MAYBE_APPLIED: dict[str, Callable[[], Fault]] = {
    "too slow": lambda: Delay(6.0),  # first, so that the others run while it waits
    "server error after all": lambda: server_error(applied=True),
    "response lost": DropResponse,
    "html after all": lambda: Raw(body=b"<html></html>", content_type="text/html", applied=True),
    "statement breaks after all": lambda: FailStatements({3: "InternalServerError"}, applied=True),
    "wrong checksum": WrongChecksum,
}

ALSO_SINGLE = ("throttled", "server error", "request lost", "html", "empty object", "response lost")


def first(fault: Callable[[], Fault]) -> Callable[[Request], Fault | None]:
    """Return a script: the first writes of each kind meet the fault, all else passes."""
    left = {"UPDATE": 3, "INSERT": 1, "ITEM": 3}

    def choose(request: Request) -> Fault | None:
        kind = request.statements[0]["Statement"][:6] if request.statements else "ITEM"
        if not writes(request) or not left[kind]:
            return None
        left[kind] -= 1
        return fault()

    return choose


@pytest.mark.parametrize("mode", ["batch", "single"])
def test_faults_are_survived(stack: Stack, table: Table, mode: str) -> None:
    """All faults at once, each with its own topic, table, proxy and consumer."""
    proxies, runs = [], []
    for what, fault in (MAYBE_APPLIED | NOT_APPLIED).items():
        if mode == "single" and what not in ALSO_SINGLE:
            continue
        topic, name = stack.topic(1), table()
        log = stack.produce(topic, [Event(name, f"k{n % COUNTERS}", incr=n) for n in range(300)])
        for number in range(0, COUNTERS, 2):
            there = {"pk": {"S": f"k{number}"}, "count": {"N": "1000"}}
            stack.client.put_item(TableName=name, Item=there)
            log[name, f"k{number}", None, "count"] += 1000
        proxy = FaultyProxy(stack.endpoint_url, first(fault))
        proxies.append(proxy)
        arguments = ("--once", "--write-mode", mode)
        child = stack.run(topic, [name], *arguments, endpoint_url=proxy.endpoint_url)
        runs.append((what, topic, name, log, child, proxy))
    doubled: dict[str, int] = {}
    for what, topic, name, log, child, proxy in runs:
        assert child.wait(60) == 0, f"{what}: {child.logs()}"
        found = stack.counters(name)
        met = [r for r in proxy.requests if r.fault is not None]
        assert len(met) >= 3, f"{what}: the fault was not met"
        assert not lower(log, found), what
        assert stack.committed(topic) == {0: 300}, what
        assert not stack.letters(topic), what
        if what in NOT_APPLIED:
            assert found == log, what
        else:
            doubled[what] = len(higher(log, found))
    for proxy in proxies:
        proxy.close()
    print(f"counters higher, of {COUNTERS}: {doubled}")  # noqa: T201 - shown with -rP


def test_a_table_that_refuses_connections_is_tried_until_it_is_back(
    stack: Stack, table: Table
) -> None:
    topic, name = stack.topic(2), table()
    log = stack.produce(topic, [Event(name, f"k{n % 9}") for n in range(90)])
    with FaultyProxy(stack.endpoint_url) as proxy:
        child = stack.run(topic, [name], endpoint_url=proxy.endpoint_url)
        stack.wait_counted(log, name)
        proxy.refuse()
        log.update(stack.produce(topic, [Event(name, f"k{n % 9}") for n in range(90)]))
        child.wait_for("table waits")
        cause = re.search(r'"cause": "(\w+)"', child.stderr)
        assert cause is not None
        assert cause[1] in {"EndpointConnectionError", "ConnectionClosedError"}
        assert stack.committed(topic) != stack.ends(topic)
        proxy.accept()
        stack.wait_counted(log, name)
        child.signal(15)
        assert child.wait() == 0, child.logs()
    assert stack.counters(name) == log
    assert stack.committed(topic) == stack.ends(topic)


def refused() -> Fault:
    return Error(
        "AccessDeniedException", message="not authorized to perform: dynamodb:PartiQLUpdate"
    )


@pytest.mark.parametrize("fault", [throttle, refused, lambda: Delay(30)])
def test_a_table_in_trouble_stops_only_its_own_rows(
    stack: Stack, table: Table, fault: Callable[[], Fault]
) -> None:
    topic, bad, good = stack.topic(2), table(), table()
    healed = threading.Event()

    def choose(request: Request) -> Fault | None:
        trouble = writes(request) and bad in str(request.body) and not healed.is_set()
        return fault() if trouble else None

    def mixed(rounds: Iterable[int]) -> list[Event]:
        # Rows of the good table that share a window with rows of the bad one.
        return [Event(t, f"a{n % 40}") for n in rounds for t in (bad, good)]

    with FaultyProxy(stack.endpoint_url, choose) as proxy:
        child = stack.run(topic, [bad, good], endpoint_url=proxy.endpoint_url)
        log = stack.produce(topic, mixed(range(200)), partition=0)
        for _ in range(3):  # windows of the other partition go on, one after the other
            log.update(stack.produce(topic, [Event(good, f"b{n % 40}") for n in range(80)], 1))
            alone = {r: n for r, n in log.items() if r[0] == good and r[1].startswith("b")}
            wait_until(
                lambda a=alone: a.items() <= stack.counters(good).items(),  # type: ignore[misc]
                "the good table counted",
            )
            wait_until(lambda: stack.committed(topic).get(1) == stack.ends(topic)[1], "committed")
        assert 0 not in stack.committed(topic)
        assert not stack.counters(bad)
        healed.set()
        if fault is refused:
            child.wait_for('"refused": true')
        if isinstance(fault(), Delay):
            child.kill()  # what it sent is answered late: it may be counted twice
            stack.drain(topic, [bad, good])
            assert not lower(log, stack.counters(bad, good))
            return
        stack.wait_counted(log, bad, good)
        child.signal(15)
        assert child.wait() == 0, child.logs()
    assert stack.counters(bad, good) == log
    assert stack.committed(topic) == stack.ends(topic)
