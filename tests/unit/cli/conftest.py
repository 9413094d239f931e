"""What the tests of commands share."""

import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from dynatomic.cli.app import app
from dynatomic.telemetry import logs


@pytest.fixture(autouse=True)
def wide_console() -> Iterator[None]:
    """Give each test a console of 200 columns.

    cyclopts keeps a console for each command, with the width of its first use in this process.
    """
    app.console = Console(width=200)
    yield
    app.console = None


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the settings of the caller's environment away, and leave pytest's loggers alone."""
    for name in [name for name in os.environ if name.startswith("DYNATOMIC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(logs, "setup", lambda *_, **__: None)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Give a function that puts a module in the place of the real one.

    Its functions note how they are called, in the list that is returned.
    """

    def make(module: str, result: object = 0, **names: object) -> list[Any]:
        calls: list[Any] = []
        fake: Any = ModuleType(module)

        def note(name: str) -> Callable[..., Any]:
            def called(*args: Any, **kwargs: Any) -> Any:
                calls.append((name, args, kwargs))
                if isinstance(result, BaseException):
                    raise result
                return result

            return called

        for name, value in names.items():
            setattr(fake, name, note(name) if value is None else value)
        monkeypatch.setitem(sys.modules, module, fake)
        return calls

    return make
