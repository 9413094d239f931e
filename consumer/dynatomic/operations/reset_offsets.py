"""``dynatomic offsets``: plans new committed offsets of a stopped group, and commits them if asked.

It differs from ``kafka-consumer-groups --reset-offsets`` in three ways. Without a target it finds
the partitions that `worker.offsets` stops, and proposes an offset. It shows the effects of
the new offsets: events that are skipped or read again. Its commits contain the topic id, as those
of the consumer do, so they cannot be confused with commits for a deleted topic.

A group that has members is not changed: brokers refuse commits of other clients while it has.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import OFFSET_END, KafkaError, KafkaException, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.console import UNKNOWN, table_lines
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.kafka.client import (
    admin_config,
    consumer_config,
    kafka_errors,
    new_admin,
    new_consumer,
    reset_policy,
    wait_for_kafka,
    watermarks,
)
from dynatomic.kafka.commit_metadata import CommitMetadata
from dynatomic.kafka.groups import (
    TIMEOUT_S,
    CommittedOffset,
    GroupDescription,
    committed_offsets,
    denied_or_unavailable,
    describe_group,
    missing_group,
)
from dynatomic.kafka.topics import topic_id
from dynatomic.operations.lag import START_S
from dynatomic.operations.offset_plan import PlannedOffset, Target, notes, plan, target_offset
from dynatomic.operations.positions import GroupPosition

# The mock cluster keeps members that left until their session times out, by default after 45 s.
JOIN_S = 50.0
# The next member of the group has to wait for the session time-out of this one.
_SHORT_SESSION = {"session.timeout.ms": "2000", "heartbeat.interval.ms": "500"}

_HEADINGS = ("PARTITION", "CURRENT-OFFSET", "NEW-OFFSET", "EFFECT", "WHY")
_MEMBERS_UNKNOWN = (
    "these brokers do not report whether the group is active: --execute joins it to find out, "
    f"which takes up to {JOIN_S:.0f} s"
)


@dataclass(frozen=True, slots=True)
class ResetOptions:
    """The flags of the command; no ``partitions`` means all."""

    target: Target | None = None
    partitions: tuple[int, ...] = ()
    execute: bool = False
    create_group: bool = False


class Resetter:
    """Plans and commits. ``consumer`` has the id of the group and never subscribes.

    ``join`` returns another consumer, which may subscribe.
    """

    def __init__(
        self,
        settings: Settings,
        consumer: Any,
        admin: Any,
        join: Callable[[], Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._admin = admin
        self._join = join
        self._clock = clock
        self._topic_id = topic_id(admin, settings.topic)

    def run(self, options: ResetOptions) -> Iterator[str]:
        """Yield the lines of the plan; with ``execute`` carry it out.

        Raises ConfigError, UnavailableError if the group is not stopped, and DynatomicError where
        a person has to choose.
        """
        settings = self._settings
        steps = self._steps(options)
        group = describe_group(self._admin, settings)
        self._check_exists(group, steps, options)
        yield from table_lines([_HEADINGS, *(step.cells() for step in steps)], {0, 1, 2})
        yield from notes(steps, exactly_once=settings.exactly_once)
        if group is None:
            yield _MEMBERS_UNKNOWN
        active = group is not None and group.active
        if group is not None and active:
            state = group.state.lower().replace("_", " ")
            yield f"the group is active ({state}, {len(group.members)} members): stop it first"
        changes = [step for step in steps if step.changes]
        if not changes:
            yield "nothing to change"
        if not options.execute:
            if changes:
                yield "nothing was changed: add --execute"
            return
        self._check(steps)
        if active:
            raise self._group_is_active()
        if changes:
            self._commit(changes, alone=group is None)
            yield from self._read_back(changes)

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

    def _steps(self, options: ResetOptions) -> list[PlannedOffset]:
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
        policy, target = reset_policy(settings), options.target
        if target is None:
            return [plan(position, policy) for position in positions]
        by_time = self._by_time(positions, target.at) if target.at is not None else {}
        return [
            plan(position, policy, target_offset(target, position, by_time))
            for position in positions
        ]

    def _by_time(self, positions: list[GroupPosition], at: datetime) -> dict[int, int]:
        """Return the first offsets at or after a time, negative if no event is as new."""
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        first_offsets = self._first_since(positions, max(0, round(at.timestamp() * 1000)))
        full = [
            p for p in positions if p.marks.low < p.marks.high and first_offsets[p.partition] < 0
        ]
        # Brokers without this request answer the same. Then no event is as new as 1970 either.
        known = self._first_since(full, 0) if full else {}
        if any(offset < 0 for offset in known.values()):
            raise ConfigError(
                "--to-datetime: these brokers have no offsets by time; use --to-offset"
            )
        return first_offsets

    def _first_since(self, positions: list[GroupPosition], milliseconds: int) -> dict[int, int]:
        wanted = [
            TopicPartition(self._settings.topic, p.partition, milliseconds) for p in positions
        ]
        try:
            answered = self._consumer.offsets_for_times(wanted, timeout=TIMEOUT_S)
        except KafkaException as error:
            raise denied_or_unavailable(error, self._settings) from None
        for topic_partition in answered:
            if topic_partition.error is not None:
                raise denied_or_unavailable(KafkaException(topic_partition.error), self._settings)
        return {p.partition: -1 if p.offset == OFFSET_END else p.offset for p in answered}

    def _check(self, steps: list[PlannedOffset]) -> None:
        for step in steps:
            if step.new is None and step.current is not None:
                raise DynatomicError(
                    f"{self._settings.topic}:{step.partition}: offset {step.current} is "
                    f"{step.why}; nothing was changed"
                )

    def _commit(self, steps: list[PlannedOffset], *, alone: bool) -> None:
        topic, metadata = self._settings.topic, CommitMetadata(self._topic_id).encode()
        topic_partitions = [TopicPartition(topic, s.partition, s.new or 0, metadata) for s in steps]
        try:
            _commit(self._consumer, topic_partitions)
        except KafkaException as error:
            code = error.args[0].code()
            if code != KafkaError.UNKNOWN_MEMBER_ID:
                raise denied_or_unavailable(error, self._settings) from None
            if not alone:
                raise self._group_is_active() from None
            self._commit_as_member(topic_partitions)

    def _commit_as_member(self, topic_partitions: list[TopicPartition]) -> None:
        """Commit as the only member of the group, for brokers that accept no other commit."""
        settings = self._settings
        with closing(self._join()) as consumer:
            consumer.subscribe([settings.topic])
            deadline = self._clock() + JOIN_S
            everything = set(watermarks(consumer, settings.topic))
            while {
                topic_partition.partition for topic_partition in consumer.assignment()
            } != everything:
                if self._clock() >= deadline:
                    raise self._group_is_active()
                consumer.poll(0.1)  # joins the group; messages are ignored
            try:
                _commit(consumer, topic_partitions)
            except KafkaException as error:
                raise denied_or_unavailable(error, settings) from None

    def _group_is_active(self) -> UnavailableError:
        return UnavailableError(
            f"group {self._settings.group_id} is active: stop its consumers, wait until their "
            "sessions have ended, and try again; nothing was changed"
        )

    def _read_back(self, steps: list[PlannedOffset]) -> Iterator[str]:
        wanted = {step.partition: step.new for step in steps}
        committed = committed_offsets(self._consumer, self._settings, wanted)
        yield "committed, and read back:"
        rows = [("PARTITION", "CURRENT-OFFSET")]
        rows += [(str(n), str(committed[n].offset) if n in committed else UNKNOWN) for n in wanted]
        yield from table_lines(rows, {0, 1})
        for partition, offset in wanted.items():
            expected = CommittedOffset(offset or 0, CommitMetadata(self._topic_id).encode())
            if committed.get(partition) != expected:
                raise DynatomicError(
                    f"{self._settings.topic}:{partition}: {offset} was committed, but another "
                    "offset is in effect: stop what else commits for the group, and try again"
                )


def _commit(consumer: Any, topic_partitions: list[TopicPartition]) -> None:
    for topic_partition in consumer.commit(offsets=topic_partitions, asynchronous=False):
        if topic_partition.error is not None:
            raise KafkaException(topic_partition.error)


def reset_offsets(settings: Settings, options: ResetOptions) -> int:
    """Print the plan, carry it out if asked, and return 0. Raises as `Resetter.run` does."""
    config = consumer_config(settings)
    member = config | (_SHORT_SESSION if settings.group_protocol == "classic" else {})
    wait_for_kafka(settings, START_S)
    with closing(new_consumer(config)) as consumer:
        admin = new_admin(admin_config(settings))
        with kafka_errors(UnavailableError):
            resetter = Resetter(settings, consumer, admin, lambda: new_consumer(member))
            for line in resetter.run(options):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
    return 0
