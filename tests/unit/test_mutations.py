"""The tests of the rooms can fail: each of these changes to the product turns one of them red.

What is changed stands in `tests.support.mutations_rooms`. Each test runs as usual, with its
fixtures, in a session of pytest within this one; the change holds from its set-up to its end.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.mutation_registry import Mutation
from tests.support.mutations_rooms import ROOMS

pytestmark = pytest.mark.no_cover  # as all tests of many examples: see conftest

UNIT: Final = Path(__file__).parent
OPTIONS: Final = (
    "-q",
    "-x",
    "--no-header",
    "--show-capture=no",
    "--tb=short",
    "-p",
    "no:cacheprovider",
)


class Mutated:
    """A plugin that applies a change to the product while a test runs, and keeps the reports."""

    def __init__(self, mutation: Mutation) -> None:
        self.reports: list[pytest.TestReport] = []
        self._mutation = mutation

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            self._mutation(patch)
            yield

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports.append(report)


def of(entry: Any) -> str:
    return entry.__name__ if callable(entry) else str(entry)


@pytest.mark.parametrize(("test", "mutation"), ROOMS, ids=of)
def test_the_room_finds(test: str, mutation: Mutation) -> None:
    mutated = Mutated(mutation)
    code = pytest.main([*OPTIONS, f"{UNIT}/{test}"], plugins=[mutated])
    failed = [report for report in mutated.reports if report.failed]
    assert code == pytest.ExitCode.TESTS_FAILED, "no test failed"
    assert [report.when for report in failed] == ["call"], [r.longreprtext for r in failed]
    print(f"\n{mutation.__name__}: {failed[0].longreprtext.splitlines()[-1]}")  # noqa: T201 - pytest -s
