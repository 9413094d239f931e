"""The Emitter for asyncio: no call blocks the event loop."""

import asyncio
from types import TracebackType
from typing import Self

from dynatomic.errors import DeliveryError
from dynatomic.events.row import Row
from dynatomic.kafka.delivery import Receipt
from dynatomic.kafka.emitter import Emitter

_POLL_PAUSE_S = 0.005


class AsyncEmitter:
    """Emits rows from one event loop by an `Emitter`, which it closes.

    ::

        async with AsyncEmitter(Emitter("localhost:9092")) as emit:
            await emit(Row("page-views", "home"))            # queued
            await emit.confirm(Row("page-views", "home"))    # stored

    A call that would wait, for a full queue or for all rows, waits in a thread.
    """

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._waiting: set[asyncio.Future[None]] = set()
        self._poller: asyncio.Task[None] | None = None

    async def __call__(self, row: Row) -> None:
        """Queue one row. Raises as a call of the `Emitter`."""
        if not self._emitter.try_emit(row):
            await asyncio.to_thread(self._emitter, row)

    async def confirm(self, row: Row, timeout_s: float | None = None) -> None:
        """Queue one row, and return when it is stored. Raises as `Emitter.confirm`."""
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[None] = loop.create_future()
        topic = self._emitter.topic
        receipt = Receipt(topic, lambda: loop.call_soon_threadsafe(_resolve, stored))
        if not self._emitter.send_for(receipt, row, wait=False):
            await asyncio.to_thread(self._emitter.send_for, receipt, row)
        self._waiting.add(stored)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._serve())
        try:
            async with asyncio.timeout(self._emitter.timeout_s if timeout_s is None else timeout_s):
                await stored
        except TimeoutError:
            pass  # the receipt says so
        finally:
            self._waiting.discard(stored)
            receipt.is_given_up = not receipt.is_done
        receipt.check()

    async def flush(self, timeout_s: float | None = None) -> None:
        """Wait until every row is stored. Raises as `Emitter.flush`."""
        await asyncio.to_thread(self._emitter.flush, timeout_s)

    async def close(self) -> None:
        """Flush, and accept no more rows. Raises as `flush` does."""
        await asyncio.to_thread(self._emitter.close)

    async def _serve(self) -> None:
        """Serve delivery reports while a confirmation is waited for."""
        while self._waiting:
            try:
                self._emitter.serve()
            except DeliveryError as error:
                for stored in self._waiting:
                    if not stored.done():
                        stored.set_exception(error)
                return
            await asyncio.sleep(_POLL_PAUSE_S)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._emitter.__exit__, kind, error, _)


def _resolve(stored: "asyncio.Future[None]") -> None:
    if not stored.done():
        stored.set_result(None)
