"""``dynatomic init``: creates the topics and, when asked, the tables. Existing ones stay."""

import time
from collections.abc import Iterator

from dynatomic.config.settings import Settings
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.tables import check_endpoint, create_table, describe
from dynatomic.kafka.client import wait_for_kafka
from dynatomic.kafka.topics import check_not_compacted, create_topics
from dynatomic.retry import until


def initialise(
    settings: Settings,
    endpoint_url: str | None,
    wait_s: float | None,
    *,
    create_tables: bool,
    check_unpacked_size: bool = False,
) -> Iterator[str]:
    """Create what is missing; yield a line for each topic and table.

    With ``wait_s`` it waits that many seconds for Kafka and DynamoDB, otherwise it asks each once.
    Raises ConfigError or UnavailableError.
    """
    deadline = time.monotonic() + (wait_s or 0.0)
    client = make_client(endpoint_url) if settings.tables or wait_s is not None else None
    if wait_s is not None:
        wait_for_kafka(settings, wait_s)
    for topic in create_topics(settings, check_unpacked_size=check_unpacked_size):
        state = "created" if topic.created else "exists"
        yield f"topic {topic.name}: {state}, {topic.partitions} partitions"
    check_not_compacted(settings)
    if client is None:
        return
    if wait_s is not None:
        until(deadline, lambda: check_endpoint(client))
    for table in settings.tables:
        made = create_tables and until(deadline, lambda: create_table(client, table))  # noqa: B023
        keys = until(deadline, lambda: describe(client, table))  # noqa: B023 - called at once
        names = f"{keys.hash_name} ({keys.hash_type})"
        if keys.range_name:
            names += f", {keys.range_name} ({keys.range_type})"
        yield f"table {table}: {'created' if made else 'exists'}, keys {names}"
