"""Clients whose requests are caught before they are sent, for the tests of the transport."""

from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from dynatomic.dynamodb.statements import Change, Step, request_body
from dynatomic.events.row import KeySchema
from dynatomic.testing.embedded import REGION

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TEXT, RANGED = KeySchema("pk"), KeySchema("id", "N", "rk", "S")

PAYLOAD = request_body(
    Step.UPDATE, {"transport": TEXT}, [Change("transport", k, None, {"n": 1}) for k in "ab"]
)

TOKEN = "token"  # noqa: S105 - not a real one


def new_client(
    url: str | None, *, region: str = REGION, token: str | None = TOKEN, **options: Any
) -> "DynamoDBClient":
    config = Config(retries={"total_max_attempts": 1}, **{"connect_timeout": 2, **options})
    secret = "wJalrXUtnFEMI"  # noqa: S105 - not a real one
    return boto3.client(
        "dynamodb",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=config,
    )
