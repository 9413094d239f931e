"""A broker just after its start: it answers, but its metadata contains no broker.

Apache Kafka with KRaft does so until its controller unfences the broker, for some milliseconds.
Source: the format of Metadata's answers, Apache Kafka, *Protocol guide*.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

from dynatomic.testing.embedded import free_port
from tests.support.waiting import wait_until

HEAD, METADATA, FLEXIBLE, MORE = 4, 3, 9, 0x80
NO_BROKERS, NO_CONTROLLER = b"\x01", struct.pack(">i", -1)


def _uvarint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte % MORE) << shift
        at, shift = at + 1, shift + 7
        if byte < MORE:
            return number, at


def _after_text(data: bytes, at: int) -> int:
    length, at = _uvarint(data, at)
    return at + max(0, length - 1)


def without_brokers(answer: bytes) -> bytes:
    """Return a Metadata answer, of version 9 or later, that is the same but for its brokers."""
    first = 4 + 1 + 4  # correlation id, no tags, throttle time
    count, at = _uvarint(answer, first)
    for _ in range(count - 1):
        at = _after_text(answer, at + 4)  # node id, host
        at = _after_text(answer, at + 4) + 1  # port, rack, no tags
    controller = _after_text(answer, at)  # cluster id
    rest = answer[controller + 4 :]
    return answer[:first] + NO_BROKERS + answer[at:controller] + NO_CONTROLLER + rest


class FencedProxy:
    """Stands before a broker that advertises ``port``, and fences it while ``fenced`` is set.

    ``told`` counts the answers without a broker.
    """

    def __init__(self) -> None:
        """Take a port of 127.0.0.1; nothing is accepted before `forward`."""
        self.port = free_port()
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        self.fenced = False
        self.told = 0
        self._open: list[socket.socket] = []
        self._server: socket.socket | None = None

    def forward(self, bootstrap_servers: str) -> None:
        """Accept connections, and forward each to this broker."""
        host, port = bootstrap_servers.split(":")
        server = self._server = socket.create_server(("127.0.0.1", self.port))

        def accept() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                self._join(client, socket.create_connection((host, int(port))))

        threading.Thread(target=accept, daemon=True).start()

    def fence(self, answers: int, *, cut: bool = False) -> None:
        """Fence the broker until so many answers named none; ``cut`` closes what is open first."""
        told, self.fenced = self.told, True
        if cut:
            self.cut()
        wait_until(lambda: self.told >= told + answers, "clients were told of no broker", 60)
        self.fenced = False

    def cut(self) -> None:
        """Close every connection."""
        while self._open:
            _close(self._open.pop())

    def close(self) -> None:
        """Accept nothing more, and close every connection."""
        if self._server is not None:
            _close(self._server)
        self.cut()

    def _join(self, client: socket.socket, broker: socket.socket) -> None:
        self._open += [client, broker]
        asked: set[bytes] = set()

        def request(frame: bytes) -> bytes:
            key, version = struct.unpack_from(">hh", frame)
            if key == METADATA:
                assert version >= FLEXIBLE, "a client too old for this proxy"
                asked.add(frame[4:8])
            return frame

        def answer(frame: bytes) -> bytes:
            if frame[:4] not in asked:
                return frame
            asked.remove(frame[:4])
            if not self.fenced:
                return frame
            self.told += 1
            return without_brokers(frame)

        for source, target, change in ((client, broker, request), (broker, client, answer)):
            threading.Thread(target=_pump, args=(source, target, change), daemon=True).start()

    def __enter__(self) -> Self:
        """Give this proxy to the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def _pump(source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes]) -> None:
    reader = source.makefile("rb")
    with contextlib.suppress(OSError):  # the other side has gone, or all is cut
        while len(head := reader.read(HEAD)) == HEAD:
            frame = change(reader.read(struct.unpack(">i", head)[0]))
            target.sendall(struct.pack(">i", len(frame)) + frame)
    _close(source)
    _close(target)


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is closed, or was never connected
        one.shutdown(socket.SHUT_RDWR)
    one.close()
