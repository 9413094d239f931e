"""The topics that the product needs: made where missing, and checked."""

import re
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic  # admin has it too, but its types do not say so

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.kafka.client import (
    DENIED,
    MAX_MESSAGE_BYTES,
    admin_config,
    find_partitions,
    new_admin,
    reason,
    topic_partitions,
)

PARTITIONS = 6
DEAD_LETTER_CONFIG = {
    "cleanup.policy": "delete",
    "retention.ms": str(90 * 24 * 3600 * 1000),
    "max.message.bytes": str(MAX_MESSAGE_BYTES),
}

_UNSUPPORTED = (KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION)  # noqa: SLF001
_TIMED_OUT = (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT)  # noqa: SLF001
_IMPOSSIBLE = (
    KafkaError.INVALID_REPLICATION_FACTOR,
    KafkaError.INVALID_PARTITIONS,
    KafkaError.INVALID_CONFIG,
    KafkaError.POLICY_VIOLATION,
    KafkaError.TOPIC_EXCEPTION,
)


class Topic(NamedTuple):
    """A topic and whether `create_topics` has just made it."""

    name: str
    partitions: int
    created: bool


def create_topics(
    settings: Settings,
    *,
    partitions: int = PARTITIONS,
    replication_factor: int = -1,
    timeout_s: float = 30.0,
) -> list[Topic]:
    """Make the topic and its dead-letter topic where they are missing; return both.

    A topic that exists is left as it is. ``replication_factor`` -1 is the brokers' default. The
    dead-letter topic has one partition, keeps 90 days and takes messages of 10 MiB. Raises
    ConfigError, or UnavailableError after ``timeout_s`` seconds.
    """
    admin = new_admin(admin_config(settings))
    wanted = [
        NewTopic(settings.topic, partitions, replication_factor),
        NewTopic(settings.dead_letters, 1, replication_factor, config=DEAD_LETTER_CONFIG),
    ]
    found = {new.topic: find_partitions(admin, new.topic, timeout_s) for new in wanted}
    missing = [new for new in wanted if not found[new.topic]]
    if missing:
        made = admin.create_topics(missing, operation_timeout=timeout_s, request_timeout=timeout_s)
        for new in missing:
            try:
                made[new.topic].result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise _not_created(new, error) from None
                found[new.topic] = topic_partitions(admin, new.topic, timeout_s)
    return [
        Topic(new.topic, len(found[new.topic]) or new.num_partitions, not found[new.topic])
        for new in wanted
    ]


def _not_created(new: NewTopic, error: KafkaException) -> DynatomicError:
    code = error.args[0].code()
    what = f"topic {new.topic!r} could not be created ({reason(error)})"
    if code in DENIED:
        return ConfigError(f"{what}; allow Create on it, or have it created for you")
    if code in _UNSUPPORTED:
        return ConfigError(f"{what}; these brokers create no topics for clients: create it there")
    if code in _TIMED_OUT:
        return UnavailableError(f"{what}; the brokers did not answer in time, try again")
    return ConfigError(what) if code in _IMPOSSIBLE else DynatomicError(what)


def topic_id(admin: AdminClient, topic: str, timeout_s: float = 10.0) -> str | None:
    """Return the topic's id in 32 hex digits, None if the brokers give topics none.

    A topic that is deleted and made again has another one (KIP-516, brokers from 2.8). Raises
    ConfigError if there is no such topic or it may not be seen, UnavailableError if no broker knew
    within ``timeout_s`` seconds.
    """
    topic_partitions(admin, topic, timeout_s)
    future = admin.describe_topics(TopicCollection([topic]), request_timeout=timeout_s)[topic]
    try:
        return hex_id(future.result())
    except KafkaException as error:
        raise UnavailableError(
            f"topic {topic!r}: its id is not known ({reason(error)}); try again"
        ) from None


def identity_of(admin: AdminClient, settings: Settings) -> str | None:
    """Return the topic's id as `topic_id` does; ConfigError where exactly-once lacks one."""
    found = topic_id(admin, settings.topic)
    if found is None and settings.exactly_once:
        raise ConfigError(
            "processing_guarantee: exactly-once needs topics with an id: use brokers with Kafka "
            "from 2.8 (KRaft, or inter.broker.protocol.version from 2.8), or at-least-once"
        )
    return found


def hex_id(found: Any) -> str | None:
    """Return the id of a described topic; printed by librdkafka it has ``/`` and ``+``."""
    high = found.topic_id.get_most_significant_bits() % 2**64
    low = found.topic_id.get_least_significant_bits() % 2**64
    return f"{high:016x}{low:016x}" if high or low else None


def check_not_compacted(settings: Settings, *topics: str, timeout_s: float = 10.0) -> None:
    """Raise ConfigError if a topic is compacted: of a key's messages only the last would stay.

    And it takes none without a key. Without ``topics``, the events' and the dead letters' topic are
    checked. Brokers that do not tell a topic's configuration, or may not, are believed.
    """
    admin: AdminClient = new_admin(admin_config(settings))
    names = topics or (settings.topic, settings.dead_letters)
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    told = admin.describe_configs(resources, request_timeout=timeout_s)
    for name, resource in zip(names, resources, strict=True):
        try:
            found = told[resource].result()
        except KafkaException:
            continue
        policy = found["cleanup.policy"].value if "cleanup.policy" in found else "delete"
        if "compact" in policy:
            raise ConfigError(
                f"topic {name!r} has cleanup.policy={policy}, which drops messages of a key "
                "that has newer ones: set cleanup.policy=delete"
            )


_ID = re.compile(r"[0-9a-f]{32}")


def is_foreign(about: str, topic_id: str | None) -> bool:
    """Tell whether a commit's metadata names another topic's id."""
    return bool(topic_id and _ID.fullmatch(about) and about != topic_id)
