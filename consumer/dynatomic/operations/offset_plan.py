"""Plans new committed offsets of a stopped group, and says what they cost. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from dynatomic.console import UNKNOWN, plural
from dynatomic.kafka.client import ResetPolicy
from dynatomic.operations.positions import GroupPosition

_CHOOSE = "choose with --to-earliest, --to-latest or --to-offset, and --partition"
_AGAIN_ONCE = (
    "exactly-once: events read again are counted only if they were not counted yet; events that "
    "were counted before exactly-once was used have no fence, and count twice"
)
_AGAIN_TWICE = "at-least-once: events read again that were counted before count twice"
_LETTERS = "bad events among those read again are stored again as dead letters"
_LOST = "lost events were removed by retention before they were counted: no offset brings them back"
_SKIPPED = "skipped events are not counted"
_SKIPPED_ONCE = f"{_SKIPPED}; going back for them later fails where a later event left its fence"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to continue, named as in Kafka's own tool. Exactly one field is set.

    ``at`` without a time zone is UTC.
    """

    earliest: bool = False
    latest: bool = False
    offset: int | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PlannedOffset:
    """The plan for one partition; ``new`` is None if a person has to choose."""

    partition: int
    current: int | None
    new: int | None
    effect: str
    why: str
    changes: bool
    rereads: bool = False
    skips: bool = False
    loses: bool = False

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        current, new = (UNKNOWN if n is None else str(n) for n in (self.current, self.new))
        return str(self.partition), current, new if self.changes else current, self.effect, self.why


def propose(position: GroupPosition, policy: ResetPolicy) -> tuple[int | None, str]:
    """Return the offset to continue at, and why; the committed one if nothing is wrong."""
    low, high = position.marks
    committed = position.committed
    if committed is None:
        if policy == "error":
            return low, "no committed offset, and auto.offset.reset is error"
        return None, f"no committed offset: it starts by auto.offset.reset={policy}"
    if position.is_truncated:
        return position.start(policy), position.problem
    if position.foreign or committed.offset < low:
        return low, position.problem
    if committed.offset <= high:
        return committed.offset, "in range"
    return None, f"{position.problem}: the log was cut, or the topic was created again; {_CHOOSE}"


def plan(
    position: GroupPosition, policy: ResetPolicy, chosen: tuple[int | None, str] | None = None
) -> PlannedOffset:
    """Return the plan of one partition: to ``chosen`` (offset, why) or to the proposed offset."""
    new, why = chosen or propose(position, policy)
    committed = position.committed
    current = committed.offset if committed else None
    changes = new is not None and (new != current or position.foreign or position.is_truncated)
    if new is None or not changes:
        return PlannedOffset(position.partition, current, new, "", why, changes=False)
    reached = position.start(policy)
    is_new = position.is_truncated and new == reached < position.marks.high
    first = committed is None or position.foreign or is_new
    if new > reached:
        effect = f"skips {_up_to(new - reached)}"
    elif first:
        effect = f"reads {_up_to(position.marks.high - new)}"
    elif new < reached:
        effect = f"reads {_up_to(reached - new)} again"
    else:
        effect = "skips no event"
    lost = position.lost
    if lost:
        also = "" if new == reached else f", {effect}"
        effect = f"loses {_up_to(lost)}{also}"
    return PlannedOffset(
        partition=position.partition,
        current=current,
        new=new,
        effect=effect,
        why=why,
        changes=True,
        # Without a commit it is not known: brokers delete commits of a group that was away long.
        rereads=(committed is None and new < position.marks.high) or (not first and new < reached),
        skips=new > reached,
        loses=lost > 0,
    )


def _up_to(count: int) -> str:
    # Transaction markers and events that compaction removed have offsets too.
    return f"up to {count} {plural(count, 'event')}" if count else "no events"


def notes(
    steps: list[PlannedOffset], positions: list[GroupPosition], *, exactly_once: bool
) -> Iterator[str]:
    """Yield the effects of the plan on the counters."""
    for position in positions:
        yield from _lost_events(position)
    if any(step.rereads for step in steps):
        yield _AGAIN_ONCE if exactly_once else _AGAIN_TWICE
        yield _LETTERS
    if any(step.loses for step in steps):
        yield _LOST
    if any(step.skips for step in steps):
        yield _SKIPPED_ONCE if exactly_once else _SKIPPED


def _lost_events(position: GroupPosition) -> Iterator[str]:
    if position.committed is not None and position.is_truncated:
        yield (
            f"partition {position.partition}: {_up_to(position.committed.offset - position.kept)} "
            "that were counted are not in the topic any more; they stay in the counters, and count "
            "twice if their producers send them again; take a new baseline"
        )


def target_offset(
    target: Target, position: GroupPosition, by_time: Mapping[int, int | None]
) -> tuple[int, str]:
    """Return the offset of a target in a partition, and the reason to show."""
    low, high = position.marks
    if target.earliest:
        return low, "--to-earliest"
    if target.latest:
        return high, "--to-latest"
    if target.offset is not None:
        new = min(max(target.offset, low), high)
        bound = "" if new == target.offset else f", which has {low} to {high}"
        return new, f"--to-offset {target.offset}{bound}"
    offset = by_time[position.partition]
    return (
        (high, "--to-datetime: no event has this time or a later one")
        if offset is None
        else (offset, "--to-datetime")
    )
