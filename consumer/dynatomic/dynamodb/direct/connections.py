"""Sends whole requests as bytes over the connections of a urllib3 pool, and reads the answers.

urllib3 connects, checks certificates, keeps the connections and detects those that a server has
closed. urllib3 and http.client spend ten times the CPU of the two system calls on each request,
so http.client reads only an answer of an unusual form. Errors are those of botocore.
"""

import io
import re
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, IncompleteRead
from socket import gaierror, socket
from ssl import SSLError as TLSError
from typing import Any, NamedTuple, cast

from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.exceptions import ConnectTimeoutError as ConnectTimeout
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import SSLError as PoolTLSError

# Only statuses whose answers have a body.
_USUAL = re.compile(rb"HTTP/1\.1 (200|400|5\d\d)[ -~]*\r\n((?:[\w-]+:[\t -~]*\r\n)*)\r\n")


class HttpResponse(NamedTuple):
    """An answer, with the names of its headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    reusable: bool
    """Whether the connection can be used for another request."""


class Connections:
    """Sends requests and returns the answers. Thread-safe. Raises the errors of botocore.

    ``pool`` is a `urllib3.HTTPConnectionPool` without a proxy; errors contain ``url``. An
    AttributeError means that this version of urllib3 does not have the expected parts.
    """

    def __init__(self, pool: Any, url: str, path: str) -> None:
        self._get, self._put, self._new = pool._get_conn, pool._put_conn, pool._new_conn  # noqa: SLF001 - no public names
        self._read_timeout: float | None = pool.timeout.read_timeout
        self._url = url
        self._path = path

    def written(self, request: Any) -> bytes:
        """Return the bytes that urllib3 would send for a request of botocore."""
        pieces: list[bytes] = []
        connection = self._new()
        connection.send = pieces.append
        connection.request("POST", self._path, request.body, request.headers)
        if connection.sock is not None or not connection.is_closed:
            raise AttributeError("the connection was opened")
        return b"".join(pieces)

    def exchange(self, request: bytes) -> HttpResponse:
        """Send a request, head and body, and return its answer."""
        connection, reusable = self._get(), False
        try:
            response = self._exchanged(connection, request)
            reusable = response.reusable
        except (NewConnectionError, gaierror) as error:
            raise EndpointConnectionError(endpoint_url=self._url, error=error) from error
        except ConnectTimeout as error:
            raise ConnectTimeoutError(endpoint_url=self._url, error=error) from error
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=self._url, error=error) from error
        except (TLSError, PoolTLSError) as error:
            raise SSLError(endpoint_url=self._url, error=error) from error
        except (OSError, HTTPException) as error:
            raise ConnectionClosedError(endpoint_url=self._url, error=error) from error
        except HTTPError as error:
            raise HTTPClientError(error=error) from error
        finally:
            if not reusable:
                connection.close()
            self._put(connection)
        return response

    def _exchanged(self, connection: Any, request: bytes) -> HttpResponse:
        if connection.is_closed:
            connection.connect()
            connection.sock.settimeout(self._read_timeout)
        # A server may answer and close the connection before it has read the whole request.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.send(request)
        with connection.sock.makefile("rb") as stream:
            response = _usual(stream) or _unusual(stream)
        # With TLS, the socket does not show bytes that are decrypted already.
        pending = getattr(connection.sock, "pending", lambda: 0)()
        return response._replace(reusable=False) if pending else response


def _usual(stream: io.BufferedReader) -> HttpResponse | None:
    """Return an answer with a complete head of the usual form; otherwise read nothing."""
    received = stream.peek()
    head = _USUAL.match(received)
    if head is None:
        return None
    pairs = [line.partition(":") for line in head[2].decode().split("\r\n")[:-1]]
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    length = headers.get("content-length", "")
    if (
        len(headers) != len(pairs)
        or not length.isdecimal()
        or "transfer-encoding" in headers
        or headers.get("connection", "keep-alive").lower() != "keep-alive"
    ):
        return None
    end = head.end() + int(length)
    pieces = [stream.read(min(len(received), end))]
    missing = end - len(pieces[0])
    while missing and (piece := stream.raw.read(missing)):  # the buffer would read past the end
        pieces.append(piece)
        missing -= len(piece)
    body = b"".join(pieces)[head.end() :]
    if len(body) < int(length):
        raise IncompleteRead(body, int(length) - len(body))
    # Bytes after the answer must not become the answer to the next request.
    return HttpResponse(int(head[1]), headers, body, reusable=len(received) <= end)


class _Stream:
    """A socket for http.client that reads from a stream, with the bytes that were peeked."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream

    def makefile(self, _mode: str) -> io.BufferedReader:
        return self._stream


def _unusual(stream: io.BufferedReader) -> HttpResponse:
    answer = HTTPResponse(cast("socket", _Stream(stream)), method="POST")
    answer.begin()
    body = answer.read()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    # After an interim answer, such as 103, the final one still follows.
    reusable = not answer.will_close and answer.status >= HTTPStatus.OK
    return HttpResponse(answer.status, headers, body, reusable)
