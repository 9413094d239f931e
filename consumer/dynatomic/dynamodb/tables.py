"""The DynamoDB client, and the tables: their keys, and what it means when they refuse."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
)

from dynatomic.dynamodb.answers import Refused, classify_answer
from dynatomic.dynamodb.client import (
    MISCONFIGURED,
    call_client,
    credentials_message,
    error_code,
    unavailable_error,
)
from dynatomic.dynamodb.statements import Change, Step
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.events.row import KeySchema

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_SERVER_ERROR = 500
_DENIED = re.compile(r"not authorized to perform: (\S+)(?: on resource: (\S+))?")


def arn(client: "DynamoDBClient", table: str) -> str:
    """Return the table's ARN, with ``*`` for the account, which only DynamoDB knows."""
    return f"arn:aws:dynamodb:{client.meta.region_name}:*:table/{table}"


def check_endpoint(client: "DynamoDBClient") -> None:
    """Raise UnavailableError if DynamoDB does not answer; a refusal is an answer too."""
    try:
        call_client(client.list_tables, Limit=1)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= _SERVER_ERROR:
            raise unavailable_error(client, error) from None
    except MISCONFIGURED as error:
        raise ConfigError(credentials_message(error)) from None
    except BotoCoreError as error:
        raise unavailable_error(client, error) from None


def describe(client: "DynamoDBClient", table: str) -> KeySchema:
    """Return the key names and types of a table.

    Raises ConfigError if the table is missing, denied or keyed by bytes, and UnavailableError if
    DynamoDB does not answer or the table is still being made.
    """
    try:
        found = call_client(client.describe_table, TableName=table)["Table"]
    except ClientError as error:
        raise _startup_error(client, table, "dynamodb:DescribeTable", error) from None
    except MISCONFIGURED as error:
        raise ConfigError(credentials_message(error)) from None
    except (BotoCoreError, KeyError) as error:
        raise unavailable_error(client, error) from None
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
    code, message = error_code(error), error.response.get("Error", {}).get("Message", "")
    if code.startswith("ResourceNotFound"):
        return ConfigError(
            f"table {arn(client, table)} does not exist at {client.meta.endpoint_url}: "
            "make it, or run `dynatomic init --create-tables`"
        )
    verdict = classify_answer(Step.UPDATE_ITEM, Change(table, "", None, {}), code, message)
    if isinstance(verdict, Refused):
        return ConfigError(refusal_message(verdict.cause, arn(client, table), action))
    return unavailable_error(client, error)


def refusal_message(cause: str, resource: str, action: str) -> str:
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


def create_table(client: "DynamoDBClient", table: str, *, range_key: bool = False) -> bool:
    """Make a table with hash key ``pk`` (and range key ``rk``), on demand; False if it is there.

    Waits until it can be used. Raises ConfigError or UnavailableError.
    """
    names = {"HASH": "pk"} | ({"RANGE": "rk"} if range_key else {})
    try:
        call_client(
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
        if error_code(error) == "ResourceInUseException":
            return False
        raise _startup_error(client, table, "dynamodb:CreateTable", error) from None
    except MISCONFIGURED as error:
        raise ConfigError(credentials_message(error)) from None
    except BotoCoreError as error:
        raise unavailable_error(client, error) from None
    return True


def call_table(
    client: "DynamoDBClient", table: str, action: str, operation: Callable[..., Any], **request: Any
) -> Any:
    """Call an operation on a table that needs ``action``, once.

    Raises ConfigError or UnavailableError; a refused condition passes as it is.
    """
    try:
        return call_client(operation, TableName=table, **request)
    except client.exceptions.ConditionalCheckFailedException:
        raise
    except ClientError as error:
        raise _startup_error(client, table, action, error) from None
    except MISCONFIGURED as error:
        raise ConfigError(credentials_message(error)) from None
    except BotoCoreError as error:
        raise unavailable_error(client, error) from None
