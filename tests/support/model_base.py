"""The group that the steps of the model act on."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

from dynatomic.dynamodb import parts as statement_parts
from dynatomic.dynamodb import table_queue, write
from tests.support import model_events
from tests.support.clients import LETTERS, TOPIC, Clock
from tests.support.model_members import SteppedMember
from tests.support.model_world import ModelWorld

if TYPE_CHECKING:
    from tests.support.model_checks import Place


class ModelBase:
    """A group on the fakes, and what its steps need."""

    def __init__(
        self,
        guarantee: str = "exactly-once",
        partitions: int = 2,
        *,
        threads: bool = False,
        inserts: bool = False,
        parts: bool = False,
        declared: bool = False,
    ) -> None:
        self.once = guarantee == "exactly-once"
        self.guarantee = guarantee
        self.clock = Clock()
        definition = model_events.DEFINITION if declared else None
        self.world = ModelWorld(
            clock=self.clock, once=self.once, threads=threads, definition=definition
        )
        self.broker = self.world.broker
        self.broker.create_topic(TOPIC, partitions)
        self.broker.create_topic(LETTERS)
        # As if most items of a table were missing recently. The model has too few items to learn
        # it.
        self._patches = ExitStack()
        if inserts:
            self._patches.enter_context(patch.object(table_queue, "INSERT_FIRST_ABOVE", -1.0))
        # As where an item has more counters than fit into one statement.
        if parts:
            self._patches.enter_context(patch.object(write, "SMALL", 1))
            self._patches.enter_context(
                patch.object(statement_parts, "MAX_COUNTERS_PER_STATEMENT", 2)
            )
        self.done: list[str] = []
        self.wiped: set[Place] = set()
        self.aborted: dict[int, int] = {}
        """The offset of the event of each open transaction that will be aborted, by partition."""
        self.is_strict = False

    @property
    def partitions(self) -> int:
        return len(self.broker.logs[TOPIC])

    @property
    def living(self) -> list[SteppedMember]:
        return [cast("SteppedMember", m) for m in self.world.members if m.alive]

    def step(self, name: str, *numbers: int) -> None:
        """Take a step, and check what must hold after it."""
        self.done.append(f"{name}{numbers}")
        getattr(self, name)(*numbers)
        self.world.check()

    def _of(self, things: Sequence[Any], number: int) -> Any:
        return things[number % len(things)] if things else None
