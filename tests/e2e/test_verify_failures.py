"""``dynatomic verify`` without what it needs: one line, the right exit code, no wrong verdict."""

import sys

from dynatomic.testing.embedded import environment, free_port
from tests.support.children import Child
from tests.support.events import Event
from tests.support.faults import (
    DropResponse,
    Fault,
    Request,
    WrongChecksum,
    access_denied,
    html,
    server_error,
    throttle,
)
from tests.support.names import unique
from tests.support.proxy import FaultyProxy
from tests.support.stack import REAL, Stack
from tests.support.tables import Table
from tests.support.verifying import EXACTLY_ONCE, ok, verify
from tests.support.waiting import wait_until

pytestmark = REAL


def failing(child: Child, code: int, *parts: str) -> None:
    assert child.wait(60) == code, child.logs()
    (told,) = [line for line in child.stderr.splitlines() if line.startswith("dynatomic: error:")]
    assert not child.stdout
    for part in parts:
        assert part in told


def test_what_is_missing_or_denied_is_one_line(stack: Stack, table: Table) -> None:
    topic, name = stack.topic(1), table()
    stack.produce(topic, [Event(name, "a")])
    never = stack.spawn("verify", "-t", topic, "-g", "nobody", "--table", name, env=stack.env())
    failing(never, 78, "group nobody has no committed offset", "--group-id")
    gone = stack.spawn("verify", "-t", unique("gone"), "--table", name, env=stack.env())
    failing(gone, 78, "does not exist")
    no_table = stack.spawn("verify", "-t", topic, "--table", unique("gone"), env=stack.env())
    failing(no_table, 78, "does not exist in region")
    none = stack.spawn("verify", "-t", topic, env=stack.env())
    failing(none, 78, "--table")
    both = ("--sample", "3", "--snapshot", "x")
    usage = stack.spawn("verify", "-t", topic, "--table", name, *both, env=stack.env())
    failing(usage, 2, "--sample")

    def deny(request: Request) -> Fault | None:
        return access_denied() if request.operation == "BatchGetItem" else None

    stack.drain(topic, [name])
    with FaultyProxy(stack.endpoint_url, deny) as proxy:
        where = ("--endpoint-url", proxy.endpoint_url)
        denied = stack.spawn(
            "verify", "-t", topic, "-g", topic, "--table", name, *where, env=stack.env()
        )
        failing(denied, 78, "access denied: allow dynamodb:")


HASTY = """
import sys, dynatomic.verify.command
dynatomic.verify.command.START_S = 1.0  # instead of ten seconds
from dynatomic.cli.main import main
sys.exit(main())
"""


def test_no_kafka(stack: Stack, table: Table) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-c", HASTY, "verify", "--table", table()]
    child = stack.spawn.command(command, env=environment(nobody, stack.endpoint_url))
    failing(child, 75, nobody, "--bootstrap-servers")


def test_a_throttled_table_does_not_hold_up_an_interrupt(stack: Stack, table: Table) -> None:
    topic, name = stack.topic(1), table()
    stack.produce(topic, [Event(name, f"k{n}") for n in range(1_000)])

    def slow(request: Request) -> Fault | None:
        return throttle() if request.operation == "BatchGetItem" else None

    with FaultyProxy(stack.endpoint_url, slow) as proxy:
        where = ("--endpoint-url", proxy.endpoint_url)
        child = stack.spawn(
            *("verify", "-t", topic, "--table", name, *EXACTLY_ONCE, *where), env=stack.env()
        )
        wait_until(lambda: len(proxy.requests) > 30, "it waits for the table")
        child.signal(2)
        assert child.wait(15) == 130, child.logs()
    assert "Traceback" not in child.stderr


FAULTS: list[Fault] = [throttle(), server_error(), html(), DropResponse(), WrongChecksum()]


def test_faults_of_the_table_do_not_change_the_verdict(stack: Stack, table: Table) -> None:
    topic, name = stack.topic(2), table()
    log = stack.produce(topic, [Event(name, f"k{n}") for n in range(250)])
    stack.drain(topic, [name])
    count: dict[str, int] = {}

    def trouble(request: Request) -> Fault | None:
        seen = count[request.operation] = count.get(request.operation, 0) + 1
        if request.operation != "BatchGetItem" or seen > len(FAULTS):
            return None
        return FAULTS[seen - 1]

    with FaultyProxy(stack.endpoint_url, trouble) as proxy:
        found = verify(stack, topic, [name], "--endpoint-url", proxy.endpoint_url).stdout
    assert found.splitlines()[0] == ok(log)
    assert count["BatchGetItem"] > len(FAULTS)
