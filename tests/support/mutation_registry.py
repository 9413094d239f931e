"""The lists of changes to the product that must turn the suite red, and how they are registered.

`MUTATIONS` are found by the model (`model.schedule`), `NAMED` by the test of a promise that they
break, and `HARMLESS` break nothing: they are listed so that they are not confused with gaps in the
tests.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

# What these modules import is replaced in them.
counters: Any = import_module("dynatomic.dynamodb.counters")
write: Any = import_module("dynatomic.dynamodb.write")
writer: Any = import_module("dynatomic.dynamodb.writer")

Mutation = Callable[[pytest.MonkeyPatch], None]


AT_LEAST_ONCE, EXACTLY_ONCE = "at-least-once", "exactly-once"


MUTATIONS: list[tuple[str, Mutation]] = []
"""Found by the model, run with this guarantee."""


NAMED: list[tuple[str, Mutation]] = []
"""Found by a test of this name, in `tests/unit/worker`."""


HARMLESS: list[tuple[str, Mutation]] = []
"""Found by nothing, with this guarantee: every counter stays right."""


def found_by_model(*guarantees: str) -> Callable[[Mutation], Mutation]:
    """Add a mutation that the model must find with each of these guarantees."""

    def add(mutation: Mutation) -> Mutation:
        MUTATIONS.extend((guarantee, mutation) for guarantee in guarantees)
        return mutation

    return add


def found_by(*tests: str) -> Callable[[Mutation], Mutation]:
    """Add a mutation that each of these tests must find."""

    def add(mutation: Mutation) -> Mutation:
        NAMED.extend((test, mutation) for test in tests)
        return mutation

    return add


def harmless(mutation: Mutation) -> Mutation:
    """Add a mutation that makes no counter wrong."""
    HARMLESS.append((EXACTLY_ONCE, mutation))
    return mutation
