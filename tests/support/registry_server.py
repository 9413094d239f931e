"""A schema registry of a few lines, which can also behave badly."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]
"""A status, and what becomes JSON; or bytes, or a function that writes to the connection."""


class FakeRegistry:
    """Answers by path. Unknown paths get what a registry says of a schema that does not exist."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []

    def add(self, schema_id: int, schema: Any, **fields: Any) -> None:
        """Add a schema."""
        self.answers[f"/schemas/ids/{schema_id}"] = 200, {"schema": json.dumps(schema), **fields}

    def add_version(self, subject: str, version: int | str, schema: Any, **fields: Any) -> None:
        """Add a version of a subject."""
        body = {"subject": subject, "version": 1, "id": 9, "schema": json.dumps(schema), **fields}
        self.answers[f"/subjects/{subject}/versions/{version}"] = 200, body


@contextmanager
def fake_registry() -> Iterator[FakeRegistry]:
    """Run a registry on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            headers = {name.lower(): value for name, value in self.headers.items()}
            registry.requests.append((path, headers))
            missing = 404, {"error_code": 40403, "message": "Schema not found"}
            status, body = registry.answers.get(path, missing)
            if callable(body):
                body(self)
                return
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry = FakeRegistry(server)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield registry
        server.shutdown()
        thread.join()


def endless(stopped: threading.Event, chunk: bytes, pause_s: float) -> Callable[[Any], None]:
    """Return an answer that never ends."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while not stopped.wait(pause_s):
                handler.wfile.write(chunk)
        except OSError:  # the client has gone
            return

    return write
