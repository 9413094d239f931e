"""A client for the HTTP endpoint of a consumer, for its tests."""

import json
import re
import socket
import threading
import urllib.error
import urllib.request
from typing import Any

from dynatomic.service.pages import StatusPages

LOCAL = "127.0.0.1:0"


class Served:
    """A running endpoint, and its address."""

    def __init__(self, pages: StatusPages, port: int) -> None:
        self.pages = pages
        self.port = port

    def get(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return the status, the headers and the body of a response."""
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - ours
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def metrics(self) -> bytes:
        """Return the page of /metrics without the labels that every metric has."""
        page = re.sub(rb'(group|topic)="[^"]*",?', b"", self.get("/metrics")[2])
        return page.replace(b",}", b"}").replace(b"{}", b"")

    def json(self, path: str) -> tuple[int, Any]:
        """Return the status and the decoded body of a response."""
        status, _, body = self.get(path)
        return status, json.loads(body)

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


def port_of(records: list[Any]) -> int:
    """Return the port that the log line "serving" names."""
    (url,) = [r.fields["url"] for r in records if r.getMessage() == "serving"]
    return int(url.rstrip("/").rpartition(":")[2])


def threads() -> int:
    """Return how many threads run."""
    return sum(thread.is_alive() for thread in threading.enumerate())
