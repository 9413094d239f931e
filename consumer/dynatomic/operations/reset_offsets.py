"""``dynatomic offsets``: plans where a stopped group goes on, and commits it when asked.

It differs from ``kafka-consumer-groups --reset-offsets`` in three ways. Without a target it finds
the partitions that `worker.offsets` stops, and proposes the way out. It says what the new offsets
cost: events skipped, or read again. And its commits carry the topic's id, as the consumer's do, so
that they are not taken for those of a topic that was deleted.

A group that has members is left alone: the brokers refuse the commits of strangers while it has.
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
    new_admin,
    new_consumer,
    reason,
    reset_policy,
    wait_for_kafka,
    watermarks,
)
from dynatomic.kafka.groups import (
    TIMEOUT_S,
    CommittedOffset,
    committed_offsets,
    denied_or_unavailable,
    describe_group,
)
from dynatomic.kafka.topics import topic_id
from dynatomic.operations.lag import START_S
from dynatomic.operations.offset_plan import PlannedOffset, Target, aim, notes, plan
from dynatomic.operations.positions import GroupPosition

# The mock cluster keeps members that left until their sessions end, Kafka's default being 45 s.
JOIN_S = 50.0
# It keeps the next members of the group waiting as long as the last one's session.
_SHORT_SESSION = {"session.timeout.ms": "2000", "heartbeat.interval.ms": "500"}

_HEADINGS = ("PARTITION", "CURRENT-OFFSET", "NEW-OFFSET", "EFFECT", "WHY")
_NOT_TOLD = (
    "these brokers do not tell whether the group is active: --execute joins it to find out, which "
    f"takes up to {JOIN_S:.0f} s"
)


@dataclass(frozen=True, slots=True)
class ResetOptions:
    """What one run of the command was asked for; no ``partitions`` are all."""

    target: Target | None = None
    partitions: tuple[int, ...] = ()
    execute: bool = False


class Resetter:
    """Plans and commits. ``consumer`` has the group's id and never subscribes.

    ``join`` makes another one, that may.
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
        """Yield the lines of the plan, and with ``execute`` carry it out.

        Raises ConfigError, UnavailableError if the group is not stopped, and DynatomicError where
        a person has to choose.
        """
        settings = self._settings
        steps = self._steps(options)
        group = describe_group(self._admin, settings)
        yield from table_lines([_HEADINGS, *(step.cells() for step in steps)], {0, 1, 2})
        yield from notes(steps, exactly_once=settings.exactly_once)
        if group is None:
            yield _NOT_TOLD
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
            raise self._active()
        if changes:
            self._commit(changes, alone=group is None)
            yield from self._in_effect(changes)

    def _steps(self, options: ResetOptions) -> list[PlannedOffset]:
        settings = self._settings
        marks = watermarks(self._consumer, settings.topic)
        if wrong := sorted(set(options.partitions) - marks.keys()):
            raise ConfigError(
                f"--partition {wrong[0]}: topic {settings.topic!r} has 0 to {max(marks)}"
            )
        numbers = sorted(set(options.partitions) or marks)
        found = committed_offsets(self._consumer, settings, numbers)
        places = [GroupPosition(n, marks[n], found.get(n), self._topic_id) for n in numbers]
        policy, target = reset_policy(settings), options.target
        if target is None:
            return [plan(place, policy) for place in places]
        by_time = self._by_time(places, target.at) if target.at is not None else {}
        return [plan(place, policy, aim(target, place, by_time)) for place in places]

    def _by_time(self, places: list[GroupPosition], at: datetime) -> dict[int, int]:
        """Return the first offsets at or after a time, negative where nothing is as new."""
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        found = self._first_since(places, max(0, round(at.timestamp() * 1000)))
        full = [p for p in places if p.marks.low < p.marks.high and found[p.partition] < 0]
        # Brokers that do not know say the same: then nothing would be as new as 1970 either.
        known = self._first_since(full, 0) if full else {}
        if any(offset < 0 for offset in known.values()):
            raise ConfigError(
                "--to-datetime: these brokers have no offsets by time; use --to-offset"
            )
        return found

    def _first_since(self, places: list[GroupPosition], milliseconds: int) -> dict[int, int]:
        asked = [TopicPartition(self._settings.topic, p.partition, milliseconds) for p in places]
        try:
            found = self._consumer.offsets_for_times(asked, timeout=TIMEOUT_S)
        except KafkaException as error:
            raise denied_or_unavailable(error, self._settings) from None
        for place in found:
            if place.error is not None:
                raise denied_or_unavailable(KafkaException(place.error), self._settings)
        return {p.partition: -1 if p.offset == OFFSET_END else p.offset for p in found}

    def _check(self, steps: list[PlannedOffset]) -> None:
        for step in steps:
            if step.new is None and step.current is not None:
                raise DynatomicError(
                    f"{self._settings.topic}:{step.partition}: offset {step.current} is "
                    f"{step.why}; nothing was changed"
                )

    def _commit(self, steps: list[PlannedOffset], *, alone: bool) -> None:
        topic, about = self._settings.topic, self._topic_id or ""
        places = [TopicPartition(topic, s.partition, s.new or 0, about) for s in steps]
        try:
            _commit(self._consumer, places)
        except KafkaException as error:
            code = error.args[0].code()
            if code != KafkaError.UNKNOWN_MEMBER_ID:
                raise denied_or_unavailable(error, self._settings) from None
            if not alone:
                raise self._active() from None
            self._commit_as_member(places)

    def _commit_as_member(self, places: list[TopicPartition]) -> None:
        """Commit as the group's only member, for brokers that take it from no one else."""
        settings = self._settings
        with closing(self._join()) as consumer:
            consumer.subscribe([settings.topic])
            deadline = self._clock() + JOIN_S
            everything = set(watermarks(consumer, settings.topic))
            while {place.partition for place in consumer.assignment()} != everything:
                if self._clock() >= deadline:
                    raise self._active()
                consumer.poll(0.1)  # what it reads is neither stored nor committed
            try:
                _commit(consumer, places)
            except KafkaException as error:
                raise denied_or_unavailable(error, settings) from None

    def _active(self) -> UnavailableError:
        return UnavailableError(
            f"group {self._settings.group_id} is active: stop its consumers, wait until their "
            "sessions have ended, and try again; nothing was changed"
        )

    def _in_effect(self, steps: list[PlannedOffset]) -> Iterator[str]:
        wanted = {step.partition: step.new for step in steps}
        found = committed_offsets(self._consumer, self._settings, wanted)
        yield "committed, and read back:"
        rows = [("PARTITION", "CURRENT-OFFSET")]
        rows += [(str(n), str(found[n].offset) if n in found else UNKNOWN) for n in wanted]
        yield from table_lines(rows, {0, 1})
        for number, offset in wanted.items():
            expected = CommittedOffset(offset or 0, self._topic_id or "")
            if found.get(number) != expected:
                raise DynatomicError(
                    f"{self._settings.topic}:{number}: {offset} was committed, and another offset "
                    "is in effect: stop whoever else commits for the group, and try again"
                )


def _commit(consumer: Any, places: list[TopicPartition]) -> None:
    for place in consumer.commit(offsets=places, asynchronous=False):
        if place.error is not None:
            raise KafkaException(place.error)


def reset_offsets(settings: Settings, options: ResetOptions) -> int:
    """Print the plan, carry it out if asked, and return 0. Raises as `Resetter.run` does."""
    config = consumer_config(settings)
    member = config | (_SHORT_SESSION if settings.group_protocol == "classic" else {})
    with closing(new_consumer(config)) as consumer:
        wait_for_kafka(settings, START_S)
        admin = new_admin(admin_config(settings))
        try:
            resetter = Resetter(settings, consumer, admin, lambda: new_consumer(member))
            for line in resetter.run(options):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
        except KafkaException as error:
            raise UnavailableError(f"Kafka: {reason(error)}; try again") from None
    return 0
