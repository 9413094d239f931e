"""The commands of the README and of the how-to pages print what the pages show."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import dynatomic.cli.main  # noqa: F401 -- its commands are the app's
from dynatomic.cli import man
from dynatomic.cli.app import app
from dynatomic.config.catalogue import SETTINGS
from dynatomic.counting.reasons import RejectReason
from dynatomic.events.row import Reason
from tests.support.brokers import HasBootstrapServers
from tests.support.names import unique
from tests.support.tables import HasEndpointUrl, make_client

ROOT = Path(__file__).parents[2]

HOW_TO = ROOT / "docs" / "how-to"
NAMES = ("emit", "count-at-once", "verify", "dead-letters")
PAGES = [ROOT / "README.md", *(HOW_TO / f"{name}.md" for name in NAMES)]

# Not run here: the demo and the servers have tests of their own, test_compose starts containers.
ELSEWHERE = ("make demo", "docker compose", "dynatomic dev")


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the language and the text of each block that can be run."""
    return re.findall(r"```(console|python)\n(.*?)```", page.read_text(), flags=re.DOTALL)


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield what a page has the reader run, Python as a command too, and the output shown."""
    for language, block in blocks(page):
        if language == "python":
            yield f"{sys.executable} - <<'END'\n{with_topic(block)}\nEND", []
        elif "$ make demo" in block:  # what the demo runs is part of what it prints
            command, *output = block[2:].strip("\n").split("\n")
            yield command, output
        else:
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
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_do_what_the_page_shows(
    page: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    ran = 0
    for command, shown in commands(page):
        if command.startswith(ELSEWHERE):
            continue
        printed = run(command, environment, tmp_path)
        if shown:
            assert shows(printed, shown), "\n".join([command, *printed])
        ran += 1
    assert ran >= 5


def with_topic(code: str) -> str:
    topic = 'topic=__import__("os").environ["DYNATOMIC_TOPIC"]'
    found = code.replace('Emitter("localhost:9092"', f'Emitter("localhost:9092", {topic}')
    assert found != code or "Emitter" not in code
    return found


def test_the_fakes_work_as_shown(tmp_path: Path) -> None:
    (_, with_fixture), (_, code) = blocks(HOW_TO / "test-your-code.md")
    # The fixture is imported, because a source tree may have no entry point for it.
    plugin = "from dynatomic.operations.pytest_plugin import dynatomic_counters  # noqa: F401\n"
    (tmp_path / "test_shown.py").write_text(plugin + with_fixture)
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for arguments in (["-m", "pytest", "-q", "test_shown.py"], ["-c", code]):
        command = [sys.executable, *arguments]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=60)


def path_line() -> str:
    """Return what `make demo` prints last: how the command gets on the PATH."""
    (line,) = re.findall(r"@echo '(next, .*)'", (ROOT / "Makefile").read_text())
    return str(line).replace("$(BIN)", ".venv/bin").replace("$$", "$")


def test_make_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    assert "@$(BIN)/dynatomic demo" in (ROOT / "Makefile").read_text()
    (shown,) = [output for command, output in commands(PAGES[0]) if command == "make demo"]
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
    printed = ["making .venv", "installing dynatomic", *done.stdout.splitlines(), path_line()]
    assert [shape(line) for line in printed] == [shape(line) for line in shown]
    figures = dict(re.findall(r"  (\w[a-z ]+?) +([\d,.]+)", done.stdout))
    assert done.stdout.endswith("\nOK  1,000 counters, sum 100,000 = 100,000\n")
    assert figures["kept out"]
    assert float(figures["events per write"]) > 2
    assert float(figures["time"]) < 60
    assert list(tmp_path.iterdir()) == [], "it left something behind"


def test_every_reason_of_a_dead_letter_is_listed() -> None:
    page = (ROOT / "docs" / "reference" / "dead-letter-reasons.md").read_text()
    listed = re.findall(r"^\| `([a-z-]+)` \|", page, flags=re.MULTILINE)
    assert sorted(listed) == sorted({reason.value for reason in (*Reason, *RejectReason)})


def test_every_setting_has_its_range() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text().split("## Ranges")[1]
    rows = re.findall(r"^\| (`.*?`) \| (.*?) \|", page, flags=re.MULTILINE)
    listed = {name: text for names, text in rows for name in re.findall(r"`(\w+)`", names)}
    assert listed.keys() == {setting.name for setting in SETTINGS}
    for setting in SETTINGS:
        if ends := re.fullmatch(r"([\d,]+) to ([\d,]+)", listed[setting.name]):
            low, high = (int(end.replace(",", "")) for end in ends.groups())
            kind = type(setting.default)
            assert [bool(setting.check(kind(n))) for n in (low - 1, low, high, high + 1)] == [
                *(True, False),
                *(False, True),
            ]


def test_every_command_is_listed() -> None:
    page = (ROOT / "docs" / "reference" / "commands.md").read_text()
    listed = re.findall(r"^\| `(dynatomic [a-z -]+)` \|", page, flags=re.MULTILINE)
    assert sorted(listed) == sorted(path for path, _ in man.commands(app, "dynatomic"))
    codes = re.findall(r"^\| ([\d, ]+) \|", page, flags=re.MULTILINE)
    assert {int(n) for n in re.findall(r"\d+", " ".join(codes))} == man.EXIT_CODES.keys()


def test_ci_runs_the_commands_of_the_pages() -> None:
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert "make demo" in script
    assert "make test" in script
    assert any(command == "make demo" for command, _ in commands(PAGES[0]))
    assert "make test" in (ROOT / "CONTRIBUTING.md").read_text()
