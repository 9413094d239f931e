"""The commands lag, top, offsets and dlq: what each one calls, and how it is misused."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

from dynatomic.cli import main as cli
from dynatomic.config.settings import Settings
from dynatomic.dead_letters.replay import ReplayOptions
from dynatomic.dead_letters.show import ShowOptions
from dynatomic.errors import UnavailableError
from dynatomic.operations.offset_plan import Target
from dynatomic.operations.reset_offsets import ResetOptions
from dynatomic.telemetry import logs
from tests.support.children import REPOSITORY

Called = list[tuple[tuple[Any, ...], dict[str, Any]]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Called]:
    monkeypatch.setattr(logs, "setup", lambda *_, **__: None)

    def watch(module: str, name: str) -> Called:
        """Put a function in the place of one that a command calls; return its calls."""
        calls: Called = []
        real = ModuleType(module)
        real.__dict__.update(sys.modules[module].__dict__)

        def note(*args: Any, **kwargs: Any) -> int:
            calls.append((args, kwargs))
            return 0

        setattr(real, name, note)
        monkeypatch.setitem(sys.modules, module, real)
        return calls

    return watch


def test_lag(called: Callable[[str, str], Called]) -> None:
    import dynatomic.operations.lag  # noqa: F401, PLC0415 -- `called` replaces it

    calls = called("dynatomic.operations.lag", "lag")
    assert cli.main(["lag", "-g", "billing", "-o", "json"]) == 0
    assert calls == [((Settings(group_id="billing"), "json"), {})]


def test_top(called: Callable[[str, str], Called]) -> None:
    import dynatomic.operations.top  # noqa: F401, PLC0415 -- `called` replaces it

    calls = called("dynatomic.operations.top", "top")
    assert cli.main(["top"]) == 0
    assert cli.main(["top", "--interval", "0.5", "--iterations", "3"]) == 0
    assert [options for _, options in calls] == [
        {"interval_s": 1.0, "iterations": None},
        {"interval_s": 0.5, "iterations": 3},
    ]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], ResetOptions()),
        (["--execute"], ResetOptions(execute=True)),
        (["--to-earliest"], ResetOptions(Target(earliest=True))),
        (["--adopt", "a" * 32, "--execute"], ResetOptions(execute=True, adopt="a" * 32)),
        (["--to-latest", "--partition", "3"], ResetOptions(Target(latest=True), (3,))),
        (
            ["--to-offset", "7", "--partition=0", "--partition=1"],
            ResetOptions(Target(offset=7), (0, 1)),
        ),
        (
            ["--to-datetime", "2026-11-26T12:00:00+00:00"],
            ResetOptions(Target(at=datetime(2026, 11, 26, 12, tzinfo=UTC))),
        ),
    ],
)
def test_offsets(
    called: Callable[[str, str], Called], argv: list[str], expected: ResetOptions
) -> None:
    calls = called("dynatomic.operations.reset_offsets", "reset_offsets")
    guarantee = ["--processing-guarantee", "exactly-once", "--table", "usage"]
    assert cli.main(["offsets", *guarantee, *argv, "--endpoint-url", "http://x"]) == 0
    settings = Settings(processing_guarantee="exactly-once", tables=("usage",))
    assert calls == [((settings, expected, "http://x"), {})]


def test_dlq(called: Callable[[str, str], Called]) -> None:
    shows = called("dynatomic.dead_letters.show", "show")
    replays = called("dynatomic.dead_letters.replay", "replay")
    assert cli.main(["dlq", "show", "--reason", "key-empty", "--limit", "0", "-o", "json"]) == 0
    assert shows == [((Settings(), ShowOptions("key-empty", 0, "json")), {})]
    assert cli.main(["dlq", "replay", "--table", "usage", "--endpoint-url", "http://x"]) == 0
    more = ["--reason", "table-not-allowed", "--execute", "--force"]
    assert cli.main(["dlq", "replay", *more]) == 0
    assert replays == [
        ((Settings(tables=("usage",)), "http://x", ReplayOptions()), {}),
        ((Settings(), None, ReplayOptions("table-not-allowed", execute=True, force=True)), {}),
    ]


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["dlq", "replay", "--reason", "typo"], "'typo' is not one of empty-payload, "),
        (["offsets", "--to-earliest", "--to-latest"], "give one target"),
        (["offsets", "--to-earliest", "--adopt", "a" * 32], "give one target"),
        (["offsets", "--to-offset", "-1"], "--to-offset"),
        (["top", "--iterations", "0"], "--iterations"),
        (["lag", "-o", "yaml"], "yaml"),
    ],
)
def test_misuse_is_told(capsys: pytest.CaptureFixture[str], argv: list[str], part: str) -> None:
    assert cli.main(argv) == 2
    assert part in capsys.readouterr().err


def test_brokers_that_are_not_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynatomic.operations.lag.START_S", 0.2)
    assert cli.main(["lag", "-b", "127.0.0.1:1"]) == UnavailableError.exit_code
    assert "no Kafka broker answered" in capsys.readouterr().err


def test_help_does_not_wait_for_the_clients() -> None:
    code = (
        "import json, sys; from dynatomic.cli import main as cli; cli.main(['offsets', '--help']);"
        "slow = {'confluent_kafka', 'boto3', 'fastavro'};"
        "print(json.dumps([*slow & {*sys.modules}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []
