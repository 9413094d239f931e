"""A low-level DynamoDB client in memory. It is thread-safe.

Answers, error codes and messages are those of AWS, as DynamoDB Local and the AWS documentation show
them. It supports the requests that this package sends. Other requests raise `AttributeError` or
`NotImplementedError`.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

from dynatomic.testing.dynamodb.batch import StatementFault, execute
from dynatomic.testing.dynamodb.partiql import ConditionError
from dynatomic.testing.dynamodb.responses import EXCEPTIONS, client_error, metadata
from dynatomic.testing.dynamodb.tables import (
    MissingTableError,
    Response,
    TableExistsError,
    Tables,
    TokenReusedError,
)
from dynatomic.testing.dynamodb.values import InvalidError, Item, copied


@dataclass(frozen=True, slots=True)
class Request:
    """One request: the operation as AWS names it, and its parameters."""

    operation: str
    params: Mapping[str, Any]


@dataclass(slots=True)
class Faults:
    """Hooks that make requests fail. Each is called outside the fake's lock, from any thread.

    ``before(request)`` may return an exception: it is raised and nothing is applied.
    ``after(request, response)`` may return an exception, raised although the request was applied,
    or another response. ``statement(request, index)`` may return a `StatementFault` for one
    statement of a BatchExecuteStatement.
    """

    before: Callable[[Request], Exception | None] | None = None
    after: Callable[[Request, Response], Exception | Response | None] | None = None
    statement: Callable[[Request, int], StatementFault | None] | None = None


class FakeDynamoDB:
    """Replaces ``boto3.client("dynamodb")``.

    ``faults`` makes requests fail; ``requests`` counts them by operation, failed ones included.
    """

    def __init__(self, region_name: str = "us-east-1") -> None:
        self.faults = Faults()
        self.requests: Counter[str] = Counter()
        self.exceptions = SimpleNamespace(ClientError=ClientError, **EXCEPTIONS)
        self.meta = SimpleNamespace(endpoint_url="memory://dynamodb", region_name=region_name)
        self._tables = Tables(region_name)
        self._lock = threading.RLock()
        self._answered = 0

    def items(self, table: str) -> list[Item]:
        """Return a copy of each item of a table, in the order of creation.

        Raises `KeyError` if there is no such table.
        """
        with self._lock:
            return [copied(item) for item in self._tables.table(table).items.values()]

    def apply(self, request: Request) -> Response:
        """Run a request that arrives late or twice: it is not counted and has no faults."""
        with self._lock:
            return self._run(request, {})

    def describe_table(self, **params: Any) -> Response:
        """Return the table's description."""
        return self._send("DescribeTable", params)

    def describe_time_to_live(self, **params: Any) -> Response:
        """Return the TTL attribute."""
        return self._send("DescribeTimeToLive", params)

    def update_time_to_live(self, **params: Any) -> Response:
        """Set the TTL attribute; the fake never deletes an expired item."""
        return self._send("UpdateTimeToLive", params)

    def create_table(self, **params: Any) -> Response:
        """Create a table; it is active at once."""
        return self._send("CreateTable", params)

    def delete_table(self, **params: Any) -> Response:
        """Delete a table and its items."""
        return self._send("DeleteTable", params)

    def list_tables(self, **params: Any) -> Response:
        """Return the names of all tables, on one page."""
        return self._send("ListTables", params)

    def put_item(self, **params: Any) -> Response:
        """Store an item, without a condition."""
        return self._send("PutItem", params)

    def get_item(self, **params: Any) -> Response:
        """Return the item of a key."""
        return self._send("GetItem", params)

    def delete_item(self, **params: Any) -> Response:
        """Delete the item of a key, without a condition."""
        return self._send("DeleteItem", params)

    def batch_get_item(self, **params: Any) -> Response:
        """Return the items of up to 100 keys."""
        return self._send("BatchGetItem", params)

    def query(self, **params: Any) -> Response:
        """Return the items of a hash key on one page, all or by a condition on the range."""
        return self._send("Query", params)

    def scan(self, **params: Any) -> Response:
        """Return all items of a table, on one page."""
        return self._send("Scan", params)

    def update_item(self, **params: Any) -> Response:
        """Add to numbers and set attributes of one item; create the item if it is missing."""
        return self._send("UpdateItem", params)

    def transact_write_items(self, **params: Any) -> Response:
        """Run one update, once for all requests with the same token."""
        return self._send("TransactWriteItems", params)

    def batch_execute_statement(self, **params: Any) -> Response:
        """Run up to 25 statements on different items; each has its own outcome."""
        return self._send("BatchExecuteStatement", params)

    def get_waiter(self, name: str) -> SimpleNamespace:
        """Return the waiter ``table_exists``, whose ``wait`` returns at once or raises."""
        if name != "table_exists":
            raise ValueError(f"the fake has no waiter {name!r}; it has table_exists")
        return SimpleNamespace(
            wait=lambda TableName, **_: self.describe_table(TableName=TableName)  # noqa: N803
        )

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def _send(self, operation: str, params: dict[str, Any]) -> Response:
        request = Request(operation, params)
        with self._lock:
            self.requests[operation] += 1
        if self.faults.before and (error := self.faults.before(request)):
            raise error
        hit: dict[int, StatementFault] = {}
        if self.faults.statement and operation == "BatchExecuteStatement":
            for index in range(len(params["Statements"])):
                if fault := self.faults.statement(request, index):
                    hit[index] = fault
        with self._lock:
            response = self._run(request, hit)
        changed = self.faults.after(request, response) if self.faults.after else None
        if isinstance(changed, Exception):
            raise changed
        return response if changed is None else changed

    def _run(self, request: Request, hit: Mapping[int, StatementFault]) -> Response:
        operation, params = request.operation, request.params
        try:
            if operation == "BatchExecuteStatement":
                body = execute(self._tables, params["Statements"], hit)
            else:
                body = self._tables.run(operation, params)
        except InvalidError as error:
            raise client_error("ValidationException", str(error), operation) from None
        except MissingTableError as error:
            raise client_error("ResourceNotFoundException", str(error), operation) from None
        except TableExistsError as error:
            raise client_error("ResourceInUseException", str(error), operation) from None
        except TokenReusedError:
            raise client_error("IdempotentParameterMismatchException", "", operation) from None
        except ConditionError as error:
            if operation == "TransactWriteItems":
                raise _cancelled(error) from None
            refused = client_error("ConditionalCheckFailedException", str(error), operation)
            if error.item is not None:
                refused.response["Item"] = copied(error.item)  # type: ignore[typeddict-unknown-key]
            raise refused from None
        self._answered += 1
        if params.get("ReturnConsumedCapacity", "NONE") != "NONE":
            body = body | {"ConsumedCapacity": _consumed(params)}
        return body | {"ResponseMetadata": metadata(f"fake-{self._answered:08d}")}


def _cancelled(error: ConditionError) -> ClientError:
    reason: Any = {"Code": "ConditionalCheckFailed", "Message": str(error)}
    if error.item is not None:
        reason["Item"] = copied(error.item)
    cancelled = client_error(
        "TransactionCanceledException",
        "Transaction cancelled, please refer cancellation reasons for specific reasons "
        "[ConditionalCheckFailed]",
        "TransactWriteItems",
    )
    cancelled.response["CancellationReasons"] = [reason]
    return cancelled


def _consumed(params: Mapping[str, Any]) -> Any:
    """Return one write unit for each write, refused or not: items are assumed to be below 1 kB."""
    if "TableName" in params:
        return {"TableName": params["TableName"], "CapacityUnits": 1.0}
    units = Counter(statement["Statement"].split('"')[1] for statement in params["Statements"])
    return [{"TableName": name, "CapacityUnits": float(count)} for name, count in units.items()]
