"""What the tests of commands share."""

from collections.abc import Iterator

import pytest
from rich.console import Console

from dynatomic.cli.app import app


@pytest.fixture(autouse=True)
def wide_console(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test a console of 200 columns.

    cyclopts keeps a console for each command, with the width of its first use in this process.
    """
    monkeypatch.setenv("COLUMNS", "200")
    app.console = Console()
    yield
    app.console = None
