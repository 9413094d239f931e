"""An HTTP proxy in front of a DynamoDB endpoint that misbehaves on demand, in this process.

::

    with FaultyProxy(endpoint_url, [DropResponse(), Throttle()]) as proxy:
        client = make_client(proxy.endpoint_url)

Faults are taken in turn, one a request; after the last one requests pass. Instead of a list a
function may choose: it gets the `Request` and returns a fault, or None to let it pass. It may be
called by several threads at once. Any path is forwarded to ``/``: clients may be distinguished by
the paths of their endpoint URLs.
"""

import http.client
import json
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from tests.support.faults import Answer, Fault, Hold, Request

_HOP_HEADERS: Final = ("connection", "content-length", "transfer-encoding", "date", "server")
Script = Iterable[Fault | None] | Callable[[Request], Fault | None]


class FaultyProxy:
    """Forwards to one endpoint, with faults, and remembers every request."""

    def __init__(self, endpoint_url: str, script: Script = ()) -> None:
        """Listen on a free port of 127.0.0.1."""
        self.requests: list[Request] = []
        self._target = endpoint_url.removeprefix("http://").rstrip("/")
        self._lock = threading.Lock()
        self._holds: list[Hold] = []
        self._errors: list[BaseException] = []
        self.script(script)
        self._server: _Server | None = None
        self._port = 0
        self.accept()
        self.endpoint_url = f"http://127.0.0.1:{self._port}"

    def script(self, script: Script) -> None:
        """Replace what is left of the faults."""
        if callable(script):
            self._choose = script
        else:
            faults = iter(list(script))
            self._choose = lambda _: next(faults, None)

    @property
    def counts(self) -> Counter[str]:
        """The number of requests by operation, faulty ones too."""
        with self._lock:
            return Counter(request.operation for request in self.requests)

    def refuse(self) -> None:
        """Refuse connections and cut those that are open, until `accept`."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            for connection in list(server.connections):
                _cut(connection)

    def accept(self) -> None:
        """Listen again, on the same port."""
        if self._server is None:
            self._server = _Server(self, self._port)
            self._port = self._server.server_port
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Release what is held and stop. Raises what a fault or the endpoint raised."""
        for hold in self._holds:
            hold.release()
        self.refuse()
        if self._errors:
            raise self._errors[0]

    def failed(self, error: BaseException) -> None:
        """Keep an error of a handler thread for `close`."""
        self._errors.append(error)

    @property
    def busy(self) -> bool:
        """Whether a request has arrived that is not done with: held, delayed or on its way."""
        with self._lock:
            return not all(request.ended for request in self.requests)

    def handle(
        self, operation: str, headers: dict[str, str], body: bytes, path: str = "/"
    ) -> Answer | None:
        """Answer one request, or None to close the connection."""
        with self._lock:
            number = len(self.requests)
            request = Request(operation, json.loads(body or b"{}"), headers, number, path)
            self.requests.append(request)
            # Under the lock, so that a script sees the requests one by one, in this order.
            request.fault = self._choose(request)
            if isinstance(request.fault, Hold):
                self._holds.append(request.fault)

        def forward(changed: bytes) -> Answer:
            request.forwarded = True
            return self._forward(headers, changed)

        try:
            answer = (request.fault or Fault()).apply(request, forward)
            request.answered = answer is not None
        finally:
            request.ended = True
        return answer

    def _forward(self, headers: dict[str, str], body: bytes) -> Answer:
        connection = http.client.HTTPConnection(self._target, timeout=30)
        kept = {k: v for k, v in headers.items() if k.lower() not in _HOP_HEADERS}
        try:
            connection.request("POST", "/", body, kept)
            response = connection.getresponse()
            given = tuple(h for h in response.getheaders() if h[0].lower() not in _HOP_HEADERS)
            return Answer(response.status, response.read(), given)
        finally:
            connection.close()

    def __enter__(self) -> Self:
        """Give this proxy to the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, proxy: FaultyProxy, port: int) -> None:
        self.proxy = proxy
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        error = sys.exc_info()[1]
        # A client that gave up is what many tests are about; anything else is a fault of ours.
        if error is not None and not isinstance(error, BrokenPipeError | ConnectionResetError):
            self.proxy.failed(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:  # the client was killed while it sent
            self.close_connection = True
            return
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        headers = dict(self.headers.items())
        answer = self.server.proxy.handle(operation, headers, body, self.path)
        if answer is None:
            self.close_connection = True
            _cut(self.connection)
            return
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: `FaultyProxy.requests` has it all."""


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was faster
