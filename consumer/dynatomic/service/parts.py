"""Makes the parts of a consumer that need servers: tables, topic id, dead letters, re-reading."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka.admin import AdminClient

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.store import LETTER_BATCH_BYTES, DeadLetters
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.tables import describe_with_ttl
from dynatomic.kafka.admission import check_group
from dynatomic.kafka.client import new_consumer, new_producer, producer_config
from dynatomic.kafka.replaceable import ReplaceableClient
from dynatomic.kafka.topic_identity import TopicIdCheck, topic_id_source
from dynatomic.kafka.topics import required_topic_id
from dynatomic.retry import until
from dynatomic.worker.limits import reread_bytes
from dynatomic.worker.rereading import ReadAgain, Reread, read_again


def open_tables(settings: Settings, client: Any, *, probe: bool, timeout_s: float) -> Counters:
    """Describe the tables and, with ``probe``, check the permission to write to them.

    Raises ConfigError, or UnavailableError after ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    server = f"DynamoDB at {client.meta.endpoint_url}"
    keys: dict[str, Any] = {}
    for table in settings.tables:
        # The lambdas are called at once.
        schema = until(deadline, lambda: describe_with_ttl(client, table), server)  # noqa: B023
        keys[table] = schema
        if probe:
            counters = Counters(client, {table: schema})
            until(deadline, lambda: counters.check_access(table, settings.write_mode), server)  # noqa: B023
    return Counters(client, keys)


def topic_id_check(
    settings: Settings, fingerprint: str | None, admin: ReplaceableClient[AdminClient]
) -> TopicIdCheck:
    """Return the check of the topic's id; raise ConfigError if the group refuses this member."""
    topic_id = required_topic_id(admin.get(), settings)
    check_group(admin.get(), settings, fingerprint)
    return TopicIdCheck(settings.topic, topic_id, topic_id_source(admin, settings.topic))


def letter_store(settings: Settings, topic_id: str | None) -> DeadLetters:
    """Return the store of dead letters, with a producer of its own."""
    config = producer_config(settings) | {"batch.size": str(LETTER_BATCH_BYTES)}
    return DeadLetters(
        ReplaceableClient(lambda: new_producer(config)),
        settings.dead_letters,
        settings.group_id,
        topic_id=topic_id,
        make_single=lambda: new_producer(config | {"batch.num.messages": "1"}),
    )


def message_reader(settings: Settings, config: Mapping[str, Any]) -> ReadAgain:
    """Return the function that reads messages a second time."""
    max_bytes = reread_bytes(settings)

    def read(partition: int, offsets: Iterable[int]) -> Reread:
        return read_again(
            lambda: new_consumer(dict(config)),
            settings.topic,
            partition,
            offsets,
            max_bytes=max_bytes,
        )

    return read
