"""The description and the committed offsets of a consumer group.

The functions are for clients that are no members: they join no group and commit nothing.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupType,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from dynatomic.config.settings import GroupProtocol, Settings
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError, suggestion
from dynatomic.kafka.client import DENIED, reason
from dynatomic.retry import until

TIMEOUT_S = 10.0


_UNKNOWN = (KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION)  # noqa: SLF001 - librdkafka's own code has no public name
_REFUSED = (*DENIED, KafkaError.GROUP_AUTHORIZATION_FAILED)


class CommittedOffset(NamedTuple):
    """A committed offset and its metadata, the text of `commit_metadata`."""

    offset: int
    metadata: str


class GroupMember(NamedTuple):
    """A member of a group, with its partitions of the topic; ``idle`` without any partition."""

    consumer_id: str
    host: str
    client_id: str
    partitions: frozenset[int]
    idle: bool


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """The state of a group, by Kafka's name, its members, its protocol and its assignor.

    ``assignor`` is empty while the group has not agreed on one. With the group protocol 'consumer'
    (KIP-848) it is an assignor of the brokers.
    """

    state: str
    members: tuple[GroupMember, ...]
    protocol: GroupProtocol = "classic"
    assignor: str = ""

    @property
    def exists(self) -> bool:
        """Whether the brokers know the group."""
        return self.state != ConsumerGroupState.DEAD.name

    @property
    def active(self) -> bool:
        """Whether the group has members, or members are about to join."""
        at_rest = (ConsumerGroupState.EMPTY.name, ConsumerGroupState.DEAD.name)
        return bool(self.members) or self.state not in at_rest


def describe_group(admin: Any, settings: Settings) -> GroupDescription | None:
    """Return the group's state and members, None if the brokers cannot describe groups.

    Raises ConfigError if Describe on the group is denied, UnavailableError if no broker answered.
    """
    name = settings.group_id
    try:
        group = admin.describe_consumer_groups([name], request_timeout=TIMEOUT_S)[name].result()
    except KafkaException as error:
        code = error.args[0].code()
        if code in _UNKNOWN:
            return None
        if code == KafkaError.GROUP_ID_NOT_FOUND:
            return GroupDescription(ConsumerGroupState.DEAD.name, ())
        raise denied_or_unavailable(error, settings) from None
    members = (_member(member, settings.topic) for member in group.members)
    is_classic = group.type != ConsumerGroupType.CONSUMER
    return GroupDescription(
        state=group.state.name,
        members=tuple(sorted(members)),
        protocol="classic" if is_classic else "consumer",
        assignor=group.partition_assignor or "",
    )


def _member(member: Any, topic: str) -> GroupMember:
    assigned = member.assignment.topic_partitions
    partitions = frozenset(tp.partition for tp in assigned if tp.topic == topic)
    return GroupMember(
        member.member_id, member.host, member.client_id, partitions, idle=not assigned
    )


def missing_group(admin: Any, settings: Settings) -> DynatomicError:
    """Return the error to raise where the group does not exist, with a similar one that does."""
    try:
        listed = admin.list_consumer_groups(request_timeout=TIMEOUT_S).result()
        names = [group.group_id for group in listed.valid]
    except KafkaException:
        names = []  # without the permission there is no suggestion
    return DynatomicError(
        f"group {settings.group_id} does not exist at {settings.bootstrap_servers}; check "
        f"-g/--group-id{suggestion(settings.group_id, names)}"
    )


def committed_offsets(
    consumer: Any, settings: Settings, partitions: Iterable[int]
) -> dict[int, CommittedOffset]:
    """Return the group's committed offsets, for the partitions that have one.

    ``consumer`` has the group's id and never subscribes. Raises ConfigError if Describe is denied,
    UnavailableError if no broker answered within ten seconds.
    """
    wanted = [TopicPartition(settings.topic, partition) for partition in partitions]

    def ask() -> list[TopicPartition]:
        try:
            committed = list(consumer.committed(wanted, timeout=TIMEOUT_S / 2))
        except KafkaException as error:  # the group's coordinator may be moving
            raise denied_or_unavailable(error, settings) from None
        for topic_partition in committed:
            if topic_partition.error is not None:
                raise denied_or_unavailable(KafkaException(topic_partition.error), settings)
        return committed

    return {
        tp.partition: CommittedOffset(tp.offset, tp.metadata or "")
        for tp in until(
            time.monotonic() + TIMEOUT_S, ask, f"the coordinator of group {settings.group_id}"
        )
        if tp.offset >= 0
    }


def denied_or_unavailable(error: KafkaException, settings: Settings) -> DynatomicError:
    """Return the error to raise for an error of the group's coordinator."""
    if error.args[0].code() in _REFUSED:
        return ConfigError(
            f"Kafka denies topic {settings.topic} or group {settings.group_id} "
            f"({error.args[0].name()}): allow Describe on both"
        )
    return UnavailableError(f"group {settings.group_id}: {reason(error)}; try again")
