"""The tables of the fake DynamoDB, and the requests on them that are not statements.

Not thread-safe: the client locks.
"""

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from dynatomic.testing.dynamodb.expressions import Expressions, check_size
from dynatomic.testing.dynamodb.partiql import ConditionError
from dynatomic.testing.dynamodb.values import (
    InvalidError,
    Item,
    Table,
    copied,
    decimal,
    mismatch_in_item,
    stored,
)

Response = dict[str, Any]

MAX_BATCH_GET_KEYS: Final = 100
_NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}")


class MissingTableError(KeyError):
    """The table does not exist."""

    def __str__(self) -> str:
        return f"Requested resource not found: Table: {self.args[0]} not found"


class TableExistsError(Exception):
    """A table with this name already exists."""


class TokenReusedError(Exception):
    """The token of a transaction was used for another one."""


class Tables:
    """All tables of one account and region."""

    def __init__(self, region_name: str) -> None:
        self._region_name = region_name
        self._tables: dict[str, Table] = {}
        self._ttl_names: dict[str, str] = {}
        self._transactions: dict[str, Mapping[str, Any]] = {}

    def table(self, name: str) -> Table:
        """Return a table, or raise `MissingTableError`."""
        if name not in self._tables:
            raise MissingTableError(name)
        return self._tables[name]

    def run(self, operation: str, params: Mapping[str, Any]) -> Response:
        """Run one request and return its body.

        Raises `InvalidError`, `MissingTableError`, `TableExistsError`, `ConditionError` or
        `TokenReusedError`.
        """
        operations: Mapping[str, Callable[[Mapping[str, Any]], Response]] = {
            "DescribeTable": self._describe_table,
            "DescribeTimeToLive": self._describe_time_to_live,
            "UpdateTimeToLive": self._update_time_to_live,
            "CreateTable": self._create_table,
            "DeleteTable": self._delete_table,
            "ListTables": self._list_tables,
            "PutItem": self._put_item,
            "GetItem": self._get_item,
            "DeleteItem": self._delete_item,
            "Query": self._query,
            "BatchGetItem": self._batch_get_item,
            "Scan": self._scan,
            "UpdateItem": self._update_item,
            "TransactWriteItems": self._transact_write_items,
        }
        return operations[operation](params)

    def _describe_table(self, params: Mapping[str, Any]) -> Response:
        table = self.table(params["TableName"])
        return {"Table": table.description | {"ItemCount": len(table.items)}}

    def _describe_time_to_live(self, params: Mapping[str, Any]) -> Response:
        name = params["TableName"]
        self.table(name)
        if name not in self._ttl_names:
            return {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
        description = {"TimeToLiveStatus": "ENABLED", "AttributeName": self._ttl_names[name]}
        return {"TimeToLiveDescription": description}

    def _update_time_to_live(self, params: Mapping[str, Any]) -> Response:
        name, specification = params["TableName"], params["TimeToLiveSpecification"]
        self.table(name)
        if specification["Enabled"]:
            self._ttl_names[name] = specification["AttributeName"]
        else:
            self._ttl_names.pop(name, None)
        return {"TimeToLiveSpecification": specification}

    def _create_table(self, params: Mapping[str, Any]) -> Response:
        name = params["TableName"]
        if not _NAME.fullmatch(name):
            raise InvalidError(
                "Invalid table/index name.  Table/index names must be between 3 and 255 "
                "characters long, and may contain only the characters a-z, A-Z, 0-9, '_', '-', "
                "and '.'"
            )
        if name in self._tables:
            raise TableExistsError(f"Table already exists: {name}")
        types = {a["AttributeName"]: a["AttributeType"] for a in params["AttributeDefinitions"]}
        names = {k["KeyType"]: k["AttributeName"] for k in params["KeySchema"]}
        keys = [(names[role], types[names[role]]) for role in ("HASH", "RANGE") if role in names]
        description = {
            "TableName": name,
            "TableStatus": "ACTIVE",
            "KeySchema": params["KeySchema"],
            "AttributeDefinitions": params["AttributeDefinitions"],
            "TableArn": f"arn:aws:dynamodb:{self._region_name}:000000000000:table/{name}",
            "BillingModeSummary": {"BillingMode": params.get("BillingMode", "PROVISIONED")},
        }
        self._tables[name] = Table(description, tuple(keys))
        return {"TableDescription": description}

    def _delete_table(self, params: Mapping[str, Any]) -> Response:
        table = self.table(params["TableName"])
        del self._tables[params["TableName"]]
        self._ttl_names.pop(params["TableName"], None)
        return {"TableDescription": table.description}

    def _list_tables(self, _params: Mapping[str, Any]) -> Response:
        return {"TableNames": sorted(self._tables)}

    def _put_item(self, params: Mapping[str, Any]) -> Response:
        _only(params, "TableName", "Item", "ReturnValues")
        table = self.table(params["TableName"])
        key = table.key(params["Item"], mismatch_in_item)
        old = table.items.get(key)
        table.put(key, copied(params["Item"]))
        returns_old = params.get("ReturnValues") == "ALL_OLD"
        return {"Attributes": old} if old is not None and returns_old else {}

    def _get_item(self, params: Mapping[str, Any]) -> Response:
        _only(params, "TableName", "Key", "ConsistentRead")
        table = self.table(params["TableName"])
        item = table.items.get(table.exact_key(params["Key"]))
        return {"Item": copied(item)} if item is not None else {}

    def _delete_item(self, params: Mapping[str, Any]) -> Response:
        _only(params, "TableName", "Key")
        table = self.table(params["TableName"])
        table.items.pop(table.exact_key(params["Key"]), None)
        return {}

    def _batch_get_item(self, params: Mapping[str, Any]) -> Response:
        responses: dict[str, list[Item]] = {}
        wanted = [(t, key) for t, part in params["RequestItems"].items() for key in part["Keys"]]
        if len(wanted) > MAX_BATCH_GET_KEYS:
            raise InvalidError("Too many items requested for the BatchGetItem call")
        seen = set()
        for name, attributes in wanted:
            table = self.table(name)
            key = table.exact_key(attributes)
            if (name, key) in seen:
                raise InvalidError("Provided list of item keys contains duplicates")
            seen.add((name, key))
            items = responses.setdefault(name, [])
            if key in table.items:
                items.append(copied(table.items[key]))
        return {"Responses": responses, "UnprocessedKeys": {}}

    def _query(self, params: Mapping[str, Any]) -> Response:
        """Return the items that meet the condition on one page, in the order of their ranges."""
        _only(
            params,
            "TableName",
            "KeyConditionExpression",
            "ExpressionAttributeNames",
            "ExpressionAttributeValues",
            "ConsistentRead",
        )
        table = self.table(params["TableName"])
        expressions = Expressions(
            params["ExpressionAttributeNames"], params["ExpressionAttributeValues"]
        )
        matches = [
            (key[1:], copied(item))
            for key, item in table.items.items()
            if expressions.holds(params["KeyConditionExpression"], item)
        ]
        by_number = table.keys[-1][1] == "N"
        matches.sort(key=lambda match: [decimal(t) if by_number else t.encode() for t in match[0]])
        return {"Items": [item for _, item in matches]}

    def _scan(self, params: Mapping[str, Any]) -> Response:
        _only(params, "TableName", "ConsistentRead")
        items = self.table(params["TableName"]).items.values()
        return {"Items": [copied(item) for item in items], "Count": len(items)}

    def _update_item(self, params: Mapping[str, Any]) -> Response:
        _only(
            params,
            "TableName",
            "Key",
            "UpdateExpression",
            "ConditionExpression",
            "ExpressionAttributeNames",
            "ExpressionAttributeValues",
            "ReturnValues",
            "ReturnValuesOnConditionCheckFailure",
            "ReturnConsumedCapacity",
        )
        table = self.table(params["TableName"])
        key = table.exact_key(params["Key"])
        values = params.get("ExpressionAttributeValues", {})
        for value in values.values():
            stored(value)
        check_size(params["UpdateExpression"], "UpdateExpression")
        check_size(params.get("ConditionExpression", ""), "ConditionExpression")
        expressions = Expressions(params.get("ExpressionAttributeNames", {}), values)
        old = table.items.get(key)
        before = old or {}
        if not expressions.holds(params.get("ConditionExpression"), before):
            returns_old = params.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
            raise ConditionError(old if returns_old else None)
        changes = expressions.updated(params["UpdateExpression"], before)
        table.must_not_change(changes)
        after = {**(before or copied(params["Key"])), **changes}
        table.put(key, after)
        returned = {
            "NONE": {},
            "ALL_OLD": before,
            "ALL_NEW": after,
            "UPDATED_OLD": {name: before[name] for name in changes if name in before},
            "UPDATED_NEW": changes,
        }[params.get("ReturnValues", "NONE")]
        return {"Attributes": copied(returned)} if returned else {}

    def _transact_write_items(self, params: Mapping[str, Any]) -> Response:
        """Run a transaction of one update. Its token is kept: in AWS for 10 minutes only."""
        _only(params, "TransactItems", "ClientRequestToken")
        token = params.get("ClientRequestToken")
        if token in self._transactions:
            if self._transactions[token] != params:
                raise TokenReusedError
            return {}
        match params["TransactItems"]:
            case [{"Update": update}]:
                self._update_item(update)
            case _:
                raise NotImplementedError("the fake has only transactions of one update")
        if token is not None:
            self._transactions[token] = copy.deepcopy(params)
        return {}


def _only(params: Mapping[str, Any], *names: str) -> None:
    if unknown := params.keys() - set(names):
        raise NotImplementedError(f"the fake has no parameter {', '.join(sorted(unknown))}")
