"""``dynatomic init``: creates the topics and, when asked, the tables. Existing ones stay."""

import time
from collections.abc import Iterator

from dynatomic.config.settings import Settings
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.tables import check_endpoint, create_table, describe
from dynatomic.kafka.client import wait_for_kafka
from dynatomic.kafka.topics import PARTITIONS, Topic, check_not_compacted, create_topics
from dynatomic.retry import until


def initialise(  # noqa: PLR0913 -- one for each flag
    settings: Settings,
    endpoint_url: str | None,
    wait_s: float | None,
    *,
    create_tables: bool,
    check_unpacked_size: bool = False,
    partitions: int | None = None,
    replication_factor: int | None = None,
) -> Iterator[str]:
    """Create what is missing; yield a line for each topic and table.

    An existing topic keeps its partitions; its line says so if other ``partitions`` are wanted.
    None means `PARTITIONS`, and for ``replication_factor`` the brokers' default.
    With ``wait_s`` it waits that many seconds for Kafka and DynamoDB, otherwise it asks each once.
    Raises ConfigError or UnavailableError.
    """
    deadline = time.monotonic() + (wait_s or 0.0)
    client = make_client(endpoint_url) if settings.tables or wait_s is not None else None
    if wait_s is not None:
        wait_for_kafka(settings, wait_s)
    topics = create_topics(
        settings,
        partitions=partitions or PARTITIONS,
        replication_factor=replication_factor or -1,
        check_unpacked_size=check_unpacked_size,
    )
    for topic in topics:
        yield _topic_line(topic, partitions if topic.name == settings.topic else None)
    check_not_compacted(settings)
    if client is None:
        return
    server = f"DynamoDB at {client.meta.endpoint_url}"
    if wait_s is not None:
        until(deadline, lambda: check_endpoint(client), server)
    for table in settings.tables:
        made = create_tables and until(deadline, lambda: create_table(client, table), server)  # noqa: B023
        keys = until(deadline, lambda: describe(client, table), server)  # noqa: B023 - called at once
        names = f"{keys.hash_name} ({keys.hash_type})"
        if keys.range_name:
            names += f", {keys.range_name} ({keys.range_type})"
        yield f"table {table}: {'created' if made else 'exists'}, keys {names}"


def _topic_line(topic: Topic, wanted: int | None) -> str:
    state = "created" if topic.created else "exists"
    count = f"{topic.partitions} {'partition' if topic.partitions == 1 else 'partitions'}"
    kept = ""
    if wanted is not None and topic.partitions != wanted:
        kept = f", not {wanted}: init does not change a topic that exists"
    return f"topic {topic.name}: {state}, {count}{kept}"
