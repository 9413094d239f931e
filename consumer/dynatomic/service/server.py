"""The HTTP endpoint: /metrics, /livez, /readyz, /status and the page at /.

It answers GET and HEAD, one request for each connection, on its own threads. A client cannot
block the process or use up its memory: the head of a request is limited in bytes and time, a
response in time, and connections in number. If there are too many, the oldest one is closed, so a
probe always gets in.
"""

import io
import logging
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Lock, Thread
from typing import Any

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError
from dynatomic.service.host_header import all_name_loopback, is_loopback
from dynatomic.service.pages import PageResponse, StatusPages, policy

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 16
MAX_HEAD_BYTES, HEAD_TIMEOUT_S, RESPONSE_TIMEOUT_S = 16 * 1024, 5.0, 5.0
DEFAULT_HOST, DEFAULT_PORT, MAX_PORTS_TRIED = "127.0.0.1", 9108, 10

_NOT_FOUND = HTTPStatus.NOT_FOUND, "text/plain", b"not found\n"
_FOREIGN_HOST = (
    HTTPStatus.MISDIRECTED_REQUEST,
    "text/plain",
    b"unknown Host header: this endpoint listens on the loopback, open it as localhost\n",
)


class _RequestHandler(BaseHTTPRequestHandler):
    server: "_Server"
    server_version = "dynatomic"
    sys_version = ""
    protocol_version = "HTTP/1.0"  # one request for each connection
    timeout = HEAD_TIMEOUT_S

    def setup(self) -> None:
        """Read the head of the request, within its limits, before it is parsed."""
        super().setup()
        self.rfile = io.BytesIO(_head(self.request))
        self.request.settimeout(RESPONSE_TIMEOUT_S)  # sendall applies it to the whole response

    def do_GET(self) -> None:
        """Respond."""
        if not self.server.answers_to(self.headers.get_all("Host", [])):
            self._send(_FOREIGN_HOST)
            return
        respond = self.server.pages.paths.get(self.path.partition("?")[0])
        if respond is None:
            self._send(_NOT_FOUND)
            return
        self._send(respond(self.headers.get("Accept", "")))

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _send(self, response: PageResponse) -> None:
        status, content_type, body = response
        self.send_response(status)
        for name, value in {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Content-Security-Policy": self.server.policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Log nothing: the request line is text of the client."""


def _head(connection: socket.socket) -> bytes:
    """Return the head of a request, empty if it did not end within its limits."""
    deadline, head = time.monotonic() + HEAD_TIMEOUT_S, b""
    while b"\r\n\r\n" not in head and len(head) < MAX_HEAD_BYTES:
        if (left := deadline - time.monotonic()) <= 0:
            return b""
        connection.settimeout(left)
        chunk = connection.recv(4096)
        if not chunk:
            break
        head += chunk
    return head if b"\r\n\r\n" in head else b""


class _Server(HTTPServer):
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], pages: StatusPages) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.pages = pages
        self.policy = policy(pages.page)
        self._open: dict[socket.socket, Thread] = {}
        self._lock = Lock()
        super().__init__(address, _RequestHandler)

    def server_bind(self) -> None:
        """Bind, without a DNS request for the name of this host."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "dynatomic", self.server_address[1]
        self._is_loopback = is_loopback(self.socket.getsockname()[0])

    def answers_to(self, hosts: Sequence[str]) -> bool:
        """Return whether requests with these Host headers are answered.

        On other addresses than the loopback every name is: probes and Prometheus use names.
        """
        return not self._is_loopback or all_name_loopback(hosts)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Respond on a thread. If there are too many connections, close the oldest one."""
        self._make_room()
        thread = Thread(target=self._serve, args=(request, client_address), daemon=True)
        with self._lock:
            self._open[request] = thread
        try:
            thread.start()
        except RuntimeError:  # the system allows no further thread
            with self._lock:
                del self._open[request]
            raise

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """Log an error from before the request had a thread."""
        log.exception("request failed")  # noqa: LOG004 - called inside an except block

    def _make_room(self) -> None:
        with self._lock:
            if len(self._open) < MAX_CONNECTIONS:
                return
            oldest, thread = next(iter(self._open.items()))
        _cut(oldest)
        thread.join()

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client closed the connection, or was too slow
        except Exception:
            log.exception("request failed")
        finally:
            with self._lock:
                self._open.pop(request, None)
            self.shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, and close all connections."""
        super().server_close()
        with self._lock:
            still_open = list(self._open.items())
        for request, thread in still_open:
            _cut(request)
            thread.join()


def _cut(request: socket.socket) -> None:
    with suppress(OSError):  # the client may have closed it already
        request.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(settings: Settings) -> Iterator[StatusPages]:
    """Serve on the address of the settings while the block runs.

    Raises ConfigError if it cannot listen on that address. Without an address it takes the first
    free port from `DEFAULT_PORT` on; if none is free, it logs a warning and serves nothing.
    """
    pages = StatusPages(settings)
    server = None if settings.http == "off" else _listen(settings, pages)
    if server is None:
        yield pages
        return
    host, port = server.socket.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("serving", extra={"fields": {"url": f"http://{shown}:{port}/"}})
    thread = Thread(target=server.serve_forever, args=(0.2,), name="http", daemon=True)
    thread.start()
    try:
        yield pages
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _listen(settings: Settings, pages: StatusPages) -> _Server | None:
    if settings.http is not None:
        host, _, port_text = settings.http.rpartition(":")
        try:
            return _Server((host.strip("[]"), int(port_text)), pages)
        except OSError as error:
            raise ConfigError(
                f"http: cannot listen on {settings.http} ({error.strerror or error}); give another "
                "address with --http, or off"
            ) from None
    for port in range(DEFAULT_PORT, DEFAULT_PORT + MAX_PORTS_TRIED):
        try:
            return _Server((DEFAULT_HOST, port), pages)
        except OSError:  # another process has the port, such as a second consumer of this host
            continue
    fields = {"host": DEFAULT_HOST, "ports": f"{DEFAULT_PORT}-{DEFAULT_PORT + MAX_PORTS_TRIED - 1}"}
    log.warning("no free port, so nothing is served", extra={"fields": fields})
    return None
