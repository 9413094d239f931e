"""BatchExecuteStatement by boto3's own endpoint, credentials, signature and connections, no more.

Of a request through boto3 two thirds of the CPU time go into serialising, validating, events and
parsing, for a body that we know and an answer that is nearly always empty. So what never changes
of a request is taken once from the client, by its own event; each request is then signed by the
client's signer and goes through the client's connections. A client that has these parts no more
sends its requests itself.
"""

import json
import time
from collections.abc import Callable, Mapping
from socket import gaierror
from threading import Lock
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from botocore.awsrequest import AWSRequest
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
)
from botocore.parsers import create_parser
from urllib3.exceptions import ConnectTimeoutError as ConnectTimeout
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError
from urllib3.exceptions import ReadTimeoutError as ReadTimeout

from consumer.tables import ask, check_checksum

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

OPERATION = "BatchExecuteStatement"
KEPT_S = 60.0
"""How long endpoint and headers are kept; the endpoint may follow the credentials' account."""

_EVENT = f"before-call.dynamodb.{OPERATION}"
_OK = 200


class _Parts(NamedTuple):
    url: str
    headers: Mapping[str, str]
    context: Mapping[str, Any]
    sign: Callable[[str, Any], None]
    send: Callable[[Any], Any]


class Transport:
    """Sends the JSON bodies of batches, from any thread; ``direct`` False asks boto3 for all."""

    def __init__(self, client: "DynamoDBClient", *, direct: bool = True) -> None:
        self._client: Any = client
        self._direct = direct
        self._parts: _Parts | None = None
        self._until = 0.0
        self._lock = Lock()

    def send(self, body: bytes) -> Mapping[str, Any]:
        """Send one request and return its answer; raises what boto3 raises."""
        parts = self._now() if self._direct else None
        if parts is None:
            answered: dict[str, Any] = ask(self._client.batch_execute_statement, **json.loads(body))
            return answered
        request = AWSRequest(method="POST", url=parts.url, headers=parts.headers, data=body)
        request.context = dict(parts.context)
        parts.sign(OPERATION, request)
        response = parts.send(request.prepare())
        found = {
            "status_code": response.status_code,
            "headers": response.headers,
            "body": response.content,
        }
        check_checksum(found)
        if response.status_code != _OK:
            raise ask(self._error, found=found)
        parsed: dict[str, Any] = ask(_parsed, found=found)
        return parsed

    def _now(self) -> _Parts | None:
        if time.monotonic() >= self._until:
            with self._lock:
                if time.monotonic() >= self._until:
                    self._parts = self._taken()
                    self._until = time.monotonic() + KEPT_S
        return self._parts

    def _taken(self) -> _Parts | None:
        """Take the parts of a request from the client, which sends none for that."""
        event: dict[str, Any] = {}

        def take(**given: Any) -> tuple[Any, dict[str, Any]]:
            event.update(given)
            return SimpleNamespace(status_code=_OK), {}

        try:
            http = self._client._endpoint.http_session  # noqa: SLF001 - no public name
            events = self._client.meta.events
            events.register_first(_EVENT, take)
            try:
                self._client.batch_execute_statement(Statements=[{"Statement": "-"}])
            finally:
                events.unregister(_EVENT, take)
            params = event["params"]
            sign = event["request_signer"].sign
            send = _through_pool(http, params["url"]) or http.send
            return _Parts(params["url"], params["headers"], params["context"], sign, send)
        except (AttributeError, LookupError, TypeError):
            return None

    def _error(self, found: Mapping[str, Any]) -> Exception:
        model = self._client.meta.service_model.operation_model(OPERATION)
        parsed = create_parser("json").parse(found, model.output_shape)
        code = parsed.get("Error", {}).get("Code")
        error: Exception = self._client.exceptions.from_code(code)(parsed, OPERATION)
        return error


def _through_pool(http: Any, url: str) -> Callable[[Any], Any] | None:
    """Return what sends through botocore's own pool of connections; None if a proxy is between."""
    if http._proxy_config.proxy_url_for(url):  # noqa: SLF001 - no public name
        return None
    pool = http._get_connection_manager(url).connection_from_url(url)  # noqa: SLF001 - no public name
    http._setup_ssl_cert(pool, url, http._verify)  # noqa: SLF001 - no public name
    path = urlsplit(url).path or "/"

    def send(request: Any) -> Any:
        try:
            response = pool.urlopen(
                "POST", path, request.body, request.headers, False, decode_content=False
            )
        except (NewConnectionError, gaierror) as error:
            raise EndpointConnectionError(endpoint_url=url, error=error) from error
        except ConnectTimeout as error:
            raise ConnectTimeoutError(endpoint_url=url, error=error) from error
        except ReadTimeout as error:
            raise ReadTimeoutError(endpoint_url=url, error=error) from error
        except ProtocolError as error:
            raise ConnectionClosedError(endpoint_url=url, error=error, request=request) from error
        except HTTPError as error:
            raise HTTPClientError(error=error) from error
        return SimpleNamespace(
            status_code=response.status, headers=response.headers, content=response.data
        )

    return send


def _parsed(found: Mapping[str, Any]) -> dict[str, Any]:
    answered = json.loads(found["body"])
    if not isinstance(answered, dict):
        raise ValueError("no object")  # noqa: TRY004 - as for bytes that are no JSON
    metadata = {"HTTPStatusCode": found["status_code"], "HTTPHeaders": found["headers"]}
    return {**answered, "ResponseMetadata": metadata}
