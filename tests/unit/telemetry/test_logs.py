"""Log lines: JSON or text, and never an exception."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError
from dynatomic.telemetry import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    root, package = logging.getLogger(), logging.getLogger("dynatomic")
    levels = root.level, package.level
    yield logging.getLogger("dynatomic.test")
    for handler in [each for each in root.handlers if isinstance(each, logs._Handler)]:
        root.removeHandler(handler)
    root.setLevel(levels[0])
    package.setLevel(levels[1])
    logging.captureWarnings(capture=False)


def test_a_log_line_is_json_off_a_terminal(logger: logging.Logger) -> None:
    out = io.StringIO()
    logs.setup(stream=out)
    logger.info("window\nwritten %d", 1, extra={"fields": {"partition": 3, "event": "x"}})
    line = json.loads(out.getvalue())
    assert line["event"] == "window\nwritten 1"
    assert line["level"] == "info"
    assert line["partition"] == 3
    assert line["event_"] == "x"
    assert line["time"].endswith("+00:00")


def test_an_exception_is_one_field(logger: logging.Logger) -> None:
    out = io.StringIO()
    logs.setup(stream=out)
    try:
        Settings(window_ms=1)
    except ConfigError:
        logger.exception("stopped")
    assert out.getvalue().count("\n") == 1
    assert json.loads(out.getvalue())["error"].startswith("Traceback")


def test_a_log_line_is_text_on_a_terminal(logger: logging.Logger) -> None:
    out = Terminal()
    logs.setup(stream=out)
    logger.warning("slow", extra={"fields": {"cause": "a b", "ms": 5}})
    assert out.getvalue().endswith('warning slow cause="a b" ms=5\n')


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "value", [Unprintable(), float("nan"), {(1, 2): 3}, b"\xff", "\ud800", object()]
)
@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_log_line_never_raises(
    logger: logging.Logger, stream: type[io.StringIO], value: object
) -> None:
    out = stream()
    logs.setup(stream=out)
    logger.info("odd", extra={"fields": {"value": value}})
    assert out.getvalue().count("\n") == 1
    if stream is io.StringIO:
        assert json.loads(out.getvalue())["event"] == "odd"


def test_a_log_line_survives_wrong_arguments_and_a_closed_stream(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest's own handlers raise what is provoked here.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    out = io.StringIO()
    logs.setup(stream=out)
    logger.info("%d events", "many")
    assert json.loads(out.getvalue())["event"] == "%d events"
    out.close()
    logger.info("below the level")


def test_debug_and_other_libraries_are_quiet_and_setup_is_not_doubled(
    logger: logging.Logger,
) -> None:
    out = io.StringIO()
    logs.setup(stream=io.StringIO())
    logs.setup(stream=out)
    logger.debug("no")
    logging.getLogger("botocore.x").info("no")
    logging.getLogger("botocore.x").warning("yes")
    logger.info("yes")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["yes", "yes"]


def test_every_is_true_once_in_its_time() -> None:
    now = [100.0]
    due = logs.RateLimiter(10, clock=lambda: now[0])
    assert [due(), due()] == [True, False]
    now[0] = 109.9
    assert not due()
    now[0] = 110.0
    assert [due(), due()] == [True, False]


def test_a_line_with_an_event_of_its_own_has_it_instead_of_its_text() -> None:
    out = io.StringIO()
    logs.setup(stream=out)
    extra = {"event": "fixed", "fields": {"text": "varies"}}
    logging.getLogger("dynatomic").warning("varies", extra=extra)
    line = json.loads(out.getvalue())
    assert (line["event"], line["text"]) == ("fixed", "varies")
