"""Passes TCP connections to a server on another port, for a server that chooses its own."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from dynatomic.errors import DynatomicError

_CHUNK_BYTES = 65_536
_ADDRESSES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


class Forwarder:
    """Listens on a port of localhost, and passes each connection to ``target`` (host:port)."""

    def __init__(self, port: int, target: str) -> None:
        """Listen. Raises `DynatomicError` if the port is taken."""
        host, _, target_port = target.rpartition(":")
        self._target = (host, int(target_port))
        self._servers = []
        for family, address in _ADDRESSES:
            try:
                self._servers.append(socket.create_server((address, port), family=family))
            except OSError as error:
                if family == socket.AF_INET6:  # a machine without IPv6
                    continue
                raise port_taken(port, error) from None
        for server in self._servers:
            threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        for server in self._servers:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            server.close()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return  # it was closed
            try:
                upstream = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            for pair in ((client, upstream), (upstream, client)):
                threading.Thread(target=_copy, args=pair, daemon=True).start()

    def __enter__(self) -> Self:
        """Give this object to the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def check_free(port: int) -> None:
    """Raise `DynatomicError` if something listens on the port of 127.0.0.1."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise port_taken(port, error) from None


def port_taken(port: int, error: OSError) -> DynatomicError:
    """Return the error to raise for a port that cannot be used."""
    return DynatomicError(
        f"cannot listen on 127.0.0.1:{port} ({error.strerror or error}); end what listens there, "
        "or give another port"
    )


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            target.sendall(chunk)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
