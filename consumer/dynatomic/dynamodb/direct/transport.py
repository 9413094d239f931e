"""Sends writes with only the endpoint, credentials and connections of boto3.

boto3 spends nine tenths of a request's CPU time on serialising, validating, events, signing and
parsing, although the body is known and the answer is nearly always empty. So the constant parts of
a request are learned from two examples, which the client makes and signs: the second must be,
byte for byte, what this module makes of its body. The credentials are those of the client, and
are compared before each request. New examples are made when they change, and every minute. boto3
sends the requests itself if the client does not have the expected parts, behind a proxy, and if
the signature has another form.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock, local
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from botocore import xform_name
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

from dynatomic.dynamodb.client import call_client, check_checksum
from dynatomic.dynamodb.direct.connections import Connections
from dynatomic.dynamodb.direct.signature import RequestSigner

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

log = logging.getLogger(__name__)

Operation = Literal["BatchExecuteStatement", "UpdateItem", "TransactWriteItems"]

KEPT_S = 60.0
"""How long the endpoint and the headers are reused; the endpoint may depend on the account."""

_EXAMPLES = (b"{}", b'{"Statements": [{"Statement": "-"}]}')
_UPDATE = {"TableName": "---", "Key": {"-": {"S": "-"}}}
# Arguments that pass the client's own validation. DynamoDB would refuse each of them without harm.
_ARGUMENTS: Mapping[Operation, Mapping[str, Any]] = {
    "BatchExecuteStatement": {"Statements": [{"Statement": "-"}]},
    "UpdateItem": _UPDATE,
    "TransactWriteItems": {"TransactItems": [{"Update": {**_UPDATE, "UpdateExpression": "-"}}]},
}
_PARSER: Any = create_parser("json")
_TYPE = "application/x-amz-json-1.0"
_OK = 200
_EXAMPLE = local()
"""The ``event`` of the example that a thread makes now."""


class FastPathUnavailableError(Exception):
    """The message is the reason why boto3 must send the requests itself."""


@dataclass(frozen=True, slots=True, repr=False)  # it would show the keys
class FastPath:
    """What sends requests directly, valid while ``credentials`` returns ``signed_with``."""

    signer: RequestSigner
    connections: Connections
    credentials: Callable[[], Any]
    signed_with: Any


class Transport:
    """Sends the JSON bodies of one operation. Thread-safe.

    Without ``direct``, boto3 sends all of them.
    ``clock`` returns the signing time in seconds since the epoch.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        operation: Operation = "BatchExecuteStatement",
        *,
        direct: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client: Any = client
        self._operation = operation
        self._method = xform_name(operation)
        events: Any = getattr(getattr(client, "meta", None), "events", None)
        self._direct = direct and events is not None
        self._clock = clock
        self._fast_path: FastPath | None = None
        self._until = 0.0
        self._probing = Lock()
        self._cause: str | None = None
        if self._direct:
            # Never removed: botocore caches the handlers of an event, so a handler that is added
            # and removed could catch a real request, or let an example pass.
            event = f"before-call.dynamodb.{operation}"
            events.register_first(event, _catch, unique_id=f"{__name__}.{operation}")

    def send(self, body: bytes) -> Mapping[str, Any]:
        """Send one request and return its answer. Raises the errors of boto3."""
        path = self._current_path() if self._direct else None
        if path is None:
            method = getattr(self._client, self._method)
            answer: dict[str, Any] = call_client(method, **json.loads(body))
            return answer
        head = path.signer.signed_head(body, self._clock())
        response = path.connections.exchange(head + body)
        raw = {
            "status_code": response.status,
            "headers": response.headers,
            "body": response.body,
        }
        check_checksum(raw)
        if response.status != _OK:
            raise call_client(self._error, raw=raw)
        parsed: dict[str, Any] = call_client(_parsed, raw=raw)
        return parsed

    def _current_path(self) -> FastPath | None:
        if self._is_stale():
            with self._probing:
                if self._is_stale():
                    self._fast_path = self._probe()
                    self._until = time.monotonic() + KEPT_S
        return self._fast_path

    def _is_stale(self) -> bool:
        path = self._fast_path
        if time.monotonic() >= self._until:
            return True
        return path is not None and path.credentials() != path.signed_with

    def _probe(self) -> FastPath | None:
        """Learn from examples, which are not sent. Return None if boto3 must send the requests."""
        try:
            return self._learn()
        except FastPathUnavailableError as error:
            cause = str(error)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            cause = f"other parts of boto3 or urllib3 ({type(error).__name__})"
        if cause != self._cause:
            self._cause = cause
            log.warning("requests are sent by boto3", extra={"fields": {"cause": cause}})
        return None

    def _learn(self) -> FastPath:
        http = self._client._endpoint.http_session  # noqa: SLF001 - no public name
        event = self._caught_example()
        url = event["params"]["url"]
        if http._proxy_config.proxy_url_for(url):  # noqa: SLF001 - no public name
            raise FastPathUnavailableError("a proxy")
        if event["params"]["headers"]["Content-Type"] != _TYPE:
            raise FastPathUnavailableError("another content type")
        pool = http._get_connection_manager(url).connection_from_url(url)  # noqa: SLF001 - no public name
        http._setup_ssl_cert(pool, url, http._verify)  # noqa: SLF001 - no public name
        connections = Connections(pool, url, urlsplit(url).path or "/")
        credentials = event["request_signer"]._credentials.get_frozen_credentials  # noqa: SLF001 - no public name
        signed_with = credentials()
        first, second = (connections.written(self._signed(event, body)) for body in _EXAMPLES)
        signer = RequestSigner(first, signed_with.secret_key)
        if not signer.explain(second):
            raise FastPathUnavailableError("another signature")
        return FastPath(signer, connections, credentials, signed_with)

    def _caught_example(self) -> dict[str, Any]:
        """Return the arguments of the client's event before a request is signed and sent.

        If it were sent, DynamoDB would refuse it without harm.
        """
        event: dict[str, Any] = {}
        _EXAMPLE.event = event
        try:
            getattr(self._client, self._method)(**_ARGUMENTS[self._operation])
        except ClientError as error:
            if error.operation_name != self._operation:
                raise  # from the service that issues the credentials
        finally:
            _EXAMPLE.event = None
        if not event:
            raise FastPathUnavailableError("no event before a call")
        return event

    def _signed(self, event: Mapping[str, Any], body: bytes) -> Any:
        params = event["params"]
        request = AWSRequest(method="POST", url=params["url"], headers=params["headers"], data=body)
        request.context = dict(params["context"])
        event["request_signer"].sign(self._operation, request)
        return request.prepare()

    def _error(self, raw: Mapping[str, Any]) -> Exception:
        """Return the error that boto3 would raise, with the item that refused a condition."""
        service = self._client.meta.service_model
        parsed = _PARSER.parse(raw, service.operation_model(self._operation).output_shape)
        code = parsed.get("Error", {}).get("Code")
        if (shape := service.shape_for_error_code(code)) is not None:
            parsed.update(_PARSER.parse(raw, shape))
        error: Exception = self._client.exceptions.from_code(code)(parsed, self._operation)
        return error


def _catch(**given: Any) -> tuple[Any, dict[str, Any]] | None:
    """Answer an example of this thread in place of the server; let other requests pass."""
    event = getattr(_EXAMPLE, "event", None)
    if event is None:
        return None
    event.update(given)
    return SimpleNamespace(status_code=_OK), {}


def _parsed(raw: Mapping[str, Any]) -> dict[str, Any]:
    answer = json.loads(raw["body"])
    if not isinstance(answer, dict):
        raise ValueError("not an object")  # noqa: TRY004 - as for a body that is not JSON
    metadata = {"HTTPStatusCode": raw["status_code"], "HTTPHeaders": raw["headers"]}
    return {**answer, "ResponseMetadata": metadata}
