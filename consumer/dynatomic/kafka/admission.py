"""Whether a consumer group accepts this consumer as a member, and the reason if not.

A group takes only members that know its protocol and its assignor. It takes members of both group
protocols at a time if the brokers convert it (KIP-848, ``group.consumer.migration.policy``). What
the brokers refuse with which error was observed on Kafka 3.9 and 4.4 with librdkafka 2.16.
"""

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, GroupRefusedError, UnavailableError
from dynatomic.kafka.client import ASSIGNOR, FATAL, member_kind
from dynatomic.kafka.commit_metadata import is_foreign, parse
from dynatomic.kafka.groups import CommittedOffset, GroupDescription, describe_group
from dynatomic.kafka.topics import broker_config

log = logging.getLogger(__name__)

PROTOCOLS_NAME = "group.coordinator.rebalance.protocols"
"""The group protocols that a broker has; Kafka has this setting since 3.7."""

MAX_NAMED = 5
OWN_PREFIX = "dynatomic"
"""The client ids of this package begin with this; a client id that the user set may too."""

_HEARTBEAT = "ConsumerGroupHeartbeat fatal error"
_NOT_SUPPORTED = KafkaError(KafkaError.UNSUPPORTED_VERSION).str()
_NOT_CONVERTED = KafkaError(KafkaError.GROUP_ID_NOT_FOUND).str()


def check_group(admin: Any, settings: Settings, fingerprint: str | None = None) -> str:
    """Raise ConfigError if this consumer cannot be in the group with the members that it has.

    ``fingerprint`` is that of the counters file, None for row events. Returns a note on what could
    not be checked and on members of other programs, empty if there is nothing. Nothing
    about the members is checked where the brokers cannot describe groups.
    """
    try:
        group = describe_group(admin, settings)
    except UnavailableError:  # joining the group reports this
        return ""
    foreign = ""
    if group is not None:
        _check_assignor(group, settings)
        _check_guarantee(group, settings)
        _check_counters(group, settings, fingerprint)
        foreign = _foreign_members(group, settings)
    return foreign + _check_protocol(admin, group, settings)


def _foreign_members(group: GroupDescription, settings: Settings) -> str:
    """Log the members of other programs, and return a note; empty if there is none.

    The brokers give them partitions, and events that they commit are not counted. A client id that
    the user set shows nothing, so they are not refused.
    """
    if "client.id" in settings.librdkafka:
        return ""
    client_ids = {m.client_id for m in group.members if not m.client_id.startswith(OWN_PREFIX)}
    if not client_ids:
        return ""
    names = ", ".join(sorted(client_ids)[:MAX_NAMED])
    log.warning(
        "group has other members",
        extra={"fields": {"group": settings.group_id, "client_ids": names}},
    )
    return f"; members of other programs: {names}; events that they commit are not counted"


def _check_assignor(group: GroupDescription, settings: Settings) -> None:
    if "classic" == settings.group_protocol == group.protocol and group.assignor not in (
        "",
        ASSIGNOR,
    ):
        raise ConfigError(
            f"group {settings.group_id} is in use with the assignor {group.assignor}"
            f"{_first_member(group)}, and dynatomic joins only with {ASSIGNOR}: choose another "
            "--group-id, or stop all of these consumers if the group belongs to dynatomic"
        )


def _check_guarantee(group: GroupDescription, settings: Settings) -> None:
    # The client id shows a member's guarantee. The check finds nothing where the user set it.
    own = settings.processing_guarantee
    for member in group.members:
        kind = member_kind(member.client_id)
        if kind is not None and kind.guarantee != own:
            raise ConfigError(
                f"group {settings.group_id} is running with {kind.guarantee} (member "
                f"{member.consumer_id} at {member.host}), and one member without fences can "
                f"count events twice: stop all of its consumers before one starts with {own}, or "
                f"use --processing-guarantee {kind.guarantee}"
            )


