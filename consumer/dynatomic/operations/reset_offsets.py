"""``dynatomic offsets``: plans new committed offsets of a stopped group, and commits them if asked.

It differs from ``kafka-consumer-groups --reset-offsets`` in four ways. Without a target it finds
the partitions that `worker.offsets` stops, and proposes an offset. It shows the effects of
the new offsets: events that are skipped or read again. With exactly-once it changes the fences of
the items where the offsets of a topic have another meaning now. Its commits contain the topic id,
as those of the consumer do, so they cannot be confused with commits for a deleted topic.

A group that has members is not changed: brokers refuse commits of other clients while it has.
"""

import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaException

from dynatomic.config.settings import Settings
from dynatomic.console import table_lines
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.kafka.client import (
    admin_config,
    consumer_config,
    kafka_errors,
    new_admin,
    new_consumer,
    reset_policy,
    watermarks,
)
from dynatomic.kafka.groups import (
    TIMEOUT_S,
    GroupDescription,
    committed_offsets,
    denied_or_unavailable,
    describe_group,
    missing_group,
)
from dynatomic.kafka.offsets_by_time import OffsetsByTime
from dynatomic.kafka.reachability import START_S, wait_for_kafka
from dynatomic.kafka.topics import topic_id
from dynatomic.kafka.truncations import TruncationFinder
from dynatomic.operations.adoption import (
    Evidence,
    foreign_last_event,
    foreign_notes,
    plan_adoption,
    plan_copy,
)
from dynatomic.operations.fences import (
    ChangeTable,
    FencePlan,
    carry_out,
    fence_plans,
    table_changer,
)
from dynatomic.operations.group_commit import JOIN_S, GroupCommit
from dynatomic.operations.offset_plan import PlannedOffset, Target, notes, plan, target_offset
from dynatomic.operations.positions import SMALL_FETCHES, GroupPosition, Timestamps

# The next member of the group has to wait for the session time-out of this one.
_SHORT_SESSION = {"session.timeout.ms": "2000", "heartbeat.interval.ms": "500"}
_TOPIC_ID = re.compile(r"[0-9a-f]{32}")

_HEADINGS = ("PARTITION", "CURRENT-OFFSET", "NEW-OFFSET", "EFFECT", "WHY")
_MEMBERS_UNKNOWN = (
    "these brokers do not report whether the group is active: --execute joins it to find out, "
    f"which takes up to {JOIN_S:.0f} s"
)


@dataclass(frozen=True, slots=True)
class ResetOptions:
    """The flags of the command; no ``partitions`` means all.

    ``adopt`` is the id of the topic that this one is a copy of, with the same offsets.
    """

    target: Target | None = None
    partitions: tuple[int, ...] = ()
    execute: bool = False
    create_group: bool = False
    adopt: str | None = None


