"""``dynatomic lag``: the lag of a group in each partition.

The columns are those of ``kafka-consumer-groups --describe`` that fit into 80 characters, and the
age of the oldest event that is not committed. JSON has all of them. The end offset is the last
stable offset, because the group cannot read further while a transaction is open. The offsets from
there to the high watermark are not part of the lag. A note shows their number.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from dynatomic.config.settings import Settings
from dynatomic.console import UNKNOWN, duration, plural, printable, table_lines
from dynatomic.errors import DynatomicError, UnavailableError
from dynatomic.kafka.client import (
    Watermarks,
    admin_config,
    consumer_config,
    kafka_errors,
    member_kind,
    new_admin,
    new_consumer,
    reset_policy,
    topic_partitions,
    watermarks,
)
from dynatomic.kafka.groups import (
    GroupDescription,
    GroupMember,
    committed_offsets,
    describe_group,
    missing_group,
)
from dynatomic.kafka.reachability import START_S, wait_for_kafka
from dynatomic.kafka.topics import topic_id
from dynatomic.operations.positions import SMALL_FETCHES, GroupPosition, Timestamps

_HEADINGS = ("PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "AGE", "MEMBER")
_RIGHT_ALIGNED = {0, 1, 2, 3, 4}
_WIDTH = 80
_MIN_MEMBER_WIDTH = 8


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far the group is behind in one partition; None for what is not known.

    ``age_s`` is the age in seconds of the oldest event that is not committed. A member without
    partitions has its own row, whose ``partition`` is None.
    """

    partition: int | None = None
    current_offset: int | None = None
    log_end_offset: int | None = None
    lag: int | None = None
    age_s: float | None = None
    member: GroupMember | None = None
    note: str = ""
    high_watermark: int | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        return (
            *(
                UNKNOWN if value is None else str(value)
                for value in (self.partition, self.current_offset, self.log_end_offset, self.lag)
            ),
            duration(self.age_s),
            member_name(self.member),
        )

    def fields(self, settings: Settings) -> dict[str, Any]:
        """Return it for JSON."""
        member = self.member
        return {
            "group": settings.group_id,
            "topic": None if self.partition is None else settings.topic,
            "partition": self.partition,
            "current_offset": self.current_offset,
            "log_end_offset": self.log_end_offset,
            "high_watermark": self.high_watermark,
            "lag": self.lag,
            "consumer_id": member.consumer_id if member else None,
            "host": member.host if member else None,
            "client_id": member.client_id if member else None,
            "age_seconds": None if self.age_s is None else round(self.age_s, 3),
            "note": self.note or None,
        }


@dataclass(frozen=True, slots=True)
class GroupLag:
    """The rows of a group, and remarks on the whole group; ``at`` is the monotonic time."""

    rows: list[PartitionLag]
    remarks: list[str]
    at: float
    exists: bool = True


def member_name(member: GroupMember | None) -> str:
    """Return host and process id of a member if its client id shows them, else the client id."""
    if member is None:
        return UNKNOWN
    kind = member_kind(member.client_id)
    return kind.process if kind is not None and kind.process else member.client_id


def text_lines(settings: Settings, lag: GroupLag) -> Iterator[str]:
    """Yield the lines for people, at most 80 columns wide, except for very long numbers."""
    members = {row.member for row in lag.rows if row.member is not None}
    count = f", {len(members)} {plural(len(members), 'member')}" if members else ""
    yield printable(f"group {settings.group_id}, topic {settings.topic}{count}")
    rows = [_HEADINGS, *(row.cells() for row in lag.rows)]
    numbers = sum(max(len(row[column]) for row in rows) + 2 for column in _RIGHT_ALIGNED)
    width = max(_MIN_MEMBER_WIDTH, _WIDTH - numbers)
    yield from table_lines([(*row[:-1], printable(row[-1], width)) for row in rows], _RIGHT_ALIGNED)
    for row in lag.rows:
        if row.note:
            yield printable(f"partition {row.partition}: {row.note}")


