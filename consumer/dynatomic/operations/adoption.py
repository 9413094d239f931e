"""Whether a topic continues a topic of another id, and what that means for the counts. Pure.

A topic that is deleted and made again, and a copy on another cluster, both have another id. A copy
with the same offsets (Cluster Linking, a restored volume) can be adopted: the group continues at
its committed offset, and the fences of the old topic are valid. MirrorMaker gives the events new
offsets, and translates committed offsets to lower ones: the events between the two offsets count
twice.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dynatomic.kafka.commit_metadata import LastEvent, parse
from dynatomic.kafka.topic_identity import MOVE_GUIDE
from dynatomic.operations.offset_plan import PlannedOffset
from dynatomic.operations.positions import GroupPosition


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the events say about the offsets of a partition.

    ``last`` is the last event below the committed offset, as the old topic had it. ``time_ms`` is
    the timestamp that the event at this offset has now, and ``oldest_ms`` that of the oldest event.
    Each is None if there is none.
    """

    last: LastEvent
    time_ms: int | None
    oldest_ms: int | None = None

    @property
    def is_translated(self) -> bool:
        """Whether another event is at the offset."""
        return self.last.time_ms is not None and self.last.time_ms != self.time_ms

    @property
    def is_copy(self) -> bool:
        """Whether the topic has events from before the last counted one.

        A topic that was made again has only events that are newer.
        """
        last_ms, oldest_ms = self.last.time_ms, self.oldest_ms
        has_older = last_ms is not None and oldest_ms is not None and oldest_ms <= last_ms
        return has_older or not self.is_translated


def foreign_last_event(position: GroupPosition) -> LastEvent | None:
    """Return the last event of a commit of another topic, if the topic can have it."""
    if position.committed is None or not position.foreign:
        return None
    last = parse(position.committed.metadata).last
    if last is None or last.time_ms is None or last.offset < position.marks.low:
        return None
    return last


def plan_adoption(
    position: GroupPosition, adopted_id: str, evidence: Evidence | None, *, exactly_once: bool
) -> PlannedOffset:
    """Return the plan of a partition of a copy of the topic ``adopted_id``.

    The new offset is None where a person has to choose.
    """
    low, high = position.marks
    current = position.committed.offset if position.committed is not None else None
    problem = _refusal(position, adopted_id, evidence)
    is_own = (
        position.committed is not None
        and parse(position.committed.metadata).topic_id == position.topic_id
    )
    new, effect, why = current, "", "committed in this topic"
    if problem is not None:
        new, why = None, problem
    elif current is None and exactly_once:
        new, why = low, "no committed offset: the fences show what was counted"
        effect = f"reads up to {high - low} events"
    elif current is None:
        why = "no committed offset: choose with --to-offset or --to-datetime"
    elif not is_own and current < low:
        new, why = low, f"retention removed offsets {current} to {low - 1}"
        effect = "skips no event of the copy"
    elif not is_own:
        effect, why = "skips no event", "--adopt: the copy has the same offsets"
    changes = new is not None and not is_own
    return PlannedOffset(position.partition, current, new, effect, why, changes=changes)


def plan_copy(position: GroupPosition, evidence: Evidence) -> PlannedOffset:
    """Return the plan of a partition of a copy, for which a person has to choose."""
    committed = position.committed
    current = committed.offset if committed is not None else None
    old_id = parse(committed.metadata).topic_id if committed is not None else None
    why = f"{_same(evidence)}: use --adopt {old_id}"
    if evidence.is_translated:
        why = f"it has events from before the last counted one, so it is a copy: see {MOVE_GUIDE}"
    return PlannedOffset(position.partition, current, None, "", why, changes=False)


def _refusal(position: GroupPosition, adopted_id: str, evidence: Evidence | None) -> str | None:
    """Return why the committed offset of a partition cannot be adopted, None if it can."""
    if position.committed is None:
        return None
    if position.foreign and parse(position.committed.metadata).topic_id != adopted_id:
        return f"{position.problem}, not the one of --adopt"
    if evidence is not None and evidence.is_translated:
        return f"{_translated(evidence)}; it cannot be adopted: see {MOVE_GUIDE}"
    if position.committed.offset > position.marks.high:
        return f"beyond the end of the copy, {position.marks.high}: wait until it is complete"
    return None


def foreign_notes(
    positions: list[GroupPosition], evidence: Mapping[int, Evidence]
) -> Iterator[str]:
    """Yield what each possible reason for another id means for the counts."""
    foreign = [position for position in positions if position.foreign]
    if not foreign:
        return
    ids = {parse(p.committed.metadata).topic_id or "" for p in foreign if p.committed is not None}
    yield (
        "a topic that was deleted and made again is counted from its beginning; a copy is not: "
        f"with the same offsets (Cluster Linking) use --adopt {' or '.join(sorted(ids))}, with "
        f"others (MirrorMaker) see {MOVE_GUIDE}"
    )
    for position in foreign:
        low, high = position.marks
        at_commit = ""
        if position.committed is not None and low <= position.committed.offset <= high:
            offset = position.committed.offset
            at_commit = f", and up to {high - offset} from the committed offset {offset}"
        copy = evidence.get(position.partition)
        known = ""
        if copy is not None:
            known = f"; {_translated(copy) if copy.is_translated else _same(copy)}"
        yield (
            f"partition {position.partition}: if it is a copy, up to {high - low} events count "
            f"twice from its beginning{at_commit}{known}"
        )


def _translated(evidence: Evidence) -> str:
    return (
        f"the event at offset {evidence.last.offset} is not the last counted one: the offsets are "
        "not those of the old topic"
    )


def _same(evidence: Evidence) -> str:
    return (
        f"the event at offset {evidence.last.offset} has the time of the last counted one: a copy "
        "with the same offsets"
    )
