"""Creates the topics that are missing, and checks the topics that exist."""

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


UNPACKED_SIZE_CONFIG = {"compression.type": "uncompressed"}
"""Makes the brokers unpack each batch, check its size, and store it without compression.

With all other values of ``compression.type`` they check the compressed size only.
"""


class Topic(NamedTuple):
    """A topic, and whether `create_topics` has just created it."""

    name: str
    partitions: int
    created: bool


def create_topics(
    settings: Settings,
    *,
    partitions: int = PARTITIONS,
    replication_factor: int = -1,
    check_unpacked_size: bool = False,
    timeout_s: float = 30.0,
) -> list[Topic]:
    """Create the topic and its dead-letter topic if they are missing; return both.

    An existing topic is not changed. ``replication_factor`` -1 means the brokers' default. With
    ``check_unpacked_size`` the brokers refuse a batch that is larger than ``max.message.bytes``
    after decompression (`UNPACKED_SIZE_CONFIG`). The dead-letter topic has one partition, keeps
    messages for 90 days and accepts messages of 10 MiB. Raises ConfigError, or UnavailableError
    after ``timeout_s`` seconds.
    """
    admin = new_admin(admin_config(settings))
    config = UNPACKED_SIZE_CONFIG if check_unpacked_size else {}
    wanted = [
        NewTopic(settings.topic, partitions, replication_factor, config=config),
        NewTopic(settings.dead_letters, 1, replication_factor, config=DEAD_LETTER_CONFIG),
    ]
    existing = {new.topic: find_partitions(admin, new.topic, timeout_s) for new in wanted}
    missing = [new for new in wanted if not existing[new.topic]]
    if missing:
        futures = admin.create_topics(
            missing, operation_timeout=timeout_s, request_timeout=timeout_s
        )
        for new in missing:
            try:
                futures[new.topic].result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise _not_created(new, error) from None
                existing[new.topic] = topic_partitions(admin, new.topic, timeout_s)
    return [
        Topic(
            name=new.topic,
            partitions=len(existing[new.topic]) or new.num_partitions,
            created=not existing[new.topic],
        )
        for new in wanted
    ]


def _not_created(new: NewTopic, error: KafkaException) -> DynatomicError:
    code = error.args[0].code()
    what = f"topic {new.topic!r} could not be created ({reason(error)})"
    if code in DENIED:
        return ConfigError(f"{what}; allow Create on it, or ask an administrator to create it")
    if code in _UNSUPPORTED:
        return ConfigError(
            f"{what}; these brokers do not let clients create topics: create it on the brokers"
        )
    if code in _TIMED_OUT:
        return UnavailableError(f"{what}; the brokers did not answer in time, try again")
    return ConfigError(what) if code in _IMPOSSIBLE else DynatomicError(what)


def topic_id(admin: AdminClient, topic: str, timeout_s: float = 10.0) -> str | None:
    """Return the topic's id as 32 hex digits, None if the brokers have no topic ids.

    A topic that is deleted and created again has another id (KIP-516, Kafka 2.8 and later). Raises
    ConfigError if the topic does not exist or Describe on it is denied, UnavailableError if no
    broker answered within ``timeout_s`` seconds.
    """
    topic_partitions(admin, topic, timeout_s)
    future = admin.describe_topics(TopicCollection([topic]), request_timeout=timeout_s)[topic]
    try:
        return hex_id(future.result())
    except KafkaException as error:
        raise UnavailableError(
            f"topic {topic!r}: its id is not known ({reason(error)}); try again"
        ) from None


def required_topic_id(admin: AdminClient, settings: Settings) -> str | None:
    """Return the topic's id as `topic_id` does; ConfigError if exactly-once has no id."""
    current_id = topic_id(admin, settings.topic)
    if current_id is None and settings.exactly_once:
        raise ConfigError(
            "processing_guarantee: exactly-once needs topics with an id: use Kafka 2.8 or later "
            "(KRaft, or inter.broker.protocol.version 2.8 or later), or at-least-once"
        )
    return current_id


def hex_id(description: Any) -> str | None:
    """Return the id of a described topic as hex; librdkafka's own form contains ``/`` and ``+``."""
    high = description.topic_id.get_most_significant_bits() % 2**64
    low = description.topic_id.get_least_significant_bits() % 2**64
    return f"{high:016x}{low:016x}" if high or low else None


def check_not_compacted(settings: Settings, *topics: str, timeout_s: float = 10.0) -> None:
    """Raise ConfigError if a topic is compacted.

    A compacted topic keeps only the last message of each key and refuses messages without a key.
    Without ``topics``, the topic of the events and the dead-letter topic are checked. A topic whose
    configuration cannot be read passes.
    """
    admin: AdminClient = new_admin(admin_config(settings))
    names = topics or (settings.topic, settings.dead_letters)
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    futures = admin.describe_configs(resources, request_timeout=timeout_s)
    for name, resource in zip(names, resources, strict=True):
        try:
            config = futures[resource].result()
        except KafkaException:
            continue
        policy = config["cleanup.policy"].value if "cleanup.policy" in config else "delete"
        if "compact" in policy:
            raise ConfigError(
                f"topic {name!r} has cleanup.policy={policy}, which drops messages of a key "
                "that has newer ones: set cleanup.policy=delete"
            )


def compression_type(admin: AdminClient, topic: str, timeout_s: float = 10.0) -> str | None:
    """Return the topic's ``compression.type``, None if its configuration cannot be read."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        config = admin.describe_configs([resource], request_timeout=timeout_s)[resource].result()
    except KafkaException:
        return None
    return config["compression.type"].value if "compression.type" in config else None


def broker_config(admin: Any, name: str, timeout_s: float = 10.0) -> str | None:
    """Return a setting of the first broker, None if it cannot be read or is not there."""
    try:
        brokers = admin.list_topics(timeout=timeout_s).brokers
        resource = ConfigResource(ResourceType.BROKER, str(next(iter(brokers))))
        futures = admin.describe_configs([resource], request_timeout=timeout_s)
        value: str | None = futures[resource].result()[name].value
    except (KafkaException, KeyError, StopIteration):
        return None
    return value
