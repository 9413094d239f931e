"""The fence: an attribute of an item that keeps an event from being added twice. Pure.

Kafka fences a commit, but nothing fences a write to DynamoDB that arrives late. So an item stores,
for each topic-partition, the last offset that was added to it. This number attribute is set by
the same update that adds the sum, and the next update has it in its condition. A window
``[first, last]`` is added only if the fence is missing or below ``first``. To compare with
``last`` would be wrong: a window that overlaps a half-applied one would count the overlap twice.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(r"fence_([0-9a-f]{8})_(0|[1-9][0-9]*)")
ID_DIGITS = 8


def fence_name(topic_id: str, partition: int) -> str:
    """Return the attribute that holds a partition's fence.

    ``topic_id`` is the topic's id in 32 hex digits. A topic that is deleted and created again has
    another id, so the old fences do not hide its events. The name does not contain the consumer
    group, so two groups that write to one table do not count an event twice.
    """
    return f"fence_{topic_id[:ID_DIGITS]}_{partition}"


def fences_of(item: Mapping[str, Mapping[str, Any]], topic_id: str) -> dict[int, int]:
    """Return the fences of one topic in an item as DynamoDB returns it, by partition."""
    fences = {}
    for name, value in item.items():
        match = _NAME.fullmatch(name)
        if match and match[1] == topic_id[:ID_DIGITS] and "N" in value:
            fences[int(match[2])] = int(value["N"])
    return fences


def damaged_fences(item: Mapping[str, Mapping[str, Any]], topic_id: str) -> list[str]:
    """Return the names of the fences of one topic that are not numbers: the product wrote none."""
    start = f"fence_{topic_id[:ID_DIGITS]}_"
    return sorted(
        name
        for name, value in item.items()
        if name.startswith(start) and _NAME.fullmatch(name) and "N" not in value
    )


@dataclass(frozen=True, slots=True)
class Fence:
    """The condition of one write: the attribute, and the offsets of the events in the sum."""

    name: str
    first: int
    last: int
