"""Fixtures that several contract modules share."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from dynatomic.testing.embedded import Embedded, environment
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
