"""Log events: each is listed with its level, and what was counted is logged once a minute."""

import ast
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynatomic.kafka.log_filter import CLIENT_MESSAGE
from dynatomic.telemetry.log_events import LOG_EVENTS
from tests.support.harness import world

ROOT = Path(__file__).parents[3]


def logged_events() -> Iterator[tuple[str, str]]:
    """Yield the level and the message of every log call of the package."""
    yield "", CLIENT_MESSAGE
    for path in (ROOT / "consumer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called, owner = node.func.attr, ast.unparse(node.func.value)
            if (
                owner == "self"
                and called == "_log_rebalance"
                and isinstance(node.args[0], ast.Constant)
            ):
                yield "", str(node.args[0].value)
            if owner not in {"log", "_logger", "logger"} or called not in LEVELS:
                continue
            if called == "log" and ast.unparse(node.args[1]) == "event":
                continue  # the changes of the assignment, see above
            message = node.args[called == "log"]
            assert isinstance(message, ast.Constant), f"{path.name}: {ast.unparse(node)} varies"
            yield LEVELS[called], str(message.value)


LEVELS = {"exception": "error", "log": ""} | {
    name: name for name in ("debug", "info", "warning", "error")
}


def test_every_log_line_is_listed_with_its_level_and_every_listed_one_is_logged() -> None:
    found = set(logged_events())
    levels = {event.event: event.level for event in LOG_EVENTS}
    assert {message for _, message in found} == set(levels)
    assert len(levels) == len(LOG_EVENTS)
    assert [(e, level) for level, e in found if level and levels[e] != level] == []


def test_what_was_counted_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    with world() as w, caplog.at_level(logging.INFO, "dynatomic"):
        member = w.worker()
        assert member.status is not None
        for _ in range(100):
            w.emit("a", "a")
            w.window()
            member.status.after_tick()
        said: list[Any] = [r for r in caplog.records if r.getMessage() == "counted"]
        assert 1 <= len(said) <= 3
        assert said[-1].fields["events"] == pytest.approx(120, abs=10)


def test_a_wall_clock_that_is_set_back_stops_no_sample_and_no_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with world() as w, caplog.at_level(logging.INFO, "dynatomic"):
        member = w.worker()
        status = member.status
        assert status is not None
        for hour in (3600, 0):
            status.unix_clock = lambda h=hour: w.clock() + h  # type: ignore[misc]
            for _ in range(100):
                w.emit("a")
                w.window()
                status.after_tick()
        assert len(status.report()["history"]) >= 100
        said: list[Any] = [r for r in caplog.records if r.getMessage() == "counted"]
        assert 3 <= len(said) <= 5
        assert all(0 <= each.fields["seconds"] <= 70 for each in said)
