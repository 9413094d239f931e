"""Fixtures that several contract modules share."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from dynatomic.config.settings import Settings
from dynatomic.kafka.client import producer_config
from dynatomic.testing.embedded import Embedded, environment
from tests.support.brokers import Broker
from tests.support.group_member import ANSWERED, GroupProtocol, Join, Member, Produce, quick
from tests.support.tables import MakeTable
from tests.support.transport import new_client

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@pytest.fixture(params=["embedded", "real"])
def endpoint_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a server, for clients of the environment."""
    name = "embedded" if request.param == "embedded" else "dynamodb_real"
    url: str = request.getfixturevalue(name).endpoint_url
    for variable, value in environment("", url).items():
        if variable.startswith("AWS_"):
            monkeypatch.setenv(variable, value)
    return url


@pytest.fixture
def lax(request: pytest.FixtureRequest) -> bool:
    """Return whether the test runs on ministack."""
    return "embedded" in request.node.callspec.params.values()


@pytest.fixture
def table(dynamodb: "DynamoDBClient", make_table: MakeTable) -> str:
    """Return the name of a new table of text keys."""
    return make_table(dynamodb)


@pytest.fixture(scope="module")
def transport_url(embedded: Embedded) -> Iterator[str]:
    """Return the URL of the embedded table that has the table of `transport.PAYLOAD`."""
    client = new_client(embedded.endpoint_url)
    client.create_table(
        TableName="transport",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )
    yield embedded.endpoint_url
    client.delete_table(TableName="transport")


@pytest.fixture
def join(broker: Broker) -> Iterator[Join]:
    made: list[Member] = []

    def make(
        topic: str,
        group: str | None = None,
        *,
        protocol: GroupProtocol = "classic",
        beginning: bool = True,
        eof: bool = False,
        **librdkafka: str,
    ) -> Member:
        more = {name.replace("_", "."): value for name, value in librdkafka.items()}
        settings = Settings(
            bootstrap_servers=broker.bootstrap_servers or "fake",
            topic=topic,
            group_id=group or topic,
            group_protocol=protocol,
            librdkafka={"fetch.wait.max.ms": "50", **quick(broker, protocol), **more},
        )
        member = Member(broker, settings, beginning=beginning, eof=eof)
        made.append(member)
        return member.subscribe()

    yield make
    for member in made:
        member.consumer.close()


@pytest.fixture
def produce(broker: Broker) -> Iterator[Produce]:
    made: list[Producer] = []

    def make(**librdkafka: str) -> Producer:
        more = {name.replace("_", "."): value for name, value in librdkafka.items()}
        servers = broker.bootstrap_servers or "fake"
        settings = Settings(bootstrap_servers=servers, librdkafka={"linger.ms": "0", **more})
        made.append(broker.producer(producer_config(settings)))
        return made[-1]

    yield make
    for producer in made:
        producer.purge()
        producer.flush(ANSWERED)