class LagReader:
    """Reads the lag of a group, each time that `read` is called.

    ``consumer`` has the id of the group and the configuration that `Timestamps` needs.
    ``uncommitted`` is a consumer that reads without waiting for transactions. ``now`` gives seconds
    since 1970.
    """

    def __init__(  # noqa: PLR0913 - the last three have defaults
        self,
        settings: Settings,
        consumer: Any,
        admin: Any,
        *,
        uncommitted: Any = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._admin = admin
        self._clock = clock
        self._now = now
        self._uncommitted = uncommitted
        self._timestamps = Timestamps(consumer, settings, clock)

    def read(self) -> GroupLag:
        """Return the lag now. Raises ConfigError or UnavailableError."""
        settings = self._settings
        identity = topic_id(self._admin, settings.topic)
        partitions = topic_partitions(self._consumer, settings.topic)
        committed = committed_offsets(self._consumer, settings, partitions)
        at = self._clock()
        # The end is read after the committed offsets, so it is never below them.
        marks = watermarks(self._consumer, settings.topic)
        high = self._high_watermarks(marks)
        group = describe_group(self._admin, settings)
        positions = [GroupPosition(n, marks[n], committed.get(n), identity) for n in sorted(marks)]
        policy = reset_policy(settings)
        starts = {position.partition: position.start(policy) for position in positions}
        timestamps = self._timestamps.first(
            {n: start for n, start in starts.items() if start < marks[n].high}
        )
        now = self._now()
        members = group.members if group else ()
        owners = {partition: member for member in members for partition in member.partitions}
        rows = [
            PartitionLag(
                position.partition,
                position.committed.offset if position.committed else None,
                position.marks.high,
                position.lag,
                # Clocks differ, so an event may be newer than now.
                max(0.0, now - timestamps[position.partition])
                if position.partition in timestamps
                else None,
                owners.get(position.partition),
                "; ".join(_notes(position, high.get(position.partition))),
                high.get(position.partition),
            )
            for position in positions
        ]
        rows += [PartitionLag(member=member) for member in members if member.idle]
        exists = group is None or group.exists or bool(committed)
        return GroupLag(rows, list(self._remarks(group, exists=exists)), at, exists)

    def missing(self) -> DynatomicError:
        """Return the error to raise for a group that does not exist."""
        return missing_group(self._admin, self._settings)

    def _high_watermarks(self, marks: Mapping[int, Watermarks]) -> dict[int, int]:
        """Return the high watermarks, which are not below the ends that were read before."""
        if self._uncommitted is None:
            return {}
        high = watermarks(self._uncommitted, self._settings.topic)
        return {n: max(high[n].high, marks[n].high) for n in marks if n in high}

    def _remarks(self, group: GroupDescription | None, *, exists: bool) -> Iterator[str]:
        name = self._settings.group_id
        if group is None:
            yield f"group {name}: these brokers do not report its members"
        elif not exists:
            yield f"group {name} does not exist"
        elif not group.active:
            yield f"group {name} has no active members"


def _notes(position: GroupPosition, high_watermark: int | None) -> Iterator[str]:
    if position.problem:
        yield position.problem
    held = (high_watermark or 0) - position.marks.high
    if held > 0:
        yield f"an open transaction holds back {held} offsets"


@contextmanager
def lag_reader(settings: Settings) -> Iterator[LagReader]:
    """Give a `LagReader` with its own clients. Raises ConfigError or UnavailableError."""
    config = consumer_config(settings, eof=True) | SMALL_FETCHES
    wait_for_kafka(settings, START_S)
    consumer = new_consumer(dict(config))
    uncommitted = new_consumer(config | {"isolation.level": "read_uncommitted"})
    with closing(consumer), closing(uncommitted), kafka_errors(UnavailableError):
        admin = new_admin(admin_config(settings))
        yield LagReader(settings, consumer, admin, uncommitted=uncommitted)


def lag(settings: Settings, output: Literal["text", "json"] = "text") -> int:
    """Print the group's lag; return 0.

    Raises DynatomicError if the group does not exist, ConfigError or UnavailableError.
    """
    with lag_reader(settings) as reader:
        group_lag = reader.read()
        if not group_lag.exists:
            raise reader.missing()
    if output == "json":
        rows = [row.fields(settings) for row in group_lag.rows]
        sys.stdout.write(f"{json.dumps(rows)}\n")
        return 0
    sys.stdout.writelines(f"{line}\n" for line in text_lines(settings, group_lag))
    sys.stderr.writelines(f"{line}\n" for line in group_lag.remarks)
    return 0
