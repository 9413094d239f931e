"""The Kafka clients, their configuration, and the metadata of topics.

The user's properties (``-X name=value``) override the defaults here, except those that
`config.properties` refuses. librdkafka logs to this module's logger. Like all callbacks, log lines
are delivered only inside ``poll``, ``consume`` and ``flush``: a client that is never polled logs
nothing. A client cannot be used after a ``fork``: create it in the process that uses it.
"""

import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from dynatomic.config.properties import ClientKind, check_properties, for_kind
from dynatomic.config.settings import ProcessingGuarantee, Settings
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.kafka import msk_iam as msk
from dynatomic.kafka.log_filter import ClientMessageFilter, RateLimitFilter

log = logging.getLogger(__name__)
log.addFilter(RateLimitFilter())
log.addFilter(ClientMessageFilter())

# A dead letter contains the whole payload of an invalid event, and a compressed batch of 1 MiB,
# the default limit of a topic, can be larger after decompression.
MAX_MESSAGE_BYTES = 10 * 1024 * 1024

DENIED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
ResetPolicy = Literal["earliest", "latest", "error"]

ASSIGNOR = "cooperative-sticky"
"""The only assignor of the group protocol ``classic``; all members of a group need the same."""

CLIENT_IDS: dict[ProcessingGuarantee, str] = {
    "at-least-once": "dynatomic",
    "exactly-once": "dynatomic-exactly-once",
}
"""The client id of a group member, unless the user sets it; shows its processing guarantee."""

_CLIENT_ID = re.compile(
    r"(dynatomic(?:-exactly-once)?)(?:-counters-([0-9a-f]{8}))?(?:@([A-Za-z0-9._-]+:\d+))?"
)
_MAX_HOST_CHARACTERS = 63


class MemberKind(NamedTuple):
    """What the client id of a member shows; ``fingerprint`` None for a member that reads rows.

    ``process`` is its host and process id, such as ``worker-1:4711``; None if it is not shown.
    """

    guarantee: ProcessingGuarantee
    fingerprint: str | None
    process: str | None = None


def client_id(guarantee: ProcessingGuarantee, fingerprint: str | None) -> str:
    """Return the client id of a member, which counts by the counters file of this fingerprint.

    It ends with the host and the id of this process.
    """
    counters = f"-counters-{fingerprint}" if fingerprint else ""
    return f"{CLIENT_IDS[guarantee]}{counters}@{this_process()}"


def own_client_id(settings: Settings) -> str:
    """Return the client id of this process as a member of the group, unless the user sets it."""
    return client_id(settings.processing_guarantee, None)


def this_process() -> str:
    """Return the name of this host and the id of this process, such as ``worker-1:4711``."""
    host = re.sub(r"[^A-Za-z0-9._-]", "_", socket.gethostname())[:_MAX_HOST_CHARACTERS]
    return f"{host or 'unknown'}:{os.getpid()}"


def member_kind(text: str) -> MemberKind | None:
    """Return what a client id shows, None if the user has chosen it."""
    matched = _CLIENT_ID.fullmatch(text)
    if matched is None:
        return None
    guarantees = {name: guarantee for guarantee, name in CLIENT_IDS.items()}
    return MemberKind(guarantees[matched[1]], matched[2], matched[3])


# The error codes of librdkafka itself have no public names in Python.
PARTITION_EOF = KafkaError._PARTITION_EOF  # noqa: SLF001
AUTO_OFFSET_RESET = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001
FATAL = KafkaError._FATAL  # noqa: SLF001
PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)  # noqa: SLF001


class Watermarks(NamedTuple):
    """The offset of a partition's first message, and its last stable offset."""

    low: int
    high: int


def consumer_config(settings: Settings, *, eof: bool = False) -> dict[str, Any]:
    """Return the configuration of a group member; ``eof`` enables end-of-partition events.

    Session and poll time-outs keep Kafka's defaults. Shorter ones detect a dead member sooner, but
    also expel slow members, which costs a rebalance and events that are counted twice.
    """
    config: dict[str, Any] = {
        # The default of 1000 stops the fetcher for a second when the queue is full.
        "fetch.queue.backoff.ms": "10",
        # A prefetched message takes about 300 bytes. librdkafka's defaults prefetch 100,000 and
        # more for each partition, which takes most of the memory and is not faster.
        "queued.min.messages": "20000",
        "queued.max.messages.kbytes": "16384",
        "fetch.message.max.bytes": str(256 * 1024),
    }
    # librdkafka requires fetch.max.bytes to be at least message.max.bytes.
    if "message.max.bytes" not in settings.librdkafka:
        config["fetch.max.bytes"] = str(1024 * 1024)
    if settings.group_protocol == "classic":
        config["partition.assignment.strategy"] = ASSIGNOR
    config |= _common(settings, "consumer", client_id(settings.processing_guarantee, None))
    return config | {
        "group.id": settings.group_id,
        "group.protocol": settings.group_protocol,
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        # The worker chooses the start of a partition without a committed offset: see reset_policy.
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "check.crcs": "true",
        "enable.partition.eof": "true" if eof else "false",
    }