class Resetter:
    """Plans and commits. ``consumer`` has the id of the group and never subscribes.

    ``join`` returns another consumer, which may subscribe. ``change_table`` changes the fences of a
    table.
    """

    def __init__(  # noqa: PLR0913 - its parts, each replaced in a test
        self,
        settings: Settings,
        consumer: Any,
        admin: Any,
        join: Callable[[], Any],
        change_table: ChangeTable,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._admin = admin
        self._change_table = change_table
        self._clock = clock
        self._topic_id = topic_id(admin, settings.topic)
        self._commit = GroupCommit(settings, consumer, join, self._topic_id, clock)

    def run(self, options: ResetOptions) -> Iterator[str]:
        """Yield the lines of the plan; with ``execute`` carry it out.

        Raises ConfigError, UnavailableError if the group is not stopped, and DynatomicError where
        a person has to choose.
        """
        settings = self._settings
        self._check_adopted(options.adopt)
        positions = self._positions(options)
        evidence = self._evidence(positions)
        steps = self._steps(positions, evidence, options)
        fences = self._fences(positions, options)
        group = describe_group(self._admin, settings)
        self._check_exists(group, steps, options)
        yield from table_lines([_HEADINGS, *(step.cells() for step in steps)], {0, 1, 2})
        yield from notes(steps, positions, exactly_once=settings.exactly_once)
        if options.adopt is None:
            yield from foreign_notes(positions, evidence)
        if group is None:
            yield _MEMBERS_UNKNOWN
        active = group is not None and group.active
        if group is not None and active:
            state = group.state.lower().replace("_", " ")
            yield f"the group is active ({state}, {len(group.members)} members): stop it first"
        changes = {step.partition: step.new or 0 for step in steps if step.changes}
        if changes:
            yield from (f"{', '.join(settings.tables)}: {fence.why}" for fence in fences)
        else:
            yield "nothing to change"
        if not options.execute:
            if changes:
                yield "nothing was changed: add --execute"
            return
        self._check(steps)
        if active:
            raise self._commit.group_is_active()
        if changes:
            # If this ends in between, the old commits are still there, and the plan is the same.
            yield from carry_out(fences, settings.tables, self._change_table)
            self._commit.commit(changes, alone=group is None)
            yield from self._commit.read_back(changes)

    def _check_exists(
        self, group: GroupDescription | None, steps: list[PlannedOffset], options: ResetOptions
    ) -> None:
        """Raise DynatomicError for a group that does not exist, unless it is to be created.

        With auto.offset.reset=error the first offsets of a new group are committed here.
        """
        known = group is None or group.exists or any(step.current is not None for step in steps)
        is_first = options.target is None and reset_policy(self._settings) == "error"
        if not (known or is_first or options.create_group):
            raise missing_group(self._admin, self._settings)

    def _check_adopted(self, adopted_id: str | None) -> None:
        if adopted_id is None:
            return
        if not _TOPIC_ID.fullmatch(adopted_id):
            raise ConfigError(
                f"--adopt: {adopted_id!r} is no topic id; use the 32 hex digits of the message"
            )
        if adopted_id == self._topic_id:
            raise ConfigError(
                f"--adopt: {adopted_id} is the id of this topic: use the id of the old topic, "
                "which the message has"
            )

    def _fences(self, positions: list[GroupPosition], options: ResetOptions) -> list[FencePlan]:
        if not self._settings.exactly_once:
            return []
        fences = fence_plans(positions, self._topic_id, options.adopt)
        if fences:
            self._settings.require_tables()
        return fences

    def _positions(self, options: ResetOptions) -> list[GroupPosition]:
        settings = self._settings
        marks = watermarks(self._consumer, settings.topic)
        if wrong := sorted(set(options.partitions) - marks.keys()):
            raise ConfigError(
                f"--partition {wrong[0]}: topic {settings.topic!r} has 0 to {max(marks)}"
            )
        partitions = sorted(set(options.partitions) or marks)
        committed = committed_offsets(self._consumer, settings, partitions)
        positions = [
            GroupPosition(n, marks[n], committed.get(n), self._topic_id) for n in partitions
        ]
        lasts = {p.partition: p.last_event for p in positions}
        finder = TruncationFinder(self._consumer, settings, self._clock)
        truncations = finder.find({n: last for n, last in lasts.items() if last is not None})
        return [replace(p, truncation=truncations.get(p.partition)) for p in positions]

    def _evidence(self, positions: list[GroupPosition]) -> dict[int, Evidence]:
        """Return what the events of a foreign topic say about its offsets, where it is known."""
        lasts = {p.partition: foreign_last_event(p) for p in positions}
        wanted = {n: last for n, last in lasts.items() if last is not None}
        lows = {p.partition: p.marks.low for p in positions if p.partition in wanted}
        timestamps = self._timestamps({n: last.offset for n, last in wanted.items()})
        oldest = self._timestamps(lows)
        return {n: Evidence(last, timestamps.get(n), oldest.get(n)) for n, last in wanted.items()}

    def _timestamps(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """Return the timestamps of the first events from these offsets on, in milliseconds."""
        timestamps = Timestamps(self._consumer, self._settings, self._clock).first(offsets)
        return {partition: round(time_s * 1000) for partition, time_s in timestamps.items()}

    def _steps(
        self,
        positions: list[GroupPosition],
        evidence: Mapping[int, Evidence],
        options: ResetOptions,
    ) -> list[PlannedOffset]:
        policy, target = reset_policy(self._settings), options.target
        if options.adopt is not None:
            return [
                plan_adoption(
                    position,
                    options.adopt,
                    evidence.get(position.partition),
                    exactly_once=self._settings.exactly_once,
                )
                for position in positions
            ]
        if target is None:
            copies = {n: copy for n, copy in evidence.items() if copy.is_copy}
            return [
                plan_copy(position, copies[position.partition])
                if position.partition in copies
                else plan(position, policy)
                for position in positions
            ]
        by_time = self._by_time(positions, target.at) if target.at is not None else {}
        return [
            plan(position, policy, target_offset(target, position, by_time))
            for position in positions
        ]

    def _by_time(self, positions: list[GroupPosition], at: datetime) -> dict[int, int | None]:
        """Return the first offsets at or after a time, None if there is no such event."""
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        by_time = OffsetsByTime(self._consumer, self._settings.topic, TIMEOUT_S, strict=True)
        marks = {position.partition: position.marks for position in positions}
        try:
            first = by_time.first(marks, max(0, round(at.timestamp() * 1000)))
            unsupported = by_time.unsupported(marks, first)
        except KafkaException as error:
            raise denied_or_unavailable(error, self._settings) from None
        if unsupported:
            raise ConfigError(
                "--to-datetime: these brokers have no offsets by time; use --to-offset"
            )
        return first

    def _check(self, steps: list[PlannedOffset]) -> None:
        for step in steps:
            if step.new is None and step.current is not None:
                raise DynatomicError(
                    f"{self._settings.topic}:{step.partition}: offset {step.current}: {step.why}; "
                    "nothing was changed"
                )


def reset_offsets(
    settings: Settings, options: ResetOptions, endpoint_url: str | None = None
) -> int:
    """Print the plan, carry it out if asked, and return 0. Raises as `Resetter.run` does."""
    config = consumer_config(settings, eof=True) | SMALL_FETCHES
    member = consumer_config(settings) | (
        _SHORT_SESSION if settings.group_protocol == "classic" else {}
    )
    wait_for_kafka(settings, START_S)
    with closing(new_consumer(config)) as consumer:
        admin = new_admin(admin_config(settings))
        with kafka_errors(UnavailableError):
            resetter = Resetter(
                settings,
                consumer,
                admin,
                lambda: new_consumer(member),
                table_changer(endpoint_url),
            )
            for line in resetter.run(options):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
    return 0
