"""A consumer group as ``kafka-consumer-groups --describe`` asks for it, and the ages of its events.

Asked from outside: no group is joined, and nothing is committed.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, TopicPartition

from consumer.errors import ConfigError, DynatomicError, UnavailableError
from consumer.init import until
from consumer.intake import take_error
from consumer.kafka import (
    AUTO_OFFSET_RESET,
    CLIENT_IDS,
    DENIED,
    PARTITION_EOF,
    ResetPolicy,
    Watermarks,
    reason,
)
from consumer.offsets import is_foreign
from consumer.settings import Settings

TIMEOUT_S = 10.0
READ_S = 5.0
POLL_S, BATCH = 0.1, 100

# Only the first event at an offset is wanted: no more is read ahead than brokers send at once.
READ_LITTLE = {
    "queued.min.messages": "1",
    "fetch.min.bytes": "1",
    "fetch.wait.max.ms": "100",
    "fetch.message.max.bytes": str(64 * 1024),
}

_UNKNOWN = (KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION)  # noqa: SLF001 - librdkafka's own code has no public name
_REFUSED = (*DENIED, KafkaError.GROUP_AUTHORIZATION_FAILED)


class Committed(NamedTuple):
    """A committed offset; the product's own commits have the topic's id as their metadata."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Place:
    """A group's committed offset between the watermarks of its partition."""

    partition: int
    marks: Watermarks
    committed: Committed | None
    topic_id: str | None

    @property
    def foreign(self) -> bool:
        """Whether the commit is of another topic of this name, and says nothing of this one."""
        found = self.committed
        return found is not None and found.offset > 0 and is_foreign(found.metadata, self.topic_id)

    @property
    def trouble(self) -> str:
        """What is wrong with the commit, if anything is; `consumer.offset_plan` has the way out."""
        found, (low, high) = self.committed, self.marks
        if found is None:
            return ""
        if self.foreign:
            return f"committed in another topic of this name, id {found.metadata}"
        if found.offset < low:
            return f"retention removed offsets {found.offset} to {low - 1}"
        return f"{found.offset - high} beyond the end" if found.offset > high else ""

    @property
    def lag(self) -> int | None:
        """Offsets up to the end, as Kafka's tool counts; None if the commit says nothing of it."""
        found, high = self.committed, self.marks.high
        if found is None or self.foreign or found.offset > high:
            return None
        return high - found.offset

    def begin(self, policy: ResetPolicy) -> int:
        """Return the offset below which the group is done with what is left in the partition."""
        low, high = self.marks
        if self.committed is None:
            return high if policy == "latest" else low
        return low if self.foreign else min(max(self.committed.offset, low), high)


class Member(NamedTuple):
    """A member of a group, with its partitions of the topic; ``idle`` if it has none of any."""

    consumer_id: str
    host: str
    client_id: str
    partitions: frozenset[int]
    idle: bool


@dataclass(frozen=True, slots=True)
class Description:
    """A group's state, in Kafka's word, and its members."""

    state: str
    members: tuple[Member, ...]

    @property
    def exists(self) -> bool:
        """Whether the brokers know the group."""
        return self.state != ConsumerGroupState.DEAD.name

    @property
    def active(self) -> bool:
        """Whether it has members, or may have some in a moment."""
        at_rest = (ConsumerGroupState.EMPTY.name, ConsumerGroupState.DEAD.name)
        return bool(self.members) or self.state not in at_rest


def describe_group(admin: Any, settings: Settings) -> Description | None:
    """Return the group's state and members, None if the brokers tell nothing of groups.

    Raises ConfigError if the group may not be described, UnavailableError if no broker knew.
    """
    name = settings.group_id
    try:
        found = admin.describe_consumer_groups([name], request_timeout=TIMEOUT_S)[name].result()
    except KafkaException as error:
        code = error.args[0].code()
        if code in _UNKNOWN:
            return None
        if code == KafkaError.GROUP_ID_NOT_FOUND:
            return Description(ConsumerGroupState.DEAD.name, ())
        raise denied_or_unavailable(error, settings) from None
    members = (_member(each, settings.topic) for each in found.members)
    return Description(found.state.name, tuple(sorted(members)))


def _member(found: Any, topic: str) -> Member:
    places = found.assignment.topic_partitions
    mine = frozenset(place.partition for place in places if place.topic == topic)
    return Member(found.member_id, found.host, found.client_id, mine, not places)


