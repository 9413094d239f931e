"""A fixture for pytest: row events are emitted, counted and read in memory.

::

    def test_usage(dynatomic_counters):
        dynatomic_counters.emit(Row("usage", "customer-7", incr=512))
        assert dynatomic_counters.value("usage", "customer-7") == 512

pytest loads this module where the package is installed, so only the fixture imports the fakes.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynatomic.operations.memory_counters import MemoryCounters


@pytest.fixture
def dynatomic_counters() -> "Iterator[MemoryCounters]":
    """Give an empty topic and an empty DynamoDB, both in memory."""
    from dynatomic.operations.memory_counters import MemoryCounters  # noqa: PLC0415 -- see above

    with MemoryCounters() as counters:
        yield counters
