"""Plans and makes the changes of fences that new committed offsets need."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.fence_changes import (
    FenceChanges,
    adopted_fences,
    change_fences,
    lowered_fences,
)
from dynatomic.dynamodb.tables import describe
from dynatomic.operations.positions import GroupPosition

ChangeTable = Callable[[str, FenceChanges], tuple[int, int]]
"""Changes the fences of a table; returns how many items it read, and how many it changed."""


@dataclass(frozen=True, slots=True)
class FencePlan:
    """The change of the fences in all tables of the group, and why."""

    why: str
    changes: FenceChanges


def fence_plans(
    positions: list[GroupPosition], topic_id: str | None, adopted_id: str | None
) -> list[FencePlan]:
    """Return the changes that a group with exactly-once needs before it continues."""
    if topic_id is None:
        return []
    plans = []
    ends = {p.partition: p.kept for p in positions if p.is_truncated}
    if ends:
        where = ", ".join(f"{partition}:{end}" for partition, end in sorted(ends.items()))
        plans.append(
            FencePlan(
                f"fences at or above {where} hide events that are not counted: --execute lowers "
                "them",
                lowered_fences(topic_id, ends),
            )
        )
    if adopted_id is not None:
        plans.append(
            FencePlan(
                f"--execute copies the fences of the topic with the id {adopted_id} for this one, "
                "so that no event counts again",
                adopted_fences(adopted_id, topic_id),
            )
        )
    return plans


def carry_out(
    plans: list[FencePlan], tables: tuple[str, ...], change_table: ChangeTable
) -> Iterator[str]:
    """Change the fences of all tables, and yield a line for each."""
    for plan in plans:
        for table in tables:
            read, changed = change_table(table, plan.changes)
            yield f"table {table}: {read:,} items read, the fences of {changed:,} changed"


def table_changer(endpoint_url: str | None) -> ChangeTable:
    """Return the function that changes the fences of a table at an endpoint."""

    def change(table: str, changes: FenceChanges) -> tuple[int, int]:
        client = make_client(endpoint_url)
        return change_fences(client, table, describe(client, table), changes)

    return change