def _check_counters(group: GroupDescription, settings: Settings, fingerprint: str | None) -> None:
    for member in group.members:
        kind = member_kind(member.client_id)
        if kind is not None and kind.fingerprint != fingerprint:
            raise ConfigError(
                f"group {settings.group_id} is counting by {file_of(kind.fingerprint)} (member "
                f"{member.consumer_id} at {member.host}), and this consumer by "
                f"{file_of(fingerprint)}: all members need one file; use the same file, or "
                "stop all of them first"
            )


def file_of(fingerprint: str | None) -> str:
    """Return a description of the events that a fingerprint belongs to."""
    return f"the counters file {fingerprint}" if fingerprint else "row events"


def check_commits(
    commits: Mapping[int, CommittedOffset],
    settings: Settings,
    topic_id: str | None,
    fingerprint: str | None,
) -> None:
    """Raise ConfigError if the group has committed offsets by another counters file.

    A commit that names no file, such as a commit of the tools of Kafka, is ignored.
    """
    for partition, commit in sorted(commits.items()):
        known = parse(commit.metadata).counters
        if is_foreign(commit.metadata, topic_id) or known in (None, fingerprint):
            continue
        raise ConfigError(
            f"group {settings.group_id} has counted {settings.topic}:{partition} by "
            f"{file_of(known)}, and this is {file_of(fingerprint)}: to change what is counted, let "
            "the group count to the end with its file, stop it, run `dynatomic verify --snapshot "
            "FILE`, and start once with --accept-counters"
        )


def _check_protocol(admin: Any, group: GroupDescription | None, settings: Settings) -> str:
    if settings.group_protocol == "classic":
        return ""
    if group is not None and group.active and group.protocol == "consumer":
        return ""
    protocols = broker_config(admin, PROTOCOLS_NAME)
    if protocols is None:
        return "; the brokers do not say whether they have the group protocol consumer"
    if "consumer" not in protocols.replace(" ", "").split(","):
        raise ConfigError(
            f"the brokers do not have the group protocol consumer ({PROTOCOLS_NAME}={protocols}): "
            "use --group-protocol classic, or Kafka 4.0 or later with this protocol"
        )
    return ""


def refusal_of(error: KafkaError, settings: Settings) -> GroupRefusedError | None:
    """Return the error to end with if a client's error says that the group refuses this member.

    With the group protocol 'consumer' the client reports it as a fatal error with a text.
    """
    group = settings.group_id
    if error.code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL:
        return GroupRefusedError(
            f"group {group} refuses this consumer ({error.name()}): its members have another "
            f"assignor than {ASSIGNOR}, or another protocol; choose another --group-id, or stop "
            "all of its other consumers"
        )
    text = error.str()
    if error.code() != FATAL or _HEARTBEAT not in text:
        return None
    if _NOT_SUPPORTED in text:
        return GroupRefusedError(
            f"the brokers do not have the group protocol consumer, which group {group} is to use: "
            "use --group-protocol classic, or Kafka 4.0 or later with this protocol"
        )
    if _NOT_CONVERTED in text:
        return GroupRefusedError(
            f"group {group} refuses this consumer: its members use the group protocol classic, and "
            "the brokers do not convert it (group.consumer.migration.policy); use --group-protocol "
            "classic, or stop all of its consumers first"
        )
    return None


def explain_refusal(admin: Any, settings: Settings, refusal: GroupRefusedError) -> ConfigError:
    """Return the refusal with what the members use, as far as the group can be described now."""
    try:
        group = describe_group(admin, settings)
        if group is not None:
            _check_assignor(group, settings)
    except ConfigError as cause:
        return cause
    except UnavailableError:
        return refusal
    if group is None or group.protocol == settings.group_protocol or not group.active:
        return refusal
    return ConfigError(
        f"group {settings.group_id} is in use with the group protocol {group.protocol}"
        f"{_first_member(group)}, and refuses a member with {settings.group_protocol}: use "
        f"--group-protocol {group.protocol}, or stop all of its consumers first"
    )


def _first_member(group: GroupDescription) -> str:
    return "".join(f" (member {m.consumer_id} at {m.host})" for m in group.members[:1])
