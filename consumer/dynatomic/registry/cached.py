"""Schemas of a registry, each requested once. No wait is long."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dynatomic.counting.formats.avro_schema import AvroSchema, SchemaRefusedError, read_schema
from dynatomic.counting.formats.schemas import SchemaKey, SchemaUnavailableError, schema_unknown
from dynatomic.counting.reasons import Rejected, RejectReason
from dynatomic.registry.answers import Registry, RegistryError, SchemaMissingError

MAX_SCHEMAS: Final = 10_000
MISSING_S: Final = 30.0
"""A missing schema is requested again after this time."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_MAX_THREADS: Final = 4


@dataclass(slots=True)
class _Question:
    """One schema that the registry is asked for, again and again until it answers."""

    pause_s: float = _FIRST_PAUSE_S
    next_at: float = 0.0
    problem: str = "the request has not been answered yet"
    answered: threading.Event = field(default_factory=threading.Event)
    is_open: bool = False


class CachedSchemas:
    """The schemas of a registry.

    A question runs in a thread of its own. `schema` waits for the answer for ``wait_s`` at most,
    and not at all while the registry does not answer. Schemas never change, so an answer is kept.
    """

    def __init__(
        self, registry: Registry, wait_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = registry
        self._wait_s = wait_s
        self._clock = clock
        self._schemas: dict[SchemaKey, AvroSchema] = {}
        self._rejected: dict[SchemaKey, tuple[Rejected, float]] = {}
        self._questions: dict[SchemaKey, _Question] = {}
        self._lock = threading.Lock()
        self._is_answering = True

    def schema(self, key: SchemaKey) -> AvroSchema:
        """Return a schema; raises Rejected, and SchemaUnavailableError while it is not known."""
        known = self._schemas.get(key)
        return self._answer(key) if known is None else known

    def _answer(self, key: SchemaKey) -> AvroSchema:
        question = self._ask(key)
        if question is not None and self._is_answering:
            question.answered.wait(self._wait_s)
        with self._lock:
            if key in self._schemas:
                return self._schemas[key]
            if key in self._rejected:
                error = self._rejected[key][0]
                raise Rejected(error.reason, error.detail)
            problem = question.problem if question is not None else "too many requests are waiting"
            if question is not None and question.is_open:
                self._is_answering = False
        raise SchemaUnavailableError(f"{self._registry.name}: {key} is not known: {problem}")

    def _ask(self, key: SchemaKey) -> _Question | None:
        """Start a question unless one is open, it is too early, or too many are waiting."""
        now = self._clock()
        with self._lock:
            rejected = self._rejected.get(key)
            if rejected is not None and now < rejected[1]:
                return None
            question = self._questions.get(key)
            if question is None:
                if len(self._questions) >= MAX_SCHEMAS:
                    self._questions = {k: q for k, q in self._questions.items() if q.is_open}
                question = self._questions[key] = _Question()
            open_questions = sum(q.is_open for q in self._questions.values())
            if question.is_open or now < question.next_at or open_questions >= _MAX_THREADS:
                return question
            self._rejected.pop(key, None)
            question.is_open = True
            question.answered.clear()
        threading.Thread(
            target=self._run, args=(key, question), name="schema-registry", daemon=True
        ).start()
        return question

    def _run(self, key: SchemaKey, question: _Question) -> None:
        schema: AvroSchema | None = None
        rejected: tuple[Rejected, float] | None = None
        problem = ""
        try:
            schema = read_schema(self._registry.fetch(key))
        except SchemaMissingError:
            rejected = schema_unknown(key), self._clock() + MISSING_S
        except SchemaRefusedError as error:
            detail = f"{key} cannot be used: {error}"
            rejected = Rejected(RejectReason.UNDECODABLE, detail), float("inf")
        except RegistryError as error:
            problem = str(error)
        with self._lock:
            self._make_room()
            if schema is not None:
                self._schemas[key] = schema
            if rejected is not None:
                self._rejected[key] = rejected
            if problem:
                question.problem = problem
                question.next_at = self._clock() + question.pause_s
                question.pause_s = min(2 * question.pause_s, _LONGEST_PAUSE_S)
            else:
                self._questions.pop(key, None)
            self._is_answering = not problem
            question.is_open = False
            question.answered.set()

    def _make_room(self) -> None:
        if len(self._schemas) >= MAX_SCHEMAS:
            self._schemas.clear()
        if len(self._rejected) >= MAX_SCHEMAS:
            self._rejected.clear()