def reset_policy(settings: Settings) -> ResetPolicy:
    """Return the start of a partition without a committed offset; ``earliest`` by default."""
    return cast("ResetPolicy", settings.librdkafka.get("auto.offset.reset", "earliest"))


def producer_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of a producer that does not lose, duplicate or reorder rows.

    Keys are hashed by murmur2, as in Kafka's Java client.
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


def _common(settings: Settings, kind: ClientKind, client_id: str = "dynatomic") -> dict[str, Any]:
    check_properties(settings.librdkafka, settings.group_protocol, settings.tls_verification)
    login = (
        msk.login(settings.bootstrap_servers, settings.librdkafka)
        if settings.kafka_auth == "msk-iam"
        else {}
    )
    return {
        "client.id": client_id,
        # A misspelt topic name must be an error, not a new topic without a consumer.
        "allow.auto.create.topics": "false",
        "topic.metadata.propagation.max.ms": "10000",
        **for_kind(settings.librdkafka, kind),
        **login,
        "bootstrap.servers": settings.bootstrap_servers,
        "logger": log,
    }


def new_consumer(config: dict[str, Any]) -> Consumer:
    """Return a new consumer; raises ConfigError if librdkafka refuses the configuration."""
    return cast("Consumer", _new_client(Consumer, config))


def new_producer(config: dict[str, Any]) -> Producer:
    """Return a new producer; raises ConfigError if librdkafka refuses the configuration."""
    return cast("Producer", _new_client(Producer, config))


def new_admin(config: dict[str, Any]) -> AdminClient:
    """Return a new admin client; raises ConfigError if librdkafka refuses the configuration."""
    return cast("AdminClient", _new_client(AdminClient, config))


def _new_client(kind: Callable[[dict[str, Any]], object], config: dict[str, Any]) -> object:
    if "oauth_cb" in config:
        # Raises the cause if there is no token. librdkafka would wait for one without a message.
        config["oauth_cb"]("")
    try:
        return kind(config)
    except (KafkaException, TypeError, ValueError) as error:
        raise ConfigError(f"Kafka client: {reason(error)}; check -X and [librdkafka]") from None


def reason(error: BaseException | KafkaError) -> str:
    """Return the text of an error of the Kafka client, in one line."""
    cause = error.__cause__ if isinstance(error, BaseException) else None
    if isinstance(cause, KafkaException):
        return reason(cause)
    if isinstance(error, KafkaException) and isinstance(error.args[0], KafkaError):
        return reason(error.args[0])
    text = error.str() if isinstance(error, KafkaError) else str(error)
    return " ".join(text.split())


@contextmanager
def kafka_errors(
    error_type: type[DynatomicError] = DynatomicError, action: str = "try again"
) -> Iterator[None]:
    """Raise an error of the Kafka client as ``error_type``: ``Kafka: <reason>; <action>``."""
    try:
        yield
    except KafkaException as error:
        raise error_type(f"Kafka: {reason(error)}; {action}") from None


def topic_partitions(
    client: Consumer | AdminClient, topic: str, timeout_s: float = 10.0
) -> list[int]:
    """Return the topic's partition numbers.

    Raises ConfigError if the topic does not exist or Describe on it is denied, UnavailableError if
    no broker answered within ``timeout_s`` seconds.
    """
    partitions = find_partitions(client, topic, timeout_s)
    if not partitions:
        raise ConfigError(f"topic {topic!r} does not exist; create it with `dynatomic init`")
    return partitions


def find_partitions(client: Consumer | AdminClient, topic: str, timeout_s: float) -> list[int]:
    """Return the topic's partition numbers, an empty list if it does not exist."""
    try:
        metadata = client.list_topics(topic, timeout=timeout_s).topics[topic]
    except KafkaException as error:
        raise UnavailableError(
            f"topic {topic!r}: no broker answered ({reason(error)}); "
            "check that Kafka is running, and -b/--bootstrap-servers"
        ) from None
    if metadata.error is None:
        return sorted(metadata.partitions)
    if metadata.error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):  # noqa: SLF001
        return []
    if metadata.error.code() in DENIED:
        raise ConfigError(f"topic {topic!r}: Describe is denied; allow Describe on it")
    raise UnavailableError(f"topic {topic!r}: {reason(metadata.error)}; try again")


def watermarks(
    consumer: Consumer,
    topic: str,
    timeout_s: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
) -> dict[int, Watermarks]:
    """Return the current watermarks of all partitions, from the brokers.

    ``high`` is the last stable offset: messages of an open transaction are not below it. It can be
    larger than the offset of the last message plus one, because transactions write markers. Raises
    as `topic_partitions` does. ``timeout_s`` bounds the whole call, in seconds.
    """
    deadline = clock() + timeout_s
    by_partition = {}
    for partition in topic_partitions(consumer, topic, timeout_s):
        left_s = max(0.01, deadline - clock())
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), left_s)
        except KafkaException as error:
            raise UnavailableError(
                f"topic {topic!r}, partition {partition}: no end offset ({reason(error)}); "
                "try again"
            ) from None
        by_partition[partition] = Watermarks(low, high)
    return by_partition
