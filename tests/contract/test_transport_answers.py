"""The transport reads answers of any form from a local socket."""

import socketserver
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from socket import SHUT_RDWR
from threading import Event, Semaphore, Thread
from typing import Any
from unittest.mock import patch

import botocore.auth
import botocore.awsrequest
import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
)

from dynatomic.dynamodb.client import UnreadableAnswerError
from dynatomic.dynamodb.direct.transport import Transport
from tests.support.transport import PAYLOAD, new_client

HEAD = b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: 7\r\nContent-Length: 16\r\n"


BODY = b'{"Responses":[]}'


@contextmanager
def answering(*answers: Sequence[bytes]) -> Iterator[tuple[str, list[int], Semaphore]]:
    """Serve these answers in turn, in these pieces; count requests a connection.

    An empty piece ends the connection. The semaphore is released when it has ended.
    """
    ended = Semaphore(0)
    asked: list[int] = []
    turns = cycle(answers)

    class Server(socketserver.ThreadingTCPServer):
        block_on_close = False  # clients keep their connections
        daemon_threads = True

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(0)
            mine = len(asked) - 1
            while self.asks():
                asked[mine] += 1
                for piece in next(turns):
                    if not piece:
                        self.request.shutdown(SHUT_RDWR)
                        ended.release()
                        return
                    self.request.sendall(piece)
                    seen.wait(0.01)

        def asks(self) -> bool:
            got = b""
            while not got.endswith(PAYLOAD):
                more = self.request.recv(65536)
                if not more:
                    return False
                got += more
            return True

    seen = Event()
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked, ended
        finally:
            server.shutdown()
            thread.join()


CHUNKED = HEAD.replace(b"Content-Length: 16", b"Transfer-Encoding: chunked")


LARGE = b'{"Responses":[], "more": "' + b"x" * 100_000 + b'"}'


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        ([HEAD + b"\r\n" + BODY], 1),
        ([HEAD + b"Connection: keep-alive\r\n\r\n" + BODY], 1),
        ([HEAD + b"\r\n", BODY], 1),
        ([HEAD + b"\r\n" + BODY[:3], BODY[3:]], 1),
        ([HEAD[:30], HEAD[30:] + b"\r\n" + BODY], 1),
        ([HEAD.replace(b"16", b"%d" % len(LARGE)) + b"\r\n" + LARGE], 1),
        ([CHUNKED + b"\r\n10\r\n" + BODY + b"\r\n0\r\n\r\n"], 1),
        ([CHUNKED + b"Content-Length: 3\r\n\r\n10\r\n" + BODY + b"\r\n0\r\n\r\n"], 1),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"\r\n" + BODY], 1),
        ([HEAD + b"Folded: a\r\n b\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n" + BODY], 1),
        ([HEAD + b"\r\n" + BODY, b""], 3),
        ([HEAD + b"Connection: close\r\n\r\n" + BODY], 3),
        ([HEAD.replace(b"1.1", b"1.0") + b"\r\n" + BODY, b""], 3),
        ([b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: 7\r\n\r\n" + BODY, b""], 3),
    ],
)
@pytest.mark.parametrize("direct", [True, False])
def test_answers_of_any_form_are_read(
    answer: Sequence[bytes], connections: int, *, direct: bool
) -> None:
    with answering(answer) as (url, asked, ended):
        transport = Transport(new_client(url), direct=direct)
        for _ in range(3):
            found = transport.send(PAYLOAD)
            assert b"" not in answer or ended.acquire(timeout=10)
            assert found["Responses"] == []
            assert found["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] == "7"
        assert sum(asked) == 3
        assert len(asked) == connections


@pytest.mark.parametrize(
    "answer",
    [
        [b""],
        [HEAD, b""],
        [HEAD + b"\r\n" + BODY[:5], b""],
        [CHUNKED + b"\r\n10\r\n" + BODY[:5], b""],
        [b"SSH-2.0-OpenSSH_9.2\r\n", b""],
    ],
)
def test_half_an_answer_is_a_closed_connection(answer: Sequence[bytes]) -> None:
    with answering(answer, [HEAD + b"\r\n" + BODY]) as (url, asked, _):
        transport = Transport(new_client(url))
        with pytest.raises(ConnectionClosedError):
            transport.send(PAYLOAD)
        assert transport.send(PAYLOAD)["Responses"] == []
        assert asked == [1, 1]


def test_what_a_server_sends_beyond_its_answer_is_no_answer_to_the_next_request() -> None:
    forged = HEAD.replace(b"7", b"666") + b"\r\n" + BODY
    usual = HEAD + b"\r\n" + BODY
    with answering([usual + forged], [usual]) as (url, asked, _):
        transport = Transport(new_client(url))
        for _ in range(2):
            found = transport.send(PAYLOAD)
            assert found["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] == "7"
        assert asked == [1, 1]


def test_what_a_server_sends_beyond_a_large_answer_is_dropped_with_the_connection() -> None:
    large = HEAD.replace(b"16", b"%d" % len(LARGE)) + b"\r\n" + LARGE
    for cut in (20, 60):
        forged = HEAD.replace(b"7", b"666") + b"\r\n" + BODY
        pieces = [large + forged[:cut], forged[cut:]]
        with answering(pieces, [HEAD + b"\r\n" + BODY]) as (url, asked, _):
            transport = Transport(new_client(url))
            for _ in range(2):
                found = transport.send(PAYLOAD)
                assert found["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] == "7"
            assert asked == [1, 1]


@pytest.mark.parametrize("status", [b"102 Processing", b"103 Early Hints"])
def test_the_answer_after_an_interim_one_is_none_to_the_next_request(status: bytes) -> None:
    late = HEAD.replace(b"7", b"666") + b"\r\n" + BODY
    interim = [b"HTTP/1.1 " + status + b"\r\n\r\n", late]
    with answering(interim, [HEAD + b"\r\n" + BODY]) as (url, asked, _):
        transport = Transport(new_client(url))
        with pytest.raises((BotoCoreError, ClientError, UnreadableAnswerError)):
            transport.send(PAYLOAD)
        found = transport.send(PAYLOAD)
        assert found["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] == "7"
        assert asked == [1, 1]


class Encrypted:
    """A connection's socket, of which TLS has decrypted more than was read."""

    def __init__(self, connection: Any) -> None:
        self._sock, self.pending = connection.sock, lambda: 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def test_what_tls_has_decrypted_beyond_an_answer_is_dropped_with_the_connection() -> None:
    plain = botocore.awsrequest.AWSHTTPConnection.connect

    def connect(connection: Any) -> None:
        plain(connection)
        connection.sock = Encrypted(connection)

    with (
        answering([HEAD + b"\r\n" + BODY]) as (url, asked, _),
        patch.object(botocore.awsrequest.AWSHTTPConnection, "connect", connect),
    ):
        transport = Transport(new_client(url))
        for _ in range(2):
            transport.send(PAYLOAD)
        assert asked == [1, 1]
