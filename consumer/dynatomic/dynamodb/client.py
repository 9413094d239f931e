"""The DynamoDB client: how it is made, and which of our errors replace those that it raises."""

import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    InvalidEndpointConfigurationError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
)
from botocore.parsers import ResponseParserError

from dynatomic.dynamodb.connection_problems import (
    connection_problem,
    is_name_error,
    known_regions,
)
from dynatomic.errors import ConfigError, UnavailableError, suggestion

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


MISCONFIGURED = (
    NoRegionError,
    InvalidRegionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    InvalidEndpointConfigurationError,
)


class UnreadableAnswerError(BotoCoreError):
    """An answer that did not come from DynamoDB, but for example from a proxy."""

    fmt = "the answer is not from DynamoDB ({kind})"


def call_client(operation: Callable[..., Any], **request: Any) -> Any:
    """Call an operation of the client. Raises only errors of botocore.

    botocore's parsers expect that an answer has the shape of the service's model. They raise many
    kinds of built-in errors for an answer that does not.
    """
    try:
        return operation(**request)
    except (AttributeError, LookupError, TypeError, ValueError, ResponseParserError) as error:
        raise UnreadableAnswerError(kind=type(error).__name__) from error


def make_client(
    endpoint_url: str | None = None, *, max_requests: int = 8, read_timeout_s: float = 5.0
) -> "DynamoDBClient":
    """Return a DynamoDB client that does not retry and has time-outs of seconds.

    Region, credentials, profile and endpoint come from the AWS chain. ``endpoint_url`` overrides
    AWS_ENDPOINT_URL_DYNAMODB, as in the AWS CLI. Raises ConfigError if the chain gives no region
    or profile.
    """
    config = Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=2,
        read_timeout=read_timeout_s,
        max_pool_connections=max_requests,
        tcp_keepalive=True,
        parameter_validation=False,
        user_agent_extra=f"dynatomic/{version('dynatomic')}",
    )
    try:
        # Unlike the other AWS SDKs, boto3 does not read AWS_REGION.
        session = boto3.session.Session(region_name=os.environ.get("AWS_REGION") or None)
        client = session.client("dynamodb", endpoint_url=endpoint_url, config=config)
    except (*MISCONFIGURED, ValueError) as error:
        raise ConfigError(credentials_message(error)) from None
    # botocore compares the checksum only if it may also send the request again.
    client.meta.events.register("response-received.dynamodb", _verify_checksum)
    return client


def _verify_checksum(response_dict: Mapping[str, Any] | None, **_: object) -> None:
    if response_dict:
        check_checksum(response_dict)


def check_checksum(response: Mapping[str, Any]) -> None:
    """Raise `UnreadableAnswerError` if the body of a response does not match its checksum."""
    expected = response["headers"].get("x-amz-crc32")
    if expected is not None and expected != str(zlib.crc32(response["body"])):
        raise UnreadableAnswerError(kind="wrong checksum")


def credentials_message(error: Exception) -> str:
    """Return one line about a region, profile or credential that the AWS chain does not have."""
    if isinstance(error, NoRegionError):
        return "AWS: no region is set; set AWS_REGION, or the region of the profile"
    if isinstance(error, NoCredentialsError):
        return (
            "AWS: no credentials were found in the environment, the profile, or a role; set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the process a "
            "role"
        )
    if isinstance(error, PartialCredentialsError):
        missing, provider = error.kwargs.get("cred_var"), error.kwargs.get("provider")
        return f"AWS: the credentials of {provider} have no {missing}; set it"
    if isinstance(error, ProfileNotFound):
        return (
            f"AWS: the profile {error.kwargs.get('profile')!r} is in no configuration file; "
            "set AWS_PROFILE to one of `aws configure list-profiles`"
        )
    return f"AWS: {error}".rstrip(".") + "; set AWS_REGION and credentials as for the AWS CLI"


def unavailable_error(client: "DynamoDBClient", error: Exception) -> ConfigError | UnavailableError:
    """Return the error of an endpoint that does not answer.

    It is a ConfigError where no retry can help: an AWS region that does not exist, or TLS that
    fails.
    """
    url, region = client.meta.endpoint_url, client.meta.region_name
    cause = error_code(error) if isinstance(error, ClientError) else connection_problem(error)
    if is_name_error(error) and ".amazonaws." in url and region not in known_regions():
        return ConfigError(
            f"AWS has no region {region!r} that is known here, and {url} does not exist; "
            f"set AWS_REGION{suggestion(region, known_regions())}"
        )
    if isinstance(error, SSLError):
        return ConfigError(
            f"DynamoDB at {url}: {cause}; check the scheme of --endpoint-url, the proxy, and "
            "AWS_CA_BUNDLE"
        )
    return UnavailableError(
        f"DynamoDB at {url} does not answer ({cause}); "
        "check --endpoint-url, AWS_REGION and the network"
    )


def error_code(error: ClientError) -> str:
    """Return the error code of an answer."""
    return str(error.response.get("Error", {}).get("Code") or "Unknown")


def error_message(error: ClientError) -> str:
    """Return the message of an answer, which may be empty."""
    return str(error.response.get("Error", {}).get("Message") or "")


def http_status(error: ClientError) -> int:
    """Return the HTTP status of an answer, 0 if it is not known."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def dynatomic_errors(
    client: "DynamoDBClient", answered: Callable[[ClientError], Exception]
) -> Iterator[None]:
    """Raise our errors in place of botocore's.

    ``answered`` returns the error to raise for an error that DynamoDB answered. A request that
    could not be made raises ConfigError, one without an answer UnavailableError.
    """
    try:
        yield
    except ClientError as error:
        raise answered(error) from None
    except MISCONFIGURED as error:
        raise ConfigError(credentials_message(error)) from None
    except BotoCoreError as error:
        raise unavailable_error(client, error) from None
