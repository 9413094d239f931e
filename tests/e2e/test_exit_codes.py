"""How a consumer ends that cannot start: the exit code, and one line that says what to do."""

import sys
from pathlib import Path

import pytest

from dynatomic.testing.embedded import environment, free_port
from tests.support.children import Spawn, one_line
from tests.support.faults import Fault, Request, access_denied
from tests.support.names import unique
from tests.support.proxy import FaultyProxy
from tests.support.stack import Stack
from tests.support.tables import Table

HASTY = """
import sys, dynatomic.service.build
dynatomic.service.build.START_S = 1.0  # instead of half a minute
from dynatomic.cli.main import main
sys.exit(main())
"""


def test_a_missing_table(stack: Stack) -> None:
    name = unique("missing")
    child = stack.run(stack.topic(1), [name])
    one_line(
        child, 78, f"table '{name}' does not exist in region us-east-1", "init --create-tables"
    )


@pytest.mark.parametrize("mode", ["batch", "single"])
def test_a_denied_table(stack: Stack, table: Table, mode: str) -> None:
    name = table()

    def deny(request: Request) -> Fault | None:
        return access_denied() if request.operation != "DescribeTable" else None

    with FaultyProxy(stack.endpoint_url, deny) as proxy:
        arguments = ("--write-mode", mode)
        child = stack.run(stack.topic(1), [name], *arguments, endpoint_url=proxy.endpoint_url)
        where = "arn:aws:dynamodb:us-east-1:000000000000:table/t"
        one_line(child, 78, "access denied", "dynamodb:PartiQLUpdate", where, "init --print-iam")


def test_a_table_that_may_not_be_described(stack: Stack, table: Table) -> None:
    with FaultyProxy(stack.endpoint_url, lambda _: access_denied()) as proxy:
        child = stack.run(stack.topic(1), [table()], endpoint_url=proxy.endpoint_url)
        one_line(child, 78, "access denied")


def test_a_missing_topic_and_a_missing_dead_letter_topic(stack: Stack, table: Table) -> None:
    topic, name = unique("missing"), table()
    one_line(stack.run(topic, [name]), 78, topic, "dynatomic init")
    stack.create(topic, 1)
    stack.topics.append(topic)
    one_line(stack.run(topic, [name]), 78, f"{topic}.dlq", "dynatomic init")


def test_no_kafka(stack: Stack, table: Table) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-c", HASTY, "run", "--table", table()]
    child = stack.spawn.command(command, env=environment(nobody, stack.endpoint_url))
    one_line(child, 75, nobody, "--bootstrap-servers")


def test_no_dynamodb(stack: Stack) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-c", HASTY, "run", "--table", "hits"]
    child = stack.spawn.command(command, env=environment(stack.bootstrap_servers, nobody))
    one_line(child, 75, nobody, "--endpoint-url")


def test_an_unknown_librdkafka_property(stack: Stack, table: Table) -> None:
    one_line(stack.run(stack.topic(1), [table()], "-X", "no.such=1"), 78, "no.such", "-X")


def test_usage_and_configuration(spawn: Spawn, tmp_path: Path) -> None:
    env = environment("127.0.0.1:1", "http://127.0.0.1:1")
    file = tmp_path / "dynatomic.toml"
    file.write_text('tables = ["hits"]\nwindow_mss = 5\n')
    cases = [
        (("run", "--windowms", "5"), 2, ("--windowms",)),
        (("run", "--window-ms", "soon"), 2, ("window",)),
        (("run", "--config", str(file)), 78, ("window_mss", "window_ms")),
        (("run",), 78, ("table",)),
        (("run", "--table", "hits", "-X", "enable.auto.commit=true"), 78, ("enable.auto.commit",)),
    ]
    children = [spawn(*arguments, env=env) for arguments, _, _ in cases]
    for child, (_, code, parts) in zip(children, cases, strict=True):
        one_line(child, code, *parts)


def test_a_consumer_that_would_throw_everything_away(stack: Stack, table: Table) -> None:
    topic = stack.topic(1)
    stack.produce_raw(topic, [{"value": b"\xff\x00bad"}] * 200)
    name, ratio = table(), ("--dead-letter-max-ratio", "0.9")
    child = stack.run(topic, [name], *ratio)
    one_line(
        child, 78, "are dead letters (undecodable ", "--dead-letter-max-ratio 0.9", "--dry-run"
    )
    assert (stack.letters(topic), stack.committed(topic)) == ([], {})
    dry = stack.run(topic, [name], "--once", "--dry-run", *ratio)
    assert dry.wait(30) == 0, dry.logs()
    assert "dead letter" in dry.logs()
    assert "undecodable" in dry.logs()
