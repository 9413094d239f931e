"""Whole requests as bytes over the connections of a urllib3 pool, and their answers.

urllib3 connects, checks certificates, keeps the connections and notices those that a server has
closed. What it and http.client do around each request costs ten times the two calls of the
system, so only an answer that is not of the usual form is read by http.client. Errors are
botocore's, as for its own requests.
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

# The status of an answer that has a body.
_USUAL = re.compile(rb"HTTP/1\.1 (200|400|5\d\d)[ -~]*\r\n((?:[\w-]+:[\t -~]*\r\n)*)\r\n")


class Response(NamedTuple):
    """An answer; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    reusable: bool
    """Whether the connection takes another request."""


class Connections:
    """Exchanges requests for answers, from any thread. Raises botocore's errors.

    ``pool`` is a `urllib3.HTTPConnectionPool` that goes through no proxy; ``url`` is told in
    errors. AttributeError from here says that this urllib3 has no such pool.
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
            raise AttributeError("a connection is made")
        return b"".join(pieces)

    def exchange(self, request: bytes) -> Response:
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

    def _exchanged(self, connection: Any, request: bytes) -> Response:
        if connection.is_closed:
            connection.connect()
            connection.sock.settimeout(self._read_timeout)
        # A server may answer, and close, before it has read all.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.send(request)
        with connection.sock.makefile("rb") as stream:
            response = _usual(stream) or _unusual(stream)
        # With TLS, what is decrypted already is not seen in the socket.
        left = getattr(connection.sock, "pending", lambda: 0)()
        return response._replace(reusable=False) if left else response


def _usual(stream: io.BufferedReader) -> Response | None:
    """Return an answer whose head has come as a whole and is as usual; else, read nothing."""
    seen = stream.peek()
    found = _USUAL.match(seen)
    if found is None:
        return None
    pairs = [line.partition(":") for line in found[2].decode().split("\r\n")[:-1]]
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    length = headers.get("content-length", "")
    if (
        len(headers) != len(pairs)
        or not length.isdecimal()
        or "transfer-encoding" in headers
        or headers.get("connection", "keep-alive").lower() != "keep-alive"
    ):
        return None
    end = found.end() + int(length)
    pieces = [stream.read(min(len(seen), end))]
    left = end - len(pieces[0])
    while left and (more := stream.raw.read(left)):  # the buffer would read beyond the end
        pieces.append(more)
        left -= len(more)
    body = b"".join(pieces)[found.end() :]
    if len(body) < int(length):
        raise IncompleteRead(body, int(length) - len(body))
    # What stands behind an answer must not become the answer to the next request.
    return Response(int(found[1]), headers, body, reusable=len(seen) <= end)


class _Stream:
    """What http.client takes for a socket: it reads what was only looked at before."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream

    def makefile(self, _mode: str) -> io.BufferedReader:
        return self._stream


def _unusual(stream: io.BufferedReader) -> Response:
    answer = HTTPResponse(cast("socket", _Stream(stream)), method="POST")
    answer.begin()
    body = answer.read()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    # After an interim answer, such as 103, the final one is still to come.
    reusable = not answer.will_close and answer.status >= HTTPStatus.OK
    return Response(answer.status, headers, body, reusable)
