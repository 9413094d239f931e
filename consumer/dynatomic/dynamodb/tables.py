"""Tables: their keys, how they are made, and the message for a request that they refuse."""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from dynatomic.dynamodb.answers import ITEM_NOT_RETURNED, KEYS_CHANGED, Refused, classify
from dynatomic.dynamodb.client import (
    UnreadableAnswerError,
    call_client,
    dynatomic_errors,
    error_code,
    error_message,
    http_status,
    unavailable_error,
)
from dynatomic.errors import ConfigError, UnavailableError, suggestion
from dynatomic.events.row import KeySchema

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

log = logging.getLogger(__name__)

_MAX_PAGES = 5  # of 100 names each
_UNKNOWN_OPERATION = {"UnknownOperation", "InvalidAction", "NotImplemented"}
_DENIED = re.compile(r"not authorized to perform: (\S+)(?: on resource: (\S+))?")


def arn(client: "DynamoDBClient", table: str) -> str:
    """Return the table's ARN, with ``*`` for the account, which only DynamoDB knows."""
    return f"arn:aws:dynamodb:{client.meta.region_name}:*:table/{table}"


def check_endpoint(client: "DynamoDBClient") -> None:
    """Raise UnavailableError if DynamoDB does not answer. A refusal is an answer."""
    with dynatomic_errors(client, partial(unavailable_error, client)):
        try:
            call_client(client.list_tables, Limit=1)
        except ClientError as error:
            if http_status(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise


def describe(client: "DynamoDBClient", table: str) -> KeySchema:
    """Return the key names and types of a table.

    Raises ConfigError if the table is missing, denied or has a binary key, and UnavailableError
    if DynamoDB does not answer or the table is being created.
    """
    answer = call_table(client, table, "dynamodb:DescribeTable", client.describe_table)
    if not isinstance(description := answer.get("Table"), dict):
        raise unavailable_error(client, UnreadableAnswerError(kind="incomplete"))
    if description.get("TableStatus") in {"CREATING", "DELETING"}:
        raise UnavailableError(f"table {table} is {description['TableStatus']}; try again")
    types = {a["AttributeName"]: a["AttributeType"] for a in description["AttributeDefinitions"]}
    names = {k["KeyType"]: k["AttributeName"] for k in description["KeySchema"]}
    for name in names.values():
        if types[name] == "B":
            raise ConfigError(
                f"table {table}: key attribute {name!r} has the type B: use a table whose keys "
                "have the type S or N"
            )
        if set(name) & set("\"'?"):
            raise ConfigError(
                f"table {table}: key attribute {name!r} cannot be quoted in a statement: use a "
                "table whose key names have no quotes and no question marks"
            )
    hash_name, range_name = names["HASH"], names.get("RANGE")
    return KeySchema(
        hash_name,
        types[hash_name],
        range_name,
        types[range_name] if range_name else None,
        frozenset(types.keys() - {hash_name, range_name}),
    )


def describe_with_ttl(client: "DynamoDBClient", table: str) -> KeySchema:
    """Return what `describe` does, with the TTL attribute of the table.

    A TTL that is being switched off still counts, because it may delete items for up to an hour.
    Where the permission is missing, or the endpoint does not have the operation, the TTL attribute
    is not known: this is logged. Raises the errors of `describe`.
    """
    keys = describe(client, table)
    action = "dynamodb:DescribeTimeToLive"
    try:
        answer = call_table(client, table, action, client.describe_time_to_live)
    except ConfigError as error:
        log.warning(
            "TTL attribute unknown", extra={"fields": {"table": table, "cause": str(error)}}
        )
        return keys
    description = answer.get("TimeToLiveDescription", {})
    if description.get("TimeToLiveStatus") == "DISABLED":
        return keys
    return replace(keys, ttl_name=description.get("AttributeName"))


def switch_ttl_on(client: "DynamoDBClient", table: str, attribute: str = "expires_at") -> None:
    """Let DynamoDB delete the items of a table when the time in an attribute has passed.

    The attribute is a number: seconds of Unix time. Raises ConfigError or UnavailableError.
    """
    call_table(
        client,
        table,
        "dynamodb:UpdateTimeToLive",
        client.update_time_to_live,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": attribute},
    )


def _request_error(
    client: "DynamoDBClient", table: str, action: str, error: ClientError
) -> ConfigError | UnavailableError:
    if error_code(error).startswith("ResourceNotFound"):
        meta = client.meta
        return ConfigError(
            f"table {table!r} does not exist in region {meta.region_name} at {meta.endpoint_url}: "
            f"create it, or run `dynatomic init --create-tables --table {table}`"
            f"{suggestion(table, _table_names(client))}"
        )
    meaning = classify(error_code(error), error_message(error))
    if isinstance(meaning, Refused):
        return ConfigError(refusal_message(meaning.cause, arn(client, table), action))
    return unavailable_error(client, error)


def _table_names(client: "DynamoDBClient") -> list[str]:
    """Return the first names of the account's tables, none if they may not be listed."""
    names: list[str] = []
    request: dict[str, str] = {}
    try:
        for _ in range(_MAX_PAGES):
            page = call_client(client.list_tables, **request)
            names += page["TableNames"]
            if "LastEvaluatedTableName" not in page:
                break
            request = {"ExclusiveStartTableName": page["LastEvaluatedTableName"]}
    except (BotoCoreError, ClientError, KeyError):
        pass  # without the permission, or on a fake, there is no suggestion
    return names


def refusal_message(cause: str, resource: str, action: str) -> str:
    """Return one line about a refused request: the action and the resource, never the caller."""
    if denied := _DENIED.search(cause):
        action, resource = denied[1], denied[2] or resource
    code = cause.partition(":")[0]
    if code == KEYS_CHANGED:
        return (
            f"{resource} was created again with other keys: restart the consumers to use the new "
            "keys"
        )
    if code == ITEM_NOT_RETURNED:
        return (
            f"{resource}: the endpoint refused a condition without the item, although "
            "ReturnValuesOnConditionCheckFailure asked for it: it is not DynamoDB; use another "
            "emulator, or --processing-guarantee at-least-once"
        )
    if code in _UNKNOWN_OPERATION:
        return (
            f"{code}: the endpoint does not have the operation for {action} on {resource}; if it "
            "has no PartiQL, use --write-mode single"
        )
    if code == "AccessDenied":
        return (
            f"access denied: allow {action} on {resource}; `dynatomic init --print-iam` prints a "
            "policy"
        )
    if code == "ResourceNotFound":
        return (
            f"{resource} is missing or not active: create it with `dynatomic init "
            "--create-tables`, or remove it from --table"
        )
    return f"{code}: {action} on {resource} was refused; check region, credentials and endpoint"


def create_table(client: "DynamoDBClient", table: str, *, range_key: bool = False) -> bool:
    """Create an on-demand table with hash key ``pk`` (and range key ``rk``).

    Waits until the table is active. Returns False if it existed. Raises ConfigError or
    UnavailableError.
    """
    names = {"HASH": "pk"} | ({"RANGE": "rk"} if range_key else {})
    with dynatomic_errors(client, partial(_request_error, client, table, "dynamodb:CreateTable")):
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
        except ClientError as error:
            if error_code(error) == "ResourceInUseException":
                return False
            raise
        client.get_waiter("table_exists").wait(
            TableName=table, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
    return True


def call_table(
    client: "DynamoDBClient", table: str, action: str, operation: Callable[..., Any], **request: Any
) -> Any:
    """Call an operation on a table once; ``action`` is the IAM permission that it needs.

    Raises ConfigError or UnavailableError. The error of a condition that does not hold is raised
    unchanged.
    """

    def answered(error: ClientError) -> Exception:
        if isinstance(error, client.exceptions.ConditionalCheckFailedException):
            return error
        return _request_error(client, table, action, error)

    with dynatomic_errors(client, answered):
        return call_client(operation, TableName=table, **request)
