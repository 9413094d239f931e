"""The examples count what they say, with brokers of the test."""

import asyncio
import importlib.util
import io
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from dynatomic import DeliveryError
from dynatomic.testing.embedded import free_port
from dynatomic.testing.mock_broker import MockBroker
from tests.support.emitting import Producer, total_of

EXAMPLES = Path(__file__).parents[2] / "examples" / "producers"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def usage(values: Iterable[bytes]) -> dict[tuple[str, str], int]:
    """Return the sums by customer and counter."""
    return {(key, counter): n for (_, key, _, counter), n in total_of(values).items()}


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for stage in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{stage}"
            await send({"type": f"lifespan.{stage}.complete"})
        return
    if scope["path"] == "/broken":
        raise ZeroDivisionError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hel", "more_body": True})
    await send({"type": "http.response.body", "body": b"lo"})


def test_the_asgi_middleware_counts_requests_of_customers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    producer = Producer()
    app = load("asgi_middleware").CountRequests(asgi_app, producer=producer)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def get(customer: bytes | None, path: str = "/") -> None:
        headers = [] if customer is None else [(b"x-customer", customer)]
        await app({"type": "http", "path": path, "headers": headers}, None, send)

    async def serve() -> None:
        stages = asyncio.Queue[Any]()
        lifespan = asyncio.create_task(app({"type": "lifespan"}, stages.get, send))
        stages.put_nowait({"type": "lifespan.startup"})
        for customer in (b"c-1", b"c-2", b"c-1", None, b"k" * 2049):
            await get(customer)  # no counter can have the last key
        with pytest.raises(ZeroDivisionError):
            await get(b"c-1", "/broken")
        stages.put_nowait({"type": "lifespan.shutdown"})
        await lifespan

    asyncio.run(serve())
    assert usage(producer.values) == {
        ("c-1", "requests"): 3,
        ("c-1", "bytes"): 10,
        ("c-2", "requests"): 1,
        ("c-2", "bytes"): 5,
    }
    assert b"".join(message.get("body", b"") for message in sent) == b"hello" * 5
    assert sent[-1] == {"type": "lifespan.shutdown.complete"}
    assert "request not counted: key-too-large" in caplog.text


def wsgi_app(_environ: Any, start_response: Callable[..., Any]) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"hel"
    yield b"lo"


def call(app: Any, customer: str | None, *, chunks: int = 2) -> bytes:
    """Call a WSGI application; the client may go before the last chunk."""
    environ: dict[str, Any] = {"QUERY_STRING": ""}
    if customer is not None:
        environ["HTTP_X_CUSTOMER"] = customer
    setup_testing_defaults(environ)
    environ["wsgi.input"] = io.BytesIO()
    body = app(environ, lambda *_: io.BytesIO().write)
    try:
        return b"".join(islice(body, chunks))
    finally:
        body.close()


def test_the_wsgi_middleware_counts_requests_of_customers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    producer = Producer()
    count_requests = load("wsgi_middleware").CountRequests
    app = count_requests(validator(wsgi_app), producer=producer)
    for customer in ("c-1", "c-2", "c-1", None):
        assert call(app, customer, chunks=9) == b"hello"
    assert call(app, "c-2", chunks=1) == b"hel"
    call(app, "k" * 2049)  # no counter can have this key
    app.close()
    assert usage(producer.values) == {
        ("c-1", "requests"): 2,
        ("c-1", "bytes"): 10,
        ("c-2", "requests"): 2,
        ("c-2", "bytes"): 8,
    }
    assert "request not counted: key-too-large" in caplog.text


def test_the_lambda_function_returns_when_its_rows_are_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = MockBroker()
    broker.create_topic("row-events", 1)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    module = load("lambda_handler")
    event = {"headers": {"x-customer": "c-1"}}
    for call_number in (1, 2):
        assert module.handler(event, None) == {"statusCode": 200, "body": "hello"}
        assert module.emitter().confirmed == 2 * call_number  # not only queued
    module.emitter().close()
    broker.close()


def limited(emitter: Callable[..., Any], servers: str, timeout_s: float) -> Any:
    return emitter(servers, timeout_s=timeout_s / 25)


def test_the_lambda_function_fails_if_the_brokers_do_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    module = load("lambda_handler")
    monkeypatch.setattr(module, "Emitter", partial(limited, module.Emitter))
    with pytest.raises(DeliveryError, match="2 of 2 rows are not confirmed"):
        module.handler({"headers": {"x-customer": "c-1"}}, None)
    module.emitter().close()
