"""A served endpoint without a consumer."""

from collections.abc import Iterator

import pytest

from dynatomic.config.settings import Settings
from dynatomic.service.server import serving
from tests.support.served import LOCAL, Served, port_of


@pytest.fixture
def served(caplog: pytest.LogCaptureFixture) -> Iterator[Served]:
    caplog.set_level("INFO", "dynatomic")
    with serving(Settings(tables=("hits",), http=LOCAL)) as pages:
        yield Served(pages, port_of(caplog.records))
