"""The DynamoDB client, and the tables: their keys, and what it means when they refuse."""

import os
import re
import zlib
from collections.abc import Callable, Mapping
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
)
from botocore.parsers import ResponseParserError

from consumer.answers import Refused, answer
from consumer.errors import ConfigError, UnavailableError
from consumer.row import KeySchema
from consumer.statements import Change, Step

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
_SERVER_ERROR = 500
_DENIED = re.compile(r"not authorized to perform: (\S+)(?: on resource: (\S+))?")


class UnreadableAnswerError(BotoCoreError):
    """An answer that DynamoDB did not write: something between us and it did."""

    fmt = "the answer is not DynamoDB's ({kind})"


def ask(operation: Callable[..., Any], **request: Any) -> Any:
    """Call an operation of the client; raises botocore's errors only.

    botocore's parsers take for granted that an answer has the shape of the service's model, and
    trip in many ways over one that has not.
    """
    try:
        return operation(**request)
    except (AttributeError, LookupError, TypeError, ValueError, ResponseParserError) as error:
        raise UnreadableAnswerError(kind=type(error).__name__) from error


def make_client(
    endpoint_url: str | None = None, *, max_requests: int = 8, read_timeout_s: float = 5.0
) -> "DynamoDBClient":
    """Return a DynamoDB client that neither retries nor waits long.

    Region, credentials, profile and endpoint come from the AWS chain; ``endpoint_url`` stands
    before AWS_ENDPOINT_URL_DYNAMODB, as in the AWS CLI. Raises ConfigError where the chain gives
    no region or profile.
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
        # boto3 alone among the SDKs does not read AWS_REGION.
        session = boto3.session.Session(region_name=os.environ.get("AWS_REGION") or None)
        client = session.client("dynamodb", endpoint_url=endpoint_url, config=config)
    except (*MISCONFIGURED, ValueError) as error:
        raise ConfigError(aws_chain(error)) from None
    # botocore compares the checksum only where it may also send the request again.
    client.meta.events.register("response-received.dynamodb", _received)
    return client


def _received(response_dict: Mapping[str, Any] | None, **_: object) -> None:
    if response_dict:
        check_checksum(response_dict)


def check_checksum(response: Mapping[str, Any]) -> None:
    """Raise `UnreadableAnswerError` if headers and body of a response are not of each other."""
    told = response["headers"].get("x-amz-crc32")
    if told is not None and told != str(zlib.crc32(response["body"])):
        raise UnreadableAnswerError(kind="wrong checksum")


def aws_chain(error: Exception) -> str:
    """Return one line about a region, profile or credential that the AWS chain does not give."""
    return f"AWS: {error}".rstrip(".") + "; set AWS_REGION and credentials as for the AWS CLI"


def arn(client: "DynamoDBClient", table: str) -> str:
    """Return the table's ARN, with ``*`` for the account, which only DynamoDB knows."""
    return f"arn:aws:dynamodb:{client.meta.region_name}:*:table/{table}"


def check_answers(client: "DynamoDBClient") -> None:
    """Raise UnavailableError if DynamoDB does not answer; a refusal is an answer too."""
    try:
        ask(client.list_tables, Limit=1)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= _SERVER_ERROR:
            raise unavailable(client, error) from None
    except MISCONFIGURED as error:
        raise ConfigError(aws_chain(error)) from None
    except BotoCoreError as error:
        raise unavailable(client, error) from None


def describe(client: "DynamoDBClient", table: str) -> KeySchema:
    """Return the key names and types of a table.

    Raises ConfigError if the table is missing, denied or keyed by bytes, and UnavailableError if
    DynamoDB does not answer or the table is still being made.
    """
    try:
        found = ask(client.describe_table, TableName=table)["Table"]
    except ClientError as error:
        raise _startup_error(client, table, "dynamodb:DescribeTable", error) from None
    except MISCONFIGURED as error:
        raise ConfigError(aws_chain(error)) from None
    except (BotoCoreError, KeyError) as error:
        raise unavailable(client, error) from None
    if found.get("TableStatus") in {"CREATING", "DELETING"}:
        raise UnavailableError(f"table {table} is {found['TableStatus']}; try again")
    types = {a["AttributeName"]: a["AttributeType"] for a in found["AttributeDefinitions"]}
    names = {k["KeyType"]: k["AttributeName"] for k in found["KeySchema"]}
    for name in names.values():
        if types[name] == "B":
            raise ConfigError(
                f"table {table}: key attribute {name!r} is of type B: use a table keyed by S or N"
            )
        if set(name) & set("\"'?"):
            raise ConfigError(
                f"table {table}: key attribute {name!r} cannot stand in a statement: use a table "
                "whose key names have no quotes and no question marks"
            )
    hash_name, range_name = names["HASH"], names.get("RANGE")
    return KeySchema(
        hash_name,
        types[hash_name],
        range_name,
        types[range_name] if range_name else None,
    )


