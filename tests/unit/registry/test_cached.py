"""Schemas are asked for once, and a registry that does not answer delays only its own events."""

import threading
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from dynatomic.counting.formats.avro_schema import SchemaRefusedError
from dynatomic.counting.formats.schemas import SchemaKey, SchemaUnavailableError
from dynatomic.counting.reasons import EventRejected
from dynatomic.registry.answers import RegistryError, SchemaMissingError
from dynatomic.registry.cached import MISSING_S, CachedSchemas

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = SchemaKey("id", "7")
LONG_S = 30.0


class Scripted:
    """A registry whose next answer is set by the test."""

    name = "schema registry https://r"

    def __init__(self) -> None:
        self.asked: list[SchemaKey] = []
        self.answer: Callable[[], list[str]] = lambda: ['"int"']

    def fetch(self, key: SchemaKey) -> list[str]:
        self.asked.append(key)
        return self.answer()

    def latest(self, subject: str) -> list[str]:
        raise NotImplementedError(subject)

    def fail(self, error: Exception) -> None:
        def answer() -> list[str]:
            raise error

        self.answer = answer


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_schema_is_asked_for_once() -> None:
    registry = Scripted()
    schemas = CachedSchemas(registry, LONG_S)
    assert schemas.schema(KEY) is schemas.schema(KEY)
    assert registry.asked == [KEY]


def test_a_missing_schema_is_asked_for_again_after_a_while() -> None:
    registry, clock = Scripted(), Clock()
    schemas = CachedSchemas(registry, LONG_S, clock)
    registry.fail(SchemaMissingError())
    for _ in range(3):
        with pytest.raises(EventRejected, match="schema-unknown: there is no schema id 7"):
            schemas.schema(KEY)
    assert len(registry.asked) == 1
    registry.answer = lambda: ['"int"']
    clock.now = MISSING_S
    assert schemas.schema(KEY).parsed == "int"


@pytest.mark.parametrize("answer", [['{"type":"array","items":"null"}'], ["no schema"]])
def test_a_schema_that_could_be_abused_is_refused_for_good(answer: list[str]) -> None:
    registry, clock = Scripted(), Clock()
    registry.answer = lambda: answer
    schemas = CachedSchemas(registry, LONG_S, clock)
    for _ in range(2):
        with pytest.raises(EventRejected, match="undecodable: schema id 7 cannot be used: it"):
            schemas.schema(KEY)
        clock.now += 10 * MISSING_S
    registry.fail(SchemaRefusedError("never asked"))
    assert len(registry.asked) == 1


def test_a_registry_that_fails_is_asked_again_with_growing_pauses() -> None:
    registry, clock = Scripted(), Clock()
    registry.fail(RegistryError("HTTP 503"))
    schemas = CachedSchemas(registry, LONG_S, clock)
    times = []
    for tenth in range(600):
        clock.now = tenth / 10
        asked = len(registry.asked)
        with pytest.raises(
            SchemaUnavailableError,
            match="schema registry https://r: schema id 7 is not known: ",
        ):
            schemas.schema(KEY)
        wait_until_idle(schemas)
        if len(registry.asked) > asked:
            times.append(clock.now)
    assert times[:5] == [0.0, 0.5, 1.5, 3.5, 7.5]
    assert all(later - earlier <= 10 for earlier, later in pairwise(times))
    registry.answer = lambda: ['"int"']
    clock.now = 100.0
    with suppress(SchemaUnavailableError):  # a registry that did not answer is not asked again
        schemas.schema(KEY)
    wait_until_idle(schemas)
    assert schemas.schema(KEY).parsed == "int"


def test_a_registry_that_hangs_holds_up_the_caller_once_and_has_few_threads() -> None:
    registry, hang = Scripted(), threading.Event()

    def answer() -> list[str]:
        hang.wait(10 * LONG_S)
        return ['"int"']

    registry.answer = answer
    schemas = CachedSchemas(registry, 0.05)
    for index in range(50):
        with pytest.raises(SchemaUnavailableError):
            schemas.schema(SchemaKey("id", str(index)))
        schemas._wait_s = 300.0  # a second wait would end the test by its time limit
    assert len(registry.asked) == 4
    hang.set()
    wait_until_idle(schemas)
    assert schemas.schema(SchemaKey("id", "0")).parsed == "int"


def wait_until_idle(schemas: CachedSchemas) -> None:
    for request in list(schemas._requests.values()):
        if request.is_open:
            assert request.answered.wait(LONG_S)
