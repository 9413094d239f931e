"""A DynamoDB endpoint that counts what it is sent and keeps nothing, in a process of its own.

It answers DescribeTable, BatchExecuteStatement and UpdateItem over keep-alive HTTP/1.1, as
quickly as Python can, and refuses what DynamoDB would refuse for its form: an unsigned request,
no JSON, too many statements, a statement without its parameters. ``GET /take`` returns the counts
since the last one. `Sink` starts it; it ends when its standard input is closed.
"""

import asyncio
import http.client
import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self, cast

from consumer.embedded import free_port
from consumer.errors import UnavailableError
from consumer.row import KeySchema
from consumer.statements import BATCH

KEYS: Final = KeySchema("pk", "S", None, None)
"""The keys of each of its tables: any name is a table."""

ROOT: Final = Path(__file__).parents[1]
"""Where ``python -m bench...`` finds its modules."""

_UPDATE_ITEM: Final = frozenset({"TableName", "Key", "UpdateExpression"})
_TYPES: Final = frozenset({"S", "N"})
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TARGET: Final = re.compile(rb"\r\nx-amz-target: *DynamoDB_20120810\.(\w+)", re.IGNORECASE)
_NAME: Final = re.compile(r"'([^']+)': \?")
_SIGNATURE: Final = re.compile(rb"\r\nauthorization: *AWS4-HMAC-SHA256 .*Signature=", re.IGNORECASE)
_PHRASES: Final = {200: "OK", 400: "Bad Request"}


class MalformedError(Exception):
    """A request that DynamoDB would refuse for its form; the text says why."""


@dataclass(slots=True)
class Counts:
    """What came: good requests that write, their statements, the sum of their numbers.

    ``refused`` counts malformed requests, ``reason`` says what was wrong with the first one.
    """

    requests: int = 0
    statements: int = 0
    added: int = 0
    refused: int = 0
    reason: str = ""


def judge(operation: str, body: bytes) -> tuple[int, int, dict[str, Any]]:
    """Return how many statements a request has, what they add, and its answer.

    Raises `MalformedError`.
    """
    try:
        request = json.loads(body)
    except ValueError:
        raise MalformedError("the body is no JSON") from None
    if not isinstance(request, dict):
        raise MalformedError("the body is no object")
    if operation == "BatchExecuteStatement":
        statements = request.get("Statements")
        if not isinstance(statements, list) or not 1 <= len(statements) <= BATCH:
            raise MalformedError(f"Statements is no list of 1 to {BATCH}")
        added = sum(map(_added, statements))
        return len(statements), added, {"Responses": [{}] * len(statements)}
    if operation == "UpdateItem":
        values = request.get("ExpressionAttributeValues")
        if not isinstance(values, dict) or not {"TableName", "Key", "UpdateExpression"} <= {
            *request
        }:
            raise MalformedError("UpdateItem without table, key, expression or values")
        return 1, sum(map(_number, values.values())), {}
    if operation == "DescribeTable":
        return 0, 0, _description(request.get("TableName"))
    raise MalformedError(f"{operation or 'no operation'} is not served here")


def _operation(head: bytes) -> str:
    if not _SIGNATURE.search(head):
        raise MalformedError("the request is not signed")
    found = _TARGET.search(head)
    return found[1].decode() if found else ""


def _added(statement: Any) -> int:
    if not isinstance(statement, dict):
        raise MalformedError("a statement is no object")
    text, parameters = statement.get("Statement"), statement.get("Parameters")
    if not isinstance(text, str) or not text.startswith(("UPDATE ", "INSERT ")):
        raise MalformedError("a statement is neither UPDATE nor INSERT")
    if not isinstance(parameters, list) or not parameters or text.count("?") != len(parameters):
        raise MalformedError("a statement's parameters are not as many as its question marks")
    numbers = [_number(value) for value in parameters]
    if text.startswith("INSERT "):
        names = _NAME.findall(text)
        return sum(
            n for name, n in zip(names, numbers, strict=True) if not name.startswith("fence_")
        )
    return sum(numbers[: text.count('"+?')])  # the others are a fence's offsets


