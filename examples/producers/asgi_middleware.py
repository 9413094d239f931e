"""Counts the requests of each customer in FastAPI, Starlette, or any other ASGI application.

With FastAPI or Starlette::

    app.add_middleware(CountRequests, bootstrap_servers="localhost:9092")

It counts in the table ``usage``: the attributes ``requests`` and ``bytes`` of the item of the
customer whose id is in the header ``x-customer``, which your gateway sets after it has checked the
caller. Rows are summed for 100 ms before they are sent, and the last ones are stored when the
server sends the lifespan event of the shutdown. A row that cannot be queued is logged; the response
is not affected.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from dynatomic import AsyncEmitter, DynatomicError, Emitter, Row

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class CountRequests:
    """ASGI middleware. ``options`` are those of `Emitter`."""

    def __init__(self, app: App, *, table: str = "usage", **options: Any) -> None:
        self._app = app
        self._table = table
        self._options = {"sum_ms": 100, **options}
        self._emit: AsyncEmitter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request and count it, or the lifespan of the application."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._count(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent_bytes = 0

        async def counted(message: MutableMapping[str, Any]) -> None:
            nonlocal sent_bytes
            sent_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            customer = dict(scope["headers"]).get(b"x-customer", b"").decode("latin-1")
            if customer:
                await self._emit_rows(customer, sent_bytes)

    async def _emit_rows(self, customer: str, sent_bytes: int) -> None:
        try:
            # Not made before the worker process was: an Emitter does not survive a fork.
            if self._emit is None:
                self._emit = AsyncEmitter(Emitter(**self._options))
            await self._emit(Row(self._table, customer, counter="requests"))
            await self._emit(Row(self._table, customer, counter="bytes", incr=sent_bytes))
        except DynatomicError as error:
            log.error("request not counted: %s", error)  # noqa: TRY400 - one line

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def closed(message: MutableMapping[str, Any]) -> None:
            if message["type"].startswith("lifespan.shutdown") and self._emit is not None:
                await self._emit.close()  # raises DeliveryError: the server logs it
            await send(message)

        await self._app(scope, receive, closed)
