"""A DynamoDB endpoint in a separate process that adds up what it receives and stores no items.

It answers DescribeTable, BatchExecuteStatement, UpdateItem and BatchWriteItem over keep-alive
HTTP/1.1, as fast as Python can, and refuses malformed requests: unsigned, not JSON, too
many statements, a statement without its parameters. ``GET /take`` returns the counts since the last
call. Every item exists. After ``GET /empty`` and until the next ``GET /take``, only the inserted
items exist. After ``GET /watch`` it also records the time of each addition, which ``GET /arrivals``
returns. `Sink` starts it. It ends when its standard input is closed.
"""

import asyncio
import http.client
import json
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from itertools import count
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self, cast

from bench.judge import OVERWRITING, Added, MalformedError, judge
from dynatomic.errors import UnavailableError
from dynatomic.testing.embedded import free_port

ROOT: Final = Path(__file__).parents[1]
"""Where ``python -m bench...`` finds its modules."""

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TARGET: Final = re.compile(rb"\r\nx-amz-target: *DynamoDB_20120810\.(\w+)", re.IGNORECASE)
_SIGNATURE: Final = re.compile(rb"\r\nauthorization: *AWS4-HMAC-SHA256 .*Signature=", re.IGNORECASE)
_sum = itemgetter(1)
_PHRASES: Final = {200: "OK", 400: "Bad Request"}


Arrival = tuple[float, str, int]
"""The clock of all processes, the key of an item, and what was added to its counters."""


@dataclass(slots=True)
class Counts:
    """What came: good requests that write, their statements, the sum of what they added.

    ``refused`` counts malformed requests. ``reason`` is the problem of the first one.
    """

    requests: int = 0
    statements: int = 0
    added: int = 0
    refused: int = 0
    reason: str = ""


def _operation(head: bytes) -> str:
    if not _SIGNATURE.search(head):
        raise MalformedError("the request is not signed")
    found = _TARGET.search(head)
    return found[1].decode() if found else ""


class Counter:
    """Answers whole requests and counts them."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._counts = Counts()
        self._numbers = count(1)
        self._arrivals: list[Arrival] | None = None
        self._totals: dict[str, int] = {}
        self._items: set[str] | None = None

    def answer(self, head: bytes, body: bytes) -> bytes:
        """Return the response to one request."""
        if head.startswith(b"GET "):
            return self._response(200, self._asked(head.split(b" ", 2)[1]))
        try:
            operation = _operation(head)
            added, answer = judge(operation, body, self._items)
        except MalformedError as error:
            self._counts.refused += 1
            self._counts.reason = self._counts.reason or str(error)
            kind = "com.amazon.coral.validate#ValidationException"
            return self._response(400, {"__type": kind, "message": str(error)})
        if operation == OVERWRITING:
            added = [*map(self._difference, added)]
        self._counts.requests += bool(added)
        self._counts.statements += len(added)
        self._counts.added += sum(map(_sum, added))
        if self._arrivals is not None:
            now = time.monotonic()
            self._arrivals += [(now, *each) for each in added]
        return self._response(200, answer)

    def _asked(self, path: bytes) -> object:
        answer: object = {}
        match path:
            case b"/take":
                answer = asdict(self._counts)
                self._counts, self._totals, self._items = Counts(), {}, None
            case b"/count":
                answer = asdict(self._counts)
            case b"/empty":
                self._items = set()
            case b"/watch":
                self._arrivals = []
            case b"/arrivals":
                answer, self._arrivals = self._arrivals, None
        return answer

    def _difference(self, put: Added) -> Added:
        """Return what a total adds to the last one of its key."""
        key, total = put
        before, self._totals[key] = self._totals.get(key, 0), total
        return key, total - before

    def _response(self, status: int, content: object) -> bytes:
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
    """The process of the sink, as a context manager."""

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
        return Counts(**self._get("/take"))

    def count(self) -> Counts:
        """Return what came since the last `take`."""
        return Counts(**self._get("/count"))

    def empty(self) -> None:
        """Have no items until the next `take`: an update of one that is not there is refused."""
        self._get("/empty")

    def watch(self) -> None:
        """Note from now on when what arrives."""
        self._get("/watch")

    def arrivals(self) -> list[Arrival]:
        """Return what arrived since `watch`, in order, and stop noting it."""
        return [tuple(each) for each in self._get("/arrivals")]

    def _get(self, path: str) -> Any:
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
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
