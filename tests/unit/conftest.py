"""The unit tests start no server: `make check` runs them on any machine, within a minute.

A test that needs one belongs in tests/contract or tests/e2e.
"""

from typing import Final

import pytest

from dynatomic.testing.embedded import Embedded
from dynatomic.testing.mock_broker import MockBroker
from tests.support.process import Process

SERVERS: Final = {"embedded", "kafka_real", "kafka_private", "dynamodb_real"}
STARTS: Final = ((Embedded, "__init__"), (MockBroker, "__init__"), (Process, "launch"))


@pytest.fixture(autouse=True)
def no_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that asks for a server or starts one."""
    if asked := SERVERS.intersection(request.fixturenames):
        pytest.fail(f"a unit test starts no server, but this one asks for {', '.join(asked)}")

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a unit test starts no server")

    for owner, name in STARTS:
        monkeypatch.setattr(owner, name, refuse)
