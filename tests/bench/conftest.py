"""What the tests of the benchmark share."""

from collections.abc import Iterator

import pytest

from bench.sink import Sink


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Return a null sink in a separate process."""
    with Sink() as started:
        yield started
