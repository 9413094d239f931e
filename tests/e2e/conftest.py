"""Where the end-to-end tests run: the embedded default, and the real Kafka and DynamoDB Local."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import pytest

from tests.support.brokers import HasBootstrapServers, create_kafka_topic
from tests.support.children import Spawn
from tests.support.kafka_server import KafkaServer
from tests.support.stack import Stack
from tests.support.tables import MakeTable, make_client

if TYPE_CHECKING:
    from dynatomic.testing.embedded import Embedded

Table = Callable[..., str]


def real_stack(request: pytest.FixtureRequest, kafka: HasBootstrapServers, spawn: Spawn) -> Stack:
    url = request.getfixturevalue("dynamodb_real").endpoint_url
    servers = kafka.bootstrap_servers
    return Stack(
        "real",
        servers,
        url,
        make_client(url),
        lambda name, count: create_kafka_topic(servers, name, count),
        spawn,
        # A broker of the user's own takes no session shorter than Kafka's default minimum.
        2000 if isinstance(kafka, KafkaServer) else 6000,
    )


@pytest.fixture(params=["embedded", "real"])
def stack(request: pytest.FixtureRequest, spawn: Spawn) -> Iterator[Stack]:
    """Return the embedded default, or a real Kafka with DynamoDB Local."""
    if request.param == "embedded":
        server: Embedded = request.getfixturevalue("embedded")
        broker, url = server.broker, server.endpoint_url
        client = make_client(url)
        made = Stack(
            "embedded", server.bootstrap_servers, url, client, broker.create_topic, spawn, 2000
        )
    else:
        made = real_stack(request, request.getfixturevalue("kafka_real"), spawn)
    yield made
    for child in spawn.children:
        child.kill()  # before its topic is deleted
    made.close()


@pytest.fixture
def table(stack: Stack, make_table: MakeTable) -> Table:
    """Return the function that makes a table on the stack's endpoint."""

    def make(
        hash_type: Literal["S", "N"] = "S", range_type: Literal["S", "N"] | None = None
    ) -> str:
        return make_table(stack.client, hash_type, range_type)

    return make
