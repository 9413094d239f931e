"""What a real outage looks like from the outside, within seconds and when it is over."""

import re
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.browser import Browser
from tests.support.children import Child, Spawn
from tests.support.events import Event
from tests.support.faults import Fault, Request, throttle
from tests.support.kafka_server import KafkaServer
from tests.support.needed import needs
from tests.support.proxy import FaultyProxy
from tests.support.stack import Stack, real_stack
from tests.support.tables import MakeTable, Table
from tests.support.waiting import wait_until
from tests.support.watching import get, metrics, status_of, url_of

SERVE = ("--http", "127.0.0.1:0")
TOLD_WITHIN_S = 12.0


def told(url: str, activity: str) -> float:
    """Wait until the consumer reports what it waits for; return after how many seconds."""
    start = time.monotonic()
    wait_until(
        lambda: status_of(url)["activity"] == activity, f"{activity!r} is reported", TOLD_WITHIN_S
    )
    return time.monotonic() - start


def recovered(child: Child, cause: str) -> int:
    """Return after how many seconds the log says that it works again."""
    pattern = re.compile(rf'"recovered", "seconds": (\d+), "why": "{cause}"')
    wait_until(lambda: pattern.search(child.stderr) is not None, "the log reports the end", 30)
    match = pattern.search(child.stderr)
    assert match is not None
    return int(match[1])


@pytest.mark.timeout(180)
def test_the_death_of_the_only_broker_is_told_within_seconds(
    request: pytest.FixtureRequest,
    kafka_private: KafkaServer,
    spawn: Spawn,
    make_table: MakeTable,
) -> None:
    stack = real_stack(request, kafka_private, spawn)
    topic, name = stack.topic(2), make_table(stack.client)
    child = stack.run(topic, [name], *SERVE)
    url = url_of(child)
    log = stack.produce(topic, [Event(name, "a")] * 10)
    stack.wait_counted(log, name)
    assert status_of(url)["activity"] == "counting"
    kafka_private.stop(kill=True)
    told(url, "no broker answers")
    assert get(f"{url}livez")[0] == 200, "the probe waits for its minute"
    assert metrics(url)["dynatomic_waiting", "broker-down"] == 1
    wait_until(lambda: get(f"{url}readyz")[0] == 503, "it is not ready without a broker", 30)
    kafka_private.start()
    wait_until(lambda: get(f"{url}readyz")[0] == 200, "it is ready again", 60)
    log += stack.produce(topic, [Event(name, "b")] * 10)
    stack.wait_counted(log, name)
    assert recovered(child, "broker-down") >= 5
    told(url, "counting")


@pytest.fixture
def throttled(stack: Stack) -> Iterator[tuple[str, Callable[[bool], None]]]:
    """Return the endpoint of a table, and the function that lets it throttle all writes."""
    is_throttled = False

    def choose(request: Request) -> Fault | None:
        writes = request.operation in {"BatchExecuteStatement", "UpdateItem"}
        return throttle() if writes and is_throttled else None

    def let(state: bool) -> None:  # noqa: FBT001
        nonlocal is_throttled
        is_throttled = state

    with FaultyProxy(stack.endpoint_url, choose) as proxy:
        yield proxy.endpoint_url, let


def test_a_throttled_table_is_told_within_seconds_and_shown_on_the_page(
    stack: Stack, table: Table, throttled: tuple[str, Callable[[bool], None]]
) -> None:
    for program in ("chromium", "chromedriver"):
        needs(program)
    endpoint_url, let = throttled
    topic, name = stack.topic(1), table()
    child = stack.run(topic, [name], *SERVE, endpoint_url=endpoint_url)
    url = url_of(child)
    log = stack.produce(topic, [Event(name, "a")])
    stack.wait_counted(log, name)
    with Browser((1180, 900)) as browser:
        browser.open(url)
        browser.wait("document.getElementById('state').textContent === 'counting'")
        let(True)
        log += stack.produce(topic, [Event(name, "a")])
        told(url, f"waiting for table {name}: throttled")
        assert get(f"{url}livez")[0] == get(f"{url}readyz")[0] == 200
        assert metrics(url)["dynatomic_waiting", "table-throttled"] == 1
        browser.wait("document.getElementById('state').dataset.is === 'warn'")
        assert f"waiting for table {name}: throttled" in browser.text()
        let(False)
        stack.wait_counted(log, name)
        assert recovered(child, "table-throttled") >= 3
        browser.wait("document.getElementById('state').textContent === 'counting'")
        assert browser.complaints() == []
