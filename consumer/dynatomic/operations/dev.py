"""``dynatomic dev``: a broker and DynamoDB on fixed ports of this machine, in the foreground."""

import signal
import sys
from collections.abc import Callable, Iterator

from dynatomic.config.settings import Settings
from dynatomic.events.row import KeySchema
from dynatomic.kafka.topics import PARTITIONS
from dynatomic.testing.embedded import REGION, Embedded
from dynatomic.testing.forwarder import Forwarder

KAFKA_PORT, TABLE_PORT = 9092, 8000
_DEFAULT_SERVERS = Settings().bootstrap_servers


def dev(
    settings: Settings,
    *,
    kafka_port: int = KAFKA_PORT,
    table_port: int = TABLE_PORT,
    wait: Callable[[], object] = signal.pause,
) -> int:
    """Serve until Ctrl-C; return 0. The topics exist, and so do the tables of the settings.

    Raises DynatomicError if a port is taken or a part is not installed.
    """
    topics = {settings.topic: PARTITIONS, settings.dead_letters: 1}
    tables = {table: KeySchema("pk") for table in settings.tables}
    with (
        Embedded(topics, tables, table_port) as embedded,
        Forwarder(kafka_port, embedded.bootstrap_servers),
    ):
        for line in _lines(settings, embedded.endpoint_url, kafka_port):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        try:
            wait()
        except KeyboardInterrupt:
            sys.stdout.write("\n")
    return 0


def _lines(settings: Settings, endpoint_url: str, kafka_port: int) -> Iterator[str]:
    yield (
        f"Kafka at localhost:{kafka_port}, topics {settings.topic} ({PARTITIONS} partitions) and "
        f"{settings.dead_letters}"
    )
    tables = f", tables {', '.join(settings.tables)}" if settings.tables else ""
    yield f"DynamoDB at {endpoint_url}{tables}"
    yield "until Ctrl-C, which deletes all of it; in another terminal:"
    yield ""
    yield f"export AWS_ENDPOINT_URL_DYNAMODB={endpoint_url} AWS_REGION={REGION}"
    yield "export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local"
    servers = f"localhost:{kafka_port}"
    if servers != _DEFAULT_SERVERS:
        yield f"export DYNATOMIC_BOOTSTRAP_SERVERS={servers}"
