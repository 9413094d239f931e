"""Fixtures that several modules of the dead letters share."""

import pytest

from tests.support.dead_letter_lab import Lab


@pytest.fixture
def lab() -> Lab:
    return Lab()
