"""``dynatomic init``: creates the topics and, when asked, the tables. Existing ones stay."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from dynatomic.config.settings import Settings
from dynatomic.console import plural
from dynatomic.counting.check_keys import check_keys
from dynatomic.counting.definition import CounterDefinition
from dynatomic.counting.from_settings import load_counters
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.tables import (
    check_endpoint,
    create_table,
    describe,
    describe_with_ttl,
    switch_ttl_on,
)
from dynatomic.kafka.reachability import wait_for_kafka
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
    settings, definition = load_counters(settings)
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
        counters = [c for c in definition.counters if c.table == table] if definition else []
        made = create_tables and until(deadline, partial(_create, client, table, counters), server)
        keys = until(
            deadline, partial(describe_with_ttl if counters else describe, client, table), server
        )
        names = f"{keys.hash_name} ({keys.hash_type})"
        if keys.range_name:
            names += f", {keys.range_name} ({keys.range_type})"
        ttl = f", TTL attribute {keys.ttl_name}" if keys.ttl_name else ""
        yield f"table {table}: {'created' if made else 'exists'}, keys {names}{ttl}"
        if definition is not None:
            check_keys(definition, {table: keys})


def _create(client: Any, table: str, counters: Sequence[CounterDefinition]) -> bool:
    """Create a table with the keys that its counters need, and a TTL attribute if one expires."""
    range_key = any(counter.range is not None for counter in counters)
    made = create_table(client, table, range_key=range_key)
    if made and any(counter.expires_s is not None for counter in counters):
        switch_ttl_on(client, table)
    return made


def _topic_line(topic: Topic, wanted: int | None) -> str:
    state = "created" if topic.created else "exists"
    count = f"{topic.partitions} {plural(topic.partitions, 'partition')}"
    kept = ""
    if wanted is not None and topic.partitions != wanted:
        kept = f", not {wanted}: init does not change a topic that exists"
    return f"topic {topic.name}: {state}, {count}{kept}"
