"""Where the end-to-end tests run: the embedded default, and the real Kafka and DynamoDB Local."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import pytest

from tests.support.brokers import create_kafka_topic
from tests.support.children import Spawn
from tests.support.names import unique
from tests.support.secure_kafka import Place, Secure, secure_kafka
from tests.support.stack import Stack, real_stack
from tests.support.tables import HasEndpointUrl, MakeTable, Table, make_client

if TYPE_CHECKING:
    from dynatomic.testing.embedded import Embedded


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


@pytest.fixture(scope="session")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """Return the broker with TLS that tests share."""
    with secure_kafka(tmp_path_factory.mktemp("certificates")) as made:
        yield made


@pytest.fixture
def place(secure: Secure, dynamodb_real: HasEndpointUrl, make_table: MakeTable) -> Place:
    """Return a topic on the broker with TLS, and a table."""
    topic = unique("secure")
    for name in (topic, f"{topic}.dlq"):
        create_kafka_topic(secure.kafka.bootstrap_servers, name, 1)
    client = make_client(dynamodb_real.endpoint_url)
    return Place(topic, make_table(client), dynamodb_real.endpoint_url)
