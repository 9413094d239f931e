"""The TTL attribute of a table is read at the start, where the endpoint and the role allow it."""

import logging
from typing import TYPE_CHECKING, cast

import pytest
from botocore.exceptions import EndpointConnectionError

from dynatomic.dynamodb.tables import describe_with_ttl
from dynatomic.errors import UnavailableError
from dynatomic.events.row import KeySchema
from dynatomic.testing.dynamodb.client import FakeDynamoDB, Request
from dynatomic.testing.dynamodb.responses import client_error

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def described(fault: Exception | None = None, status: str | None = None) -> KeySchema:
    """Describe a table with a TTL attribute; ``fault`` and ``status`` change the second answer."""
    client = FakeDynamoDB()
    client.create_table(
        TableName="hits",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    client.update_time_to_live(
        TableName="hits", TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )

    def before(request: Request) -> Exception | None:
        return fault if request.operation == "DescribeTimeToLive" else None

    def after(
        request: Request, response: dict[str, dict[str, str]]
    ) -> dict[str, dict[str, str]] | None:
        if request.operation == "DescribeTimeToLive" and status:
            response["TimeToLiveDescription"]["TimeToLiveStatus"] = status
            return response
        return None

    client.faults.before, client.faults.after = before, after
    return describe_with_ttl(cast("DynamoDBClient", client), "hits")


@pytest.mark.parametrize("status", ["ENABLING", "ENABLED", "DISABLING"])
def test_an_attribute_that_may_delete_items_is_known(status: str) -> None:
    assert described(status=status).ttl_name == "expires"


def test_a_ttl_that_is_switched_off_names_no_attribute() -> None:
    assert described(status="DISABLED").ttl_name is None


@pytest.mark.parametrize("code", ["AccessDeniedException", "UnknownOperationException"])
def test_without_the_permission_or_the_operation_a_warning_is_logged(
    code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert described(client_error(code, "no", "DescribeTimeToLive")) == KeySchema("pk")
    (record,) = caplog.records
    assert record.getMessage() == "TTL attribute unknown"
    fields = record.__dict__["fields"]
    assert fields["table"] == "hits"
    assert "dynamodb:DescribeTimeToLive" in fields["cause"]


def test_an_endpoint_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(UnavailableError):
        described(EndpointConnectionError(endpoint_url="http://x"))
