"""Counts the requests of each customer in Django, Flask, or any other WSGI application.

With Django, in ``wsgi.py``::

    application = CountRequests(get_wsgi_application(), bootstrap_servers="localhost:9092")

It counts in the table ``usage``: the attributes ``requests`` and ``bytes`` of the item of the
customer whose id is in the header ``X-Customer``, which your gateway sets after it has checked the
caller. Rows are summed for 100 ms before they are sent, and the last ones when the process ends. A
row that cannot be queued is logged; the response is not affected.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dynatomic import DynatomicError, Emitter, Row

log = logging.getLogger(__name__)

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class CountRequests:
    """WSGI middleware. ``options`` are those of `Emitter`."""

    def __init__(self, app: App, *, table: str = "usage", **options: Any) -> None:
        self._app = app
        self._table = table
        self._options = {"sum_ms": 100, **options}
        self._making = threading.Lock()
        self._emit: Emitter | None = None

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterator[bytes]:
        """Serve a request, and count it when its last byte was taken or the client has gone."""
        sent_bytes = 0
        body = self._app(environ, start_response)
        try:
            for chunk in body:
                sent_bytes += len(chunk)
                yield chunk
        finally:
            if close := getattr(body, "close", None):
                close()
            if customer := environ.get("HTTP_X_CUSTOMER"):
                self._count(customer, sent_bytes)

    def _count(self, customer: str, sent_bytes: int) -> None:
        try:
            emit = self._emitter()
            emit(Row(self._table, customer, counter="requests"))
            emit(Row(self._table, customer, counter="bytes", incr=sent_bytes))
        except DynatomicError as error:
            log.error("request not counted: %s", error)  # noqa: TRY400 - one line

    def _emitter(self) -> Emitter:
        """Return the Emitter of this process. It is made after a server such as gunicorn forked."""
        with self._making:
            if self._emit is None:
                self._emit = Emitter(**self._options)
        return self._emit

    def close(self) -> None:
        """Store the last rows. At the end of the process this is done without a call."""
        if self._emit is not None:
            self._emit.close()
