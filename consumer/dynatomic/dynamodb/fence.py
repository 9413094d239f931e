"""The fence: what an item remembers, so that no event is added to it twice. Pure.

Kafka fences a commit, but nothing fences a write to DynamoDB that arrives late. So an item holds,
for each topic-partition that was added to it, the last offset that is in it: one number
attribute, set by the same update that adds the sum, and a condition of the next one. A window
``[first, last]`` is added only where the fence is missing or below ``first``. Not below ``last``:
a window that overlaps a half-applied one would count the overlap twice.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(r"fence_([0-9a-f]{8})_(0|[1-9][0-9]*)")
ID_DIGITS = 8


def fence_name(topic_id: str, partition: int) -> str:
    """Return the attribute that holds a partition's fence.

    ``topic_id`` are the 32 hex digits of the topic's id. A topic that is deleted and made again
    has another id: the fences of the old one do not hide its events. The group is no part of the
    name, so two groups on one table do not double either.
    """
    return f"fence_{topic_id[:ID_DIGITS]}_{partition}"


def fences_of(item: Mapping[str, Mapping[str, Any]], topic_id: str) -> dict[int, int]:
    """Return the fences that an item, as DynamoDB gives it, holds of one topic, by partition."""
    found = {}
    for name, value in item.items():
        match = _NAME.fullmatch(name)
        if match and match[1] == topic_id[:ID_DIGITS] and "N" in value:
            found[int(match[2])] = int(value["N"])
    return found


@dataclass(frozen=True, slots=True)
class Fence:
    """The condition of one write: the attribute, and the offsets that the sum comes from."""

    name: str
    first: int
    last: int
