"""What an operator calls, as functions: settings, rows of ``lag`` and events to look at."""

import json
import re
import shlex
from typing import Any

import pytest

from dynatomic.config.settings import Settings
from dynatomic.operations.lag import lag
from dynatomic.operations.offset_plan import Target
from dynatomic.operations.reset_offsets import ResetOptions
from tests.support.events import Event
from tests.support.stack import Stack

Out = pytest.CaptureFixture[str]

ONCE = ("--processing-guarantee", "exactly-once")


EXECUTE = ResetOptions(execute=True)


EARLIEST = ResetOptions(Target(earliest=True), execute=True)


def settings_of(stack: Stack, topic: str, **more: Any) -> Settings:
    return Settings(
        bootstrap_servers=stack.bootstrap_servers, topic=topic, **({"group_id": topic} | more)
    )


def rows_of(stack: Stack, topic: str, capsys: Out, **more: Any) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert lag(settings_of(stack, topic, **more), "json") == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


def produce_events(stack: Stack, topic: str, table: str, count: int, partition: int = 0) -> Any:
    return stack.produce(topic, [Event(table, f"k{n % 4}") for n in range(count)], partition)


def fix_of(said: str, before: str = "then ") -> list[str]:
    """Return the arguments of the command that a message shows after some words."""
    (fix,) = set(re.findall(rf"{before}`dynatomic ([^`]*)`", said))
    return shlex.split(fix)
