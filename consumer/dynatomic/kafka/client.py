"""The Kafka clients, their configuration, and what a topic's metadata says.

The user's properties (``-X name=value``) win over the defaults here, except those that
`config.properties` refuses. librdkafka's log goes to this module's logger. It is served by
``poll``, ``consume`` and ``flush`` only, as all callbacks are: a client that is never polled is
silent. No client survives a ``fork``: make it in the process that uses it.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from dynatomic.config.properties import Kind, check_properties, for_kind
from dynatomic.config.settings import ProcessingGuarantee, Settings
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.kafka import msk_iam as msk
from dynatomic.kafka.log_filter import RateLimitFilter

log = logging.getLogger(__name__)
log.addFilter(RateLimitFilter())

# Dead letters hold whole bad payloads, and a compressed batch of the 1 MiB that a topic takes by
# default may unpack to more.
MAX_MESSAGE_BYTES = 10 * 1024 * 1024

DENIED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
_LOGIN = (
    KafkaError._AUTHENTICATION,  # noqa: SLF001
    KafkaError._SSL,  # noqa: SLF001
    KafkaError.SASL_AUTHENTICATION_FAILED,
)
ResetPolicy = Literal["earliest", "latest", "error"]

CLIENT_IDS: dict[ProcessingGuarantee, str] = {
    "at-least-once": "dynatomic",
    "exactly-once": "dynatomic-exactly-once",
}
"""What a group member is called, unless the user names it: tells others its guarantee."""

# librdkafka's own codes have no public names in Python.
PARTITION_EOF = KafkaError._PARTITION_EOF  # noqa: SLF001
AUTO_OFFSET_RESET = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001
FATAL = KafkaError._FATAL  # noqa: SLF001
PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)  # noqa: SLF001


class Watermarks(NamedTuple):
    """The offsets of a partition's first row and of the one that comes next (last stable)."""

    low: int
    high: int


def consumer_config(settings: Settings, *, eof: bool = False) -> dict[str, Any]:
    """Return the configuration of a group member; ``eof`` asks for end-of-partition events.

    Session and poll time-outs are Kafka's own: shorter ones notice a dead member sooner, and
    more often take a slow one for dead, which costs a rebalance and double counts.
    """
    config: dict[str, Any] = {
        # At its default of 1000, a full queue stops the fetcher for a second.
        "fetch.queue.backoff.ms": "10",
        # What librdkafka reads ahead takes some 300 bytes a message, and its defaults hold 100,000
        # of each partition and more: most of the memory, and colder caches, for no more speed.
        "queued.min.messages": "20000",
        "queued.max.messages.kbytes": "16384",
        "fetch.message.max.bytes": str(256 * 1024),
    }
    if "message.max.bytes" not in settings.librdkafka:  # librdkafka wants no less than that
        config["fetch.max.bytes"] = str(1024 * 1024)
    if settings.group_protocol == "classic":
        config["partition.assignment.strategy"] = "cooperative-sticky"
    config |= _common(settings, "consumer", CLIENT_IDS[settings.processing_guarantee])
    return config | {
        "group.id": settings.group_id,
        "group.protocol": settings.group_protocol,
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        # The worker itself starts a partition that has no committed offset: see reset_policy.
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "check.crcs": "true",
        "enable.partition.eof": "true" if eof else "false",
    }


def reset_policy(settings: Settings) -> ResetPolicy:
    """Return where a partition without a committed offset starts; ``earliest`` by default."""
    return cast("ResetPolicy", settings.librdkafka.get("auto.offset.reset", "earliest"))


def producer_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of a producer that neither loses, doubles nor reorders rows.

    Keys are hashed as the producers of other languages do it (murmur2).
    """
    config: dict[str, Any] = {
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "message.max.bytes": str(MAX_MESSAGE_BYTES),
        "delivery.timeout.ms": "120000",
        "queue.buffering.max.kbytes": str(64 * 1024),
    }
    config |= _common(settings, "producer")
    return config | {"acks": "all", "enable.idempotence": "true"}


def admin_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of an admin client."""
    return _common(settings, "admin")


def _common(settings: Settings, kind: Kind, client_id: str = "dynatomic") -> dict[str, Any]:
    check_properties(settings.librdkafka, settings.group_protocol, settings.tls_verification)
    login = (
        msk.login(settings.bootstrap_servers, settings.librdkafka)
        if settings.kafka_auth == "msk-iam"
        else {}
    )
    return {
        "client.id": client_id,
        # A misspelt topic is an error, not a new topic that nobody reads.
        "allow.auto.create.topics": "false",
        "topic.metadata.propagation.max.ms": "10000",
        **for_kind(settings.librdkafka, kind),
        **login,
        "bootstrap.servers": settings.bootstrap_servers,
        "logger": log,
    }


def new_consumer(config: dict[str, Any]) -> Consumer:
    """Make a consumer; raises ConfigError for what librdkafka does not accept."""
    return cast("Consumer", _made(Consumer, config))


