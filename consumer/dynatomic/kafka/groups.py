"""A consumer group as ``kafka-consumer-groups --describe`` asks for it, and the ages of its events.

Asked from outside: no group is joined, and nothing is committed.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.kafka.client import (
    CLIENT_IDS,
    DENIED,
    reason,
)
from dynatomic.retry import until

TIMEOUT_S = 10.0


_UNKNOWN = (KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION)  # noqa: SLF001 - librdkafka's own code has no public name
_REFUSED = (*DENIED, KafkaError.GROUP_AUTHORIZATION_FAILED)


class CommittedOffset(NamedTuple):
    """A committed offset; the product's own commits have the topic's id as their metadata."""

    offset: int
    metadata: str


class GroupMember(NamedTuple):
    """A member of a group, with its partitions of the topic; ``idle`` if it has none of any."""

    consumer_id: str
    host: str
    client_id: str
    partitions: frozenset[int]
    idle: bool


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """A group's state, in Kafka's word, and its members."""

    state: str
    members: tuple[GroupMember, ...]

    @property
    def exists(self) -> bool:
        """Whether the brokers know the group."""
        return self.state != ConsumerGroupState.DEAD.name

    @property
    def active(self) -> bool:
        """Whether it has members, or may have some in a moment."""
        at_rest = (ConsumerGroupState.EMPTY.name, ConsumerGroupState.DEAD.name)
        return bool(self.members) or self.state not in at_rest


def describe_group(admin: Any, settings: Settings) -> GroupDescription | None:
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
            return GroupDescription(ConsumerGroupState.DEAD.name, ())
        raise denied_or_unavailable(error, settings) from None
    members = (_member(each, settings.topic) for each in found.members)
    return GroupDescription(found.state.name, tuple(sorted(members)))


def _member(found: Any, topic: str) -> GroupMember:
    places = found.assignment.topic_partitions
    mine = frozenset(place.partition for place in places if place.topic == topic)
    return GroupMember(found.member_id, found.host, found.client_id, mine, not places)


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
) -> dict[int, CommittedOffset]:
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
    return {
        p.partition: CommittedOffset(p.offset, p.metadata or "") for p in found if p.offset >= 0
    }


def denied_or_unavailable(error: KafkaException, settings: Settings) -> DynatomicError:
    """Return the error to raise for what the group's coordinator answered."""
    if error.args[0].code() in _REFUSED:
        return ConfigError(
            f"Kafka denies topic {settings.topic} or group {settings.group_id} "
            f"({error.args[0].name()}): allow Describe on both"
        )
    return UnavailableError(f"group {settings.group_id}: {reason(error)}; try again")
