"""A unit test that starts a server fails."""

from collections.abc import Iterator

import pytest

from dynatomic.testing.embedded import Embedded
from dynatomic.testing.mock_broker import MockBroker
from tests.support.process import Process


@pytest.fixture
def process() -> Iterator[Process]:
    made = Process("never")
    yield made
    made.delete()


def test_a_server_that_is_started_fails_the_test(process: Process) -> None:
    for start in (Embedded, MockBroker, lambda: process.launch(["true"], lambda: True)):
        with pytest.raises(pytest.fail.Exception, match="a unit test starts no server"):
            start()