def new_producer(config: dict[str, Any]) -> Producer:
    """Make a producer; raises ConfigError for what librdkafka does not accept."""
    return cast("Producer", _made(Producer, config))


def new_admin(config: dict[str, Any]) -> AdminClient:
    """Make an admin client; raises ConfigError for what librdkafka does not accept."""
    return cast("AdminClient", _made(AdminClient, config))


def _made(kind: Callable[[dict[str, Any]], object], config: dict[str, Any]) -> object:
    if "oauth_cb" in config:
        config["oauth_cb"]("")  # says why there is no token; librdkafka would wait for it and not
    try:
        return kind(config)
    except (KafkaException, TypeError, ValueError) as error:
        raise ConfigError(f"Kafka client: {reason(error)}; check -X and [librdkafka]") from None


def reason(error: BaseException | KafkaError) -> str:
    """Return what went wrong in one line."""
    cause = error.__cause__ if isinstance(error, BaseException) else None
    if isinstance(cause, KafkaException):
        return reason(cause)
    if isinstance(error, KafkaException) and isinstance(error.args[0], KafkaError):
        return reason(error.args[0])
    text = error.str() if isinstance(error, KafkaError) else str(error)
    return " ".join(text.split())


def wait_for_kafka(
    settings: Settings, timeout_s: float, clock: Callable[[], float] = time.monotonic
) -> None:
    """Return as soon as a broker answers.

    Raises UnavailableError if none did within ``timeout_s`` seconds, and ConfigError if the
    brokers were there but refused the login.
    """
    deadline = clock() + timeout_s
    seen: list[KafkaError] = []
    config = {"reconnect.backoff.max.ms": "1000", "log_level": "0"} | admin_config(settings)
    admin = new_admin(config | {"error_cb": seen.append})
    while True:
        try:
            admin.list_topics(settings.topic, timeout=min(1.0, max(0.01, deadline - clock())))
        except KafkaException as error:
            admin.poll(0.05)  # serves error_cb
            if clock() >= deadline:
                raise _unreachable(settings, timeout_s, seen, error) from None
        else:
            return


def _unreachable(
    settings: Settings, timeout_s: float, seen: list[KafkaError], error: KafkaException
) -> DynatomicError:
    where = f"{settings.bootstrap_servers} within {timeout_s:g} s"
    for refusal in reversed(seen):
        if refusal.code() in _LOGIN:
            return ConfigError(
                f"no broker let us in at {where} ({reason(refusal)}); "
                "check security.protocol, sasl.* and ssl.* (-X)"
            )
    down = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001
    why = next((reason(e) for e in reversed(seen) if e.code() != down), reason(error))
    return UnavailableError(
        f"no Kafka broker answered at {where} ({why}); "
        "check that it is running, and -b/--bootstrap-servers"
    )


def topic_partitions(
    client: Consumer | AdminClient, topic: str, timeout_s: float = 10.0
) -> list[int]:
    """Return the topic's partition numbers.

    Raises ConfigError if there is no such topic or it may not be seen, UnavailableError if no
    broker knew within ``timeout_s`` seconds.
    """
    partitions = find_partitions(client, topic, timeout_s)
    if not partitions:
        raise ConfigError(f"topic {topic!r} does not exist; create it with `dynatomic init`")
    return partitions


def find_partitions(client: Consumer | AdminClient, topic: str, timeout_s: float) -> list[int]:
    """Return the partition numbers, none for a topic that does not exist."""
    try:
        found = client.list_topics(topic, timeout=timeout_s).topics[topic]
    except KafkaException as error:
        raise UnavailableError(
            f"topic {topic!r}: no broker answered ({reason(error)}); "
            "check that Kafka is running, and -b/--bootstrap-servers"
        ) from None
    if found.error is None:
        return sorted(found.partitions)
    if found.error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):  # noqa: SLF001
        return []
    if found.error.code() in DENIED:
        raise ConfigError(f"topic {topic!r} may not be seen; allow Describe on it")
    raise UnavailableError(f"topic {topic!r}: {reason(found.error)}; try again")


def watermarks(
    consumer: Consumer,
    topic: str,
    timeout_s: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
) -> dict[int, Watermarks]:
    """Return the watermarks of all partitions, asked from the brokers now.

    ``high`` is the last stable offset: what an open transaction holds back is not before it.
    It may stand above the last row's offset plus one, for transactions leave markers. Raises as
    `topic_partitions` does; ``timeout_s`` bounds the whole call, in seconds.
    """
    deadline = clock() + timeout_s
    found = {}
    for partition in topic_partitions(consumer, topic, timeout_s):
        left = max(0.01, deadline - clock())
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), left)
        except KafkaException as error:
            raise UnavailableError(
                f"topic {topic!r}, partition {partition}: no end offset ({reason(error)}); "
                "try again"
            ) from None
        found[partition] = Watermarks(low, high)
    return found
