"""Schemas of a registry, each requested once. No wait is long."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dynatomic.counting.formats.avro_schema import AvroSchema, SchemaRefusedError, read_schema
from dynatomic.counting.formats.schemas import SchemaKey, SchemaUnavailableError, schema_unknown
from dynatomic.counting.reasons import EventRejected, RejectReason
from dynatomic.registry.answers import Registry, RegistryError, SchemaMissingError

MAX_SCHEMAS: Final = 10_000
MISSING_S: Final = 30.0
"""A missing schema is requested again after this time."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_MAX_THREADS: Final = 4


@dataclass(slots=True)
class _SchemaRequest:
    """One schema that the registry is asked for, again and again until it answers."""

    pause_s: float = _FIRST_PAUSE_S
    next_at: float = 0.0
    problem: str = "the request has not been answered yet"
    answered: threading.Event = field(default_factory=threading.Event)
    is_open: bool = False


class CachedSchemas:
    """The schemas of a registry.

    A request runs in a thread of its own. `schema` waits for the answer for ``wait_s`` at most,
    and not at all while the registry does not answer. Schemas never change, so an answer is kept.
    """

    def __init__(
        self, registry: Registry, wait_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = registry
        self._wait_s = wait_s
        self._clock = clock
        self._schemas: dict[SchemaKey, AvroSchema] = {}
        self._rejected: dict[SchemaKey, tuple[EventRejected, float]] = {}
        self._requests: dict[SchemaKey, _SchemaRequest] = {}
        self._lock = threading.Lock()
        self._is_answering = True

    def schema(self, key: SchemaKey) -> AvroSchema:
        """Return a schema.

        Raises EventRejected, and SchemaUnavailableError while it is not known.
        """
        known = self._schemas.get(key)
        return self._answer(key) if known is None else known

    def _answer(self, key: SchemaKey) -> AvroSchema:
        request = self._request(key)
        if request is not None and self._is_answering:
            request.answered.wait(self._wait_s)
        with self._lock:
            if key in self._schemas:
                return self._schemas[key]
            if key in self._rejected:
                error = self._rejected[key][0]
                raise EventRejected(error.reason, error.detail)
            problem = request.problem if request is not None else "too many requests are waiting"
            if request is not None and request.is_open:
                self._is_answering = False
        raise SchemaUnavailableError(f"{self._registry.name}: {key} is not known: {problem}")

    def _request(self, key: SchemaKey) -> _SchemaRequest | None:
        """Start a request unless one is open, it is too early, or too many are waiting."""
        now = self._clock()
        with self._lock:
            rejected = self._rejected.get(key)
            if rejected is not None and now < rejected[1]:
                return None
            request = self._requests.get(key)
            if request is None:
                if len(self._requests) >= MAX_SCHEMAS:
                    self._requests = {k: r for k, r in self._requests.items() if r.is_open}
                request = self._requests[key] = _SchemaRequest()
            open_requests = sum(r.is_open for r in self._requests.values())
            if request.is_open or now < request.next_at or open_requests >= _MAX_THREADS:
                return request
            self._rejected.pop(key, None)
            request.is_open = True
            request.answered.clear()
        threading.Thread(
            target=self._run, args=(key, request), name="schema-registry", daemon=True
        ).start()
        return request

    def _run(self, key: SchemaKey, request: _SchemaRequest) -> None:
        schema: AvroSchema | None = None
        rejected: tuple[EventRejected, float] | None = None
        problem = ""
        try:
            schema = read_schema(self._registry.fetch(key))
        except SchemaMissingError:
            rejected = schema_unknown(key), self._clock() + MISSING_S
        except SchemaRefusedError as error:
            detail = f"{key} cannot be used: {error}"
            rejected = EventRejected(RejectReason.UNDECODABLE, detail), float("inf")
        except RegistryError as error:
            problem = str(error)
        with self._lock:
            self._make_room()
            if schema is not None:
                self._schemas[key] = schema
            if rejected is not None:
                self._rejected[key] = rejected
            if problem:
                request.problem = problem
                request.next_at = self._clock() + request.pause_s
                request.pause_s = min(2 * request.pause_s, _LONGEST_PAUSE_S)
            else:
                self._requests.pop(key, None)
            self._is_answering = not problem
            request.is_open = False
            request.answered.set()

    def _make_room(self) -> None:
        if len(self._schemas) >= MAX_SCHEMAS:
            self._schemas.clear()
        if len(self._rejected) >= MAX_SCHEMAS:
            self._rejected.clear()
