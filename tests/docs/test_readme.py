"""The README's commands are run, and what it shows of their output is what they print."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dynatomic.events.row import Reason
from tests.support.brokers import HasBootstrapServers
from tests.support.names import unique
from tests.support.tables import HasEndpointUrl, make_client

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

# Not run here: this test is part of one, the other needs an engine (test_compose has it) and the
# third a published package. `make demo` is run as the command that it calls.
ELSEWHERE = ("make test", "docker compose", "pip install")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> Iterator[tuple[str, list[str]]]:
    for block in blocks("console"):
        if "$ make demo" in block:  # what the demo runs is part of what it prints
            command, *output = block[2:].strip("\n").split("\n")
            yield command, output
            continue
        for part in block.split("$ ")[1:]:
            command, *output = part.strip("\n").split("\n")
            yield command, output


def words(line: str) -> str:
    """Return a line without what depends on how long names are, and without ids."""
    return re.sub(r"\b[0-9a-f]{32}\b", "ID", re.sub(r" +", " ", line))


def shows(printed: list[str], shown: list[str]) -> bool:
    """Tell whether this was printed, in any order; or, with an ellipsis at the end, began so."""
    found, wanted = list(map(words, printed)), list(map(words, shown))
    if wanted[-1] == "...":
        return found[: len(wanted) - 1] == wanted[:-1] and len(found) >= len(wanted)
    return sorted(found) == sorted(wanted)


def shape(line: str) -> str:
    """Return a line without what differs from run to run: the figures."""
    return re.sub(r"[\d,.]*\d", "#", re.sub(r" +", " ", line))


@pytest.fixture
def environment(
    kafka_real: HasBootstrapServers,
    dynamodb_real: HasEndpointUrl,
    kcat: str,
) -> Iterator[dict[str, str]]:
    client = make_client(dynamodb_real.endpoint_url)
    yield {
        **os.environ,
        "PATH": os.pathsep.join(
            [str(Path(sys.executable).parent), str(Path(kcat).parent), os.environ["PATH"]]
        ),
        "DYNATOMIC_BOOTSTRAP_SERVERS": kafka_real.bootstrap_servers,
        "DYNATOMIC_TOPIC": unique("readme"),
        "DYNATOMIC_GROUP_ID": unique("readme"),
        "AWS_ENDPOINT_URL_DYNAMODB": dynamodb_real.endpoint_url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    for table in ("usage", "orders"):
        with suppress(client.exceptions.ResourceNotFoundException):  # a failure came before it
            client.delete_table(TableName=table)


def run(command: str, environment: dict[str, str], folder: Path) -> list[str]:
    command = command.replace("localhost:9092", environment["DYNATOMIC_BOOTSTRAP_SERVERS"])
    command = command.replace("row-events", environment["DYNATOMIC_TOPIC"])
    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", command],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    printed = done.stdout.replace(environment["DYNATOMIC_TOPIC"], "row-events")
    printed = printed.replace(environment["DYNATOMIC_GROUP_ID"], "dynatomic")
    return printed.replace(
        environment["DYNATOMIC_BOOTSTRAP_SERVERS"], "localhost:9092"
    ).splitlines()


@pytest.mark.timeout(300)
def test_the_commands_do_what_the_readme_shows(environment: dict[str, str], tmp_path: Path) -> None:
    emit, fakes = blocks("python")
    emitted = False
    ran = []
    for command, shown in commands():
        if command.startswith(ELSEWHERE) or command == "make demo":
            continue
        if not emitted and "dynatomic produce" in command:
            run(f"{sys.executable} - <<'END'\n{with_topic(emit)}\nEND", environment, tmp_path)
            emitted = True
        printed = run(command, environment, tmp_path)
        if shown:
            assert shows(printed, shown), "\n".join([command, *printed])
        ran.append(command)
    assert emitted
    assert len(ran) >= 8, ran
    subprocess.run([sys.executable, "-c", fakes], cwd=tmp_path, check=True, timeout=60)


def with_topic(code: str) -> str:
    topic = 'topic=__import__("os").environ["DYNATOMIC_TOPIC"]'
    found = code.replace('Emitter("localhost:9092")', f'Emitter("localhost:9092", {topic})')
    assert found != code
    return found


def test_make_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    assert "@$(BIN)/dynatomic demo" in (ROOT / "Makefile").read_text()
    (shown,) = [output for command, output in commands() if command == "make demo"]
    done = subprocess.run(
        [sys.executable, "-m", "dynatomic", "demo"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "consumer"), "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = ["making .venv", "installing dynatomic", *done.stdout.splitlines()]
    assert [shape(line) for line in printed] == [shape(line) for line in shown]
    figures = dict(re.findall(r"  (\w[a-z ]+?) +([\d,.]+)", done.stdout))
    assert done.stdout.endswith("\nOK  1,000 counters, sum 100,000 = 100,000\n")
    assert figures["kept out"]
    assert float(figures["events per write"]) > 2
    assert float(figures["time"]) < 60
    assert list(tmp_path.iterdir()) == [], "it left something behind"


def test_every_reason_of_a_dead_letter_is_listed() -> None:
    listed = set(re.findall(r"`([a-z-]+)`", README.split("Reasons:")[1].split(".")[0]))
    assert listed == {reason.value for reason in Reason}


def test_ci_runs_the_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    for command in ("make demo", "make test"):
        assert command in script
        assert any(command == each for each, _ in commands())