def _startup_error(
    client: "DynamoDBClient", table: str, action: str, error: ClientError
) -> ConfigError | UnavailableError:
    code, message = code_of(error), error.response.get("Error", {}).get("Message", "")
    if code.startswith("ResourceNotFound"):
        return ConfigError(
            f"table {arn(client, table)} does not exist at {client.meta.endpoint_url}: "
            "make it, or run `dynatomic init --create-tables`"
        )
    verdict = answer(Step.UPDATE_ITEM, Change(table, "", None, {}), code, message)
    if isinstance(verdict, Refused):
        return ConfigError(refusal(verdict.cause, arn(client, table), action))
    return unavailable(client, error)


def refusal(cause: str, resource: str, action: str) -> str:
    """Return one line about a refused request: the action and the resource, not the caller."""
    if denied := _DENIED.search(cause):
        action, resource = denied[1], denied[2] or resource
    code = cause.partition(":")[0]
    if code == "AccessDenied":
        return (
            f"access denied: allow {action} on {resource}, as `dynatomic init --print-iam` has it"
        )
    if code == "ResourceNotFound":
        return (
            f"{resource} is gone or not active: make it again with `dynatomic init "
            "--create-tables`, or take it off --table"
        )
    return f"{code}: {action} on {resource} was refused; check region, credentials and endpoint"


def unavailable(client: "DynamoDBClient", error: Exception) -> UnavailableError:
    """Return the error of an endpoint that does not answer."""
    what = code_of(error) if isinstance(error, ClientError) else type(error).__name__
    return UnavailableError(
        f"DynamoDB at {client.meta.endpoint_url} does not answer ({what}); "
        "check --endpoint-url, AWS_REGION and the network"
    )


def code_of(error: ClientError) -> str:
    """Return the error code that the service gave."""
    return str(error.response.get("Error", {}).get("Code") or "Unknown")


def create_table(client: "DynamoDBClient", table: str, *, range_key: bool = False) -> bool:
    """Make a table with hash key ``pk`` (and range key ``rk``), on demand; False if it is there.

    Waits until it can be used. Raises ConfigError or UnavailableError.
    """
    names = {"HASH": "pk"} | ({"RANGE": "rk"} if range_key else {})
    try:
        ask(
            client.create_table,
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": n, "KeyType": k} for k, n in names.items()],
            AttributeDefinitions=[
                {"AttributeName": n, "AttributeType": "S"} for n in names.values()
            ],
        )
        client.get_waiter("table_exists").wait(
            TableName=table, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
    except ClientError as error:
        if code_of(error) == "ResourceInUseException":
            return False
        raise _startup_error(client, table, "dynamodb:CreateTable", error) from None
    except MISCONFIGURED as error:
        raise ConfigError(aws_chain(error)) from None
    except BotoCoreError as error:
        raise unavailable(client, error) from None
    return True


def call(
    client: "DynamoDBClient", table: str, action: str, operation: Callable[..., Any], **request: Any
) -> Any:
    """Call an operation on a table that needs ``action``, once.

    Raises ConfigError or UnavailableError; a refused condition passes as it is.
    """
    try:
        return ask(operation, TableName=table, **request)
    except client.exceptions.ConditionalCheckFailedException:
        raise
    except ClientError as error:
        raise _startup_error(client, table, action, error) from None
    except MISCONFIGURED as error:
        raise ConfigError(aws_chain(error)) from None
    except BotoCoreError as error:
        raise unavailable(client, error) from None
