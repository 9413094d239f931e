"""DynamoDB clients and tables of the tests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import boto3
from botocore.config import Config

from dynatomic.testing.embedded import REGION

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class HasEndpointUrl(Protocol):
    """A DynamoDB endpoint: one of ours or one of the user's."""

    endpoint_url: str


@dataclass(slots=True)
class UserDynamoDB:
    """A DynamoDB endpoint that was there before the tests."""

    endpoint_url: str


def make_client(endpoint_url: str, read_timeout: float = 10) -> "DynamoDBClient":
    """Make a plain boto3 client that needs nothing from this machine's AWS configuration."""
    return boto3.client(
        "dynamodb",
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id="embedded",
        aws_secret_access_key="embedded",  # noqa: S106 - local endpoints check no secret
        config=Config(
            retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=read_timeout
        ),
    )


class MakeTable(Protocol):
    """Makes a table with a unique name; its keys are ``pk`` and, if asked for, ``rk``."""

    def __call__(
        self,
        client: "DynamoDBClient",
        hash_type: Literal["S", "N"] = "S",
        range_type: Literal["S", "N"] | None = None,
    ) -> str:
        """Return its name."""


Table = Callable[..., str]