def check_guarantee(admin: Any, settings: Settings) -> None:
    """Raise ConfigError if the group has members that run with the other guarantee.

    Known by their client id, so not where the user chose that, nor where brokers tell no members.
    """
    try:
        found = describe_group(admin, settings)
    except UnavailableError:  # whoever joins finds out
        return
    mine = settings.processing_guarantee
    for member in found.members if found else ():
        for guarantee, client_id in CLIENT_IDS.items():
            if member.client_id == client_id and guarantee != mine:
                raise ConfigError(
                    f"group {settings.group_id} is running with {guarantee} (member "
                    f"{member.consumer_id} at {member.host}), and a group is as strong as its "
                    f"weakest member: stop all of its consumers before one starts with {mine}, or "
                    f"use --processing-guarantee {guarantee}"
                )


def committed_offsets(
    consumer: Any, settings: Settings, partitions: Iterable[int]
) -> dict[int, Committed]:
    """Return the group's committed offsets, of partitions that have one.

    ``consumer`` is one with the group's id that never subscribes. Raises ConfigError if they may
    not be read, UnavailableError if no broker knew within ten seconds.
    """
    places = [TopicPartition(settings.topic, number) for number in partitions]

    def ask() -> list[TopicPartition]:
        try:
            found = list(consumer.committed(places, timeout=TIMEOUT_S / 2))
        except KafkaException as error:  # the group's coordinator may be moving
            raise denied_or_unavailable(error, settings) from None
        for place in found:
            if place.error is not None:
                raise denied_or_unavailable(KafkaException(place.error), settings)
        return found

    found = until(time.monotonic() + TIMEOUT_S, ask)
    return {p.partition: Committed(p.offset, p.metadata or "") for p in found if p.offset >= 0}


def denied_or_unavailable(error: KafkaException, settings: Settings) -> DynatomicError:
    """Return the error to raise for what the group's coordinator answered."""
    if error.args[0].code() in _REFUSED:
        return ConfigError(
            f"Kafka denies topic {settings.topic} or group {settings.group_id} "
            f"({error.args[0].name()}): allow Describe on both"
        )
    return UnavailableError(f"group {settings.group_id}: {reason(error)}; try again")


class Timestamps:
    """Reads when the first events at given offsets were made.

    ``consumer`` has no subscription, `READ_LITTLE` in its configuration and end-of-partition
    events. What was read is kept as long as the same offset is asked for.
    """

    def __init__(
        self, consumer: Any, settings: Settings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._consumer = consumer
        self._settings = settings
        self._clock = clock
        self._known: dict[int, tuple[int, float]] = {}

    def first(self, offsets: Mapping[int, int], timeout_s: float = READ_S) -> dict[int, float]:
        """Return the time, in seconds since 1970, of the first event from each offset on.

        None is there for a partition that has no event there, whose events carry no time, or that
        no broker sent within ``timeout_s``. Markers of transactions are no events.
        """
        self._known = {n: seen for n, seen in self._known.items() if offsets.get(n) == seen[0]}
        wanted = {n: offset for n, offset in offsets.items() if n not in self._known}
        if wanted:
            self._read(wanted, self._clock() + timeout_s)
        return {number: at for number, (_, at) in self._known.items()}

    def _read(self, wanted: dict[int, int], deadline: float) -> None:
        topic = self._settings.topic
        places = [TopicPartition(topic, number, offset) for number, offset in wanted.items()]
        self._consumer.assign(places)
        self._consumer.resume(places)  # librdkafka keeps a pause over assignments
        try:
            while wanted and self._clock() < deadline:
                messages = self._consumer.consume(BATCH, POLL_S)
                done = {message.partition() for message in messages if self._take(message, wanted)}
                if done and wanted:
                    self._consumer.pause([TopicPartition(topic, number) for number in done])
        finally:
            self._consumer.assign([])

    def _take(self, message: Any, wanted: dict[int, int]) -> bool:
        """Take in a message; tell whether it was the one that was wanted."""
        number, error = message.partition(), message.error()
        if error is not None and error.code() not in (PARTITION_EOF, AUTO_OFFSET_RESET):
            take_error(message, {}, self._settings)
            return False
        if number not in wanted:  # read ahead before it was paused
            return False
        offset = wanted.pop(number)
        kind, milliseconds = message.timestamp() if error is None else (0, -1)
        if kind and milliseconds >= 0:
            self._known[number] = (offset, milliseconds / 1000)
        return True
