"""The HTTP endpoint: /metrics, /livez, /readyz, /status and the page at /, in threads of its own.

Only GET and HEAD, one request a connection. No client can stall or grow the process: a request's
head is bounded in bytes and time, an answer in time, connections in number; of too many, the
oldest is cut off, so that a probe always gets in.
"""

import base64
import hashlib
import io
import json
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata, resources
from threading import Lock, Thread
from typing import Any

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError
from dynatomic.service.prometheus import Metrics
from dynatomic.service.status import Status, stall_fields

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 16
HEAD_BYTES, HEAD_S, ANSWER_S = 16 * 1024, 5.0, 5.0
DEFAULT_HOST, DEFAULT_PORT, PORTS_TRIED = "127.0.0.1", 9108, 10

Answer = tuple[HTTPStatus, str, bytes]
_JSON = "application/json"


class StatusPages:
    """What the paths answer; ``status`` is None while the consumer starts."""

    def __init__(self, settings: Settings) -> None:
        self.status: Status | None = None
        self._version = version()
        self._metrics = Metrics(self._version, settings.processing_guarantee)
        self.page = resources.files("dynatomic.service").joinpath("page.html").read_bytes()
        self.paths: Mapping[str, Callable[[str], Answer]] = {
            "/": lambda _: (HTTPStatus.OK, "text/html; charset=utf-8", self.page),
            "/metrics": self._measured,
            "/livez": self._live,
            "/livez/restart": self._restart,
            "/readyz": self._ready,
            "/status": self._report,
        }

    def attach(self, status: Status) -> None:
        """Answer from this one from now on."""
        self.status = self._metrics.status = status

    def _measured(self, accept: str) -> Answer:
        body, content_type = self._metrics.page(accept)
        return HTTPStatus.OK, content_type, body

    def _live(self, _accept: str) -> Answer:
        stuck = self.status.stalls() if self.status else []
        return _judged(live=not stuck, stuck=[stall_fields(each) for each in stuck])

    def _restart(self, _accept: str) -> Answer:
        """Answer as /livez, for those causes alone that a restart of this process mends."""
        stuck = self.status.stalls() if self.status else []
        mended = [stall_fields(each) for each in stuck if each.cause.restart]
        return _judged(live=not mended, stuck=mended)

    def _ready(self, _accept: str) -> Answer:
        return _judged(ready=self.status is not None and self.status.ready)

    def _report(self, _accept: str) -> Answer:
        report = self.status.report() if self.status else {"state": "starting"}
        return _json(HTTPStatus.OK, {"version": self._version, **report})


def version() -> str:
    """Return the version of what is installed."""
    try:
        return metadata.version("dynatomic")
    except metadata.PackageNotFoundError:
        return "unknown"


def _judged(**told: Any) -> Answer:
    good = next(iter(told.values()))
    return _json(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, told)


def _json(status: HTTPStatus, body: object) -> Answer:
    return status, _JSON, json.dumps(body).encode() + b"\n"


def policy(page: bytes) -> str:
    """Return the content security policy of a page: its own style and script, nothing else."""
    style, script = (
        " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"
            for text in re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), page, flags=re.DOTALL)
        )
        for tag in (b"style", b"script")
    )
    return (
        f"default-src 'none'; style-src {style}; script-src {script}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    server_version = "dynatomic"
    sys_version = ""
    protocol_version = "HTTP/1.0"  # one request a connection
    timeout = HEAD_S

    def setup(self) -> None:
        """Read the head of the request, within its bounds, before it is parsed."""
        super().setup()
        self.rfile = io.BytesIO(_head(self.request))
        self.request.settimeout(ANSWER_S)  # of sendall, it bounds the whole

    def do_GET(self) -> None:
        """Answer."""
        find = self.server.view.paths.get(self.path.partition("?")[0])
        if find is None:
            self._send((HTTPStatus.NOT_FOUND, "text/plain", b"not found\n"))
            return
        self._send(find(self.headers.get("Accept", "")))

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _send(self, answer: Answer) -> None:
        status, content_type, body = answer
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

    def log_message(self, *_said: object) -> None:
        """Log nothing: what a client asks for is its own words."""


def _head(connection: socket.socket) -> bytes:
    """Return the head of a request, or what came of it until a bound was reached."""
    deadline, head = time.monotonic() + HEAD_S, b""
    while b"\r\n\r\n" not in head and len(head) < HEAD_BYTES:
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

    def __init__(self, address: tuple[str, int], view: StatusPages) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.view = view
        self.policy = policy(view.page)
        self._open: dict[socket.socket, Thread] = {}
        self._lock = Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, without asking a name server what we are called."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "dynatomic", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread; of too many connections the oldest is cut off."""
        self._make_room()
        thread = Thread(target=self._serve, args=(request, client_address), daemon=True)
        with self._lock:
            self._open[request] = thread
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            with self._lock:
                del self._open[request]
            raise

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """Log what a request met before it had a thread."""
        log.exception("request failed")  # noqa: LOG004 - called while it is handled

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
            pass  # the client has gone, or was too slow
        except Exception:
            log.exception("request failed")
        finally:
            with self._lock:
                self._open.pop(request, None)
            self.shutdown_request(request)

    def server_close(self) -> None:
        """Listen no more, and cut off who is still connected."""
        super().server_close()
        with self._lock:
            left = list(self._open.items())
        for request, thread in left:
            _cut(request)
            thread.join()


def _cut(request: socket.socket) -> None:
    with suppress(OSError):  # it may have gone by itself
        request.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(settings: Settings) -> Iterator[StatusPages]:
    """Serve, where the settings say, while the block lasts.

    Raises ConfigError if the address of the settings cannot be had. Of the default, the next free
    port is taken; where none is free, it says so and goes on without.
    """
    view = StatusPages(settings)
    server = None if settings.http == "off" else _listening(settings, view)
    if server is None:
        yield view
        return
    host, port = server.socket.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("serving", extra={"fields": {"url": f"http://{shown}:{port}/"}})
    thread = Thread(target=server.serve_forever, args=(0.2,), name="http", daemon=True)
    thread.start()
    try:
        yield view
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _listening(settings: Settings, view: StatusPages) -> _Server | None:
    if settings.http is not None:
        host, _, number = settings.http.rpartition(":")
        try:
            return _Server((host.strip("[]"), int(number)), view)
        except OSError as error:
            raise ConfigError(
                f"http: cannot listen on {settings.http} ({error.strerror or error}); give another "
                "address with --http, or off"
            ) from None
    for port in range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED):
        try:
            return _Server((DEFAULT_HOST, port), view)
        except OSError:
            continue
    fields = {"host": DEFAULT_HOST, "ports": f"{DEFAULT_PORT}-{DEFAULT_PORT + PORTS_TRIED - 1}"}
    log.warning("no free port, so nothing is served", extra={"fields": fields})
    return None