def _number(value: Any) -> int:
    """Return a number's value, and 0 for a string; keys are strings here, sums are numbers."""
    if not isinstance(value, dict) or len(value) != 1:
        raise MalformedError("a parameter is no attribute value")
    ((kind, content),) = value.items()
    if kind not in _TYPES or not isinstance(content, str):
        raise MalformedError("a parameter is neither a string nor a number")
    try:
        return int(content) if kind == "N" else 0
    except ValueError:
        raise MalformedError("a number is no integer") from None


def _description(name: Any) -> dict[str, Any]:
    if not isinstance(name, str):
        raise MalformedError("DescribeTable without a table")
    return {
        "Table": {
            "TableName": name,
            "TableStatus": "ACTIVE",
            "AttributeDefinitions": [
                {"AttributeName": KEYS.hash_name, "AttributeType": KEYS.hash_type}
            ],
            "KeySchema": [{"AttributeName": KEYS.hash_name, "KeyType": "HASH"}],
        }
    }


class Counter:
    """Answers whole requests and counts them."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._counts = Counts()
        self._numbers = count(1)

    def answer(self, head: bytes, body: bytes) -> bytes:
        """Return the response to one request."""
        if head.startswith(b"GET /take "):
            counts, self._counts = self._counts, Counts()
            return self._response(200, asdict(counts))
        try:
            statements, added, answer = judge(_operation(head), body)
        except MalformedError as error:
            self._counts.refused += 1
            self._counts.reason = self._counts.reason or str(error)
            kind = "com.amazon.coral.validate#ValidationException"
            return self._response(400, {"__type": kind, "message": str(error)})
        self._counts.requests += statements > 0
        self._counts.statements += statements
        self._counts.added += added
        return self._response(200, answer)

    def _response(self, status: int, content: dict[str, Any]) -> bytes:
        body = json.dumps(content, separators=(",", ":")).encode()
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\n"
            "content-type: application/x-amz-json-1.0\r\n"
            f"x-amzn-requestid: {next(self._numbers):052d}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Connection(asyncio.Protocol):
    """Cuts what arrives into requests; several may arrive at once, or one in pieces."""

    def __init__(self, counter: Counter) -> None:
        """Count with this counter."""
        self._counter = counter
        self._held = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._held += data
        while (end := self._held.find(b"\r\n\r\n") + 4) > 3:
            head = self._held[:end]
            length = _LENGTH.search(head)
            whole = end + (int(length[1]) if length else 0)
            if len(self._held) < whole:
                return
            body, self._held = self._held[end:whole], self._held[whole:]
            self._transport.write(self._counter.answer(head, body))


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    counter = Counter()
    server = await loop.create_server(lambda: Connection(counter), "127.0.0.1", port)
    closed = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(closed), sys.stdin)
    print("ready", flush=True)
    await closed.read()
    server.close()


class Sink:
    """The sink's process, for as long as the block lasts."""

    def __init__(self) -> None:
        """Start it and wait until it listens. Raises `UnavailableError` if it does not."""
        port = free_port()
        self.endpoint_url = f"http://127.0.0.1:{port}"
        self._address = ("127.0.0.1", port)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.sink", str(port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        if cast("IO[bytes]", self._process.stdout).readline() != b"ready\n":
            self.close()
            raise UnavailableError("the sink of the benchmark did not start; see above")

    def take(self) -> Counts:
        """Return what came since the last call."""
        connection = http.client.HTTPConnection(*self._address, timeout=10)
        try:
            connection.request("GET", "/take")
            return Counts(**json.loads(connection.getresponse().read()))
        finally:
            connection.close()

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=10)

    def __enter__(self) -> Self:
        """Give this sink to the block."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
