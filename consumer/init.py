"""``dynatomic init``: the topics and, when asked, the tables. What is there stays as it is."""

import time
from collections.abc import Iterator

from consumer.errors import UnavailableError
from consumer.kafka import create_topics, wait_for_kafka
from consumer.settings import Settings
from consumer.tables import create_table, describe, make_client

PAUSE_S = 0.2


def initialise(
    settings: Settings, endpoint_url: str | None, wait_s: float | None, *, create_tables: bool
) -> Iterator[str]:
    """Make what is missing; yield a line for each topic and table.

    With ``wait_s`` it waits that long for both servers, else it asks each once. Raises ConfigError
    or UnavailableError.
    """
    deadline = time.monotonic() + (wait_s or 0.0)
    if wait_s is not None:
        wait_for_kafka(settings, wait_s)
    for topic in create_topics(settings):
        state = "created" if topic.created else "exists"
        yield f"topic {topic.name}: {state}, {topic.partitions} partitions"
    if not settings.tables:
        return
    client = make_client(endpoint_url)
    for table in settings.tables:
        while True:
            try:
                made = create_tables and create_table(client, table)
                keys = describe(client, table)
                break
            except UnavailableError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(PAUSE_S)
        names = f"{keys.hash_name} ({keys.hash_type})"
        if keys.range_name:
            names += f", {keys.range_name} ({keys.range_type})"
        yield f"table {table}: {'created' if made else 'exists'}, keys {names}"
