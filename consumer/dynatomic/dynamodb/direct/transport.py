"""BatchExecuteStatement by boto3's own endpoint, credentials, signature and connections, no more.

Of a request through boto3 nine tenths of the CPU time go into serialising, validating, events,
signing and parsing, for a body that we know and an answer that is nearly always empty. So what
never changes of a request is taken from two examples, which the client and its signer make: the
second must be, byte for byte, what we make of it. Credentials are the client's, asked for each
request; where they change, and every minute, there are new examples. A client that has these
parts no more, a proxy, or a signature that we cannot make: then boto3 sends the requests itself.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock, local
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

from dynatomic.dynamodb.client import call_client, check_checksum
from dynatomic.dynamodb.direct.connections import Connections
from dynatomic.dynamodb.direct.signature import RequestSigner

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

log = logging.getLogger(__name__)

OPERATION = "BatchExecuteStatement"
KEPT_S = 60.0
"""How long endpoint and headers are kept; the endpoint may follow the credentials' account."""

_EVENT = f"before-call.dynamodb.{OPERATION}"
_EXAMPLES = (b"{}", b'{"Statements": [{"Statement": "-"}]}')
_TYPE = "application/x-amz-json-1.0"
_OK = 200
_EXAMPLE = local()
"""Where a thread that makes an example waits for its ``event``."""


class FastPathUnavailableError(Exception):
    """Says why boto3 must send the requests itself."""


@dataclass(frozen=True, slots=True, repr=False)  # it would show the keys
class FastPath:
    """The short way of requests, for as long as ``credentials`` returns the ``known`` ones."""

    heads: RequestSigner
    connections: Connections
    credentials: Callable[[], Any]
    known: Any


class Transport:
    """Sends the JSON bodies of batches, from any thread; ``direct`` False asks boto3 for all.

    ``clock`` is the time that requests are signed with, in seconds since the epoch.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        *,
        direct: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client: Any = client
        events: Any = getattr(getattr(client, "meta", None), "events", None)
        self._direct = direct and events is not None
        self._clock = clock
        self._fast_path: FastPath | None = None
        self._until = 0.0
        self._probing = Lock()
        self._cause: str | None = None
        if self._direct:
            # For good: botocore keeps the handlers that it once found for an event, so one that
            # comes and goes could catch a real request, or let an example through.
            events.register_first(_EVENT, _catch, unique_id=__name__)

    def send(self, body: bytes) -> Mapping[str, Any]:
        """Send one request and return its answer; raises what boto3 raises."""
        way = self._now() if self._direct else None
        if way is None:
            answered: dict[str, Any] = call_client(
                self._client.batch_execute_statement, **json.loads(body)
            )
            return answered
        response = way.connections.exchange(way.heads.signed_head(body, self._clock()) + body)
        found = {
            "status_code": response.status,
            "headers": response.headers,
            "body": response.body,
        }
        check_checksum(found)
        if response.status != _OK:
            raise call_client(self._error, found=found)
        parsed: dict[str, Any] = call_client(_parsed, found=found)
        return parsed

    def _now(self) -> FastPath | None:
        if self._stale():
            with self._probing:
                if self._stale():
                    self._fast_path = self._probe()
                    self._until = time.monotonic() + KEPT_S
        return self._fast_path

    def _stale(self) -> bool:
        way = self._fast_path
        if time.monotonic() >= self._until:
            return True
        return way is not None and way.credentials() != way.known

    def _probe(self) -> FastPath | None:
        """Learn from examples, of which none is sent; None where there is no short way."""
        try:
            return self._found()
        except FastPathUnavailableError as error:
            cause = str(error)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            cause = f"other parts of boto3 or urllib3 ({type(error).__name__})"
        if cause != self._cause:
            self._cause = cause
            log.warning("requests are sent by boto3", extra={"fields": {"cause": cause}})
        return None

    def _found(self) -> FastPath:
        http = self._client._endpoint.http_session  # noqa: SLF001 - no public name
        event = self._caught()
        url = event["params"]["url"]
        if http._proxy_config.proxy_url_for(url):  # noqa: SLF001 - no public name
            raise FastPathUnavailableError("a proxy")
        if event["params"]["headers"]["Content-Type"] != _TYPE:
            raise FastPathUnavailableError("another content type")
        pool = http._get_connection_manager(url).connection_from_url(url)  # noqa: SLF001 - no public name
        http._setup_ssl_cert(pool, url, http._verify)  # noqa: SLF001 - no public name
        connections = Connections(pool, url, urlsplit(url).path or "/")
        credentials = event["request_signer"]._credentials.get_frozen_credentials  # noqa: SLF001 - no public name
        known = credentials()
        first, second = (connections.written(_signed(event, body)) for body in _EXAMPLES)
        heads = RequestSigner(first, known.secret_key)
        if not heads.explain(second):
            raise FastPathUnavailableError("another signature")
        return FastPath(heads, connections, credentials, known)

    def _caught(self) -> dict[str, Any]:
        """Return what the client tells of a request before it is signed and sent.

        Were it sent, which is no harm, DynamoDB would refuse it.
        """
        event: dict[str, Any] = {}
        _EXAMPLE.event = event
        try:
            self._client.batch_execute_statement(Statements=[{"Statement": "-"}])
        except ClientError as error:
            if error.operation_name != OPERATION:
                raise  # of those who give the credentials
        finally:
            _EXAMPLE.event = None
        if not event:
            raise FastPathUnavailableError("no event before a call")
        return event

    def _error(self, found: Mapping[str, Any]) -> Exception:
        model = self._client.meta.service_model.operation_model(OPERATION)
        parsed = create_parser("json").parse(found, model.output_shape)
        code = parsed.get("Error", {}).get("Code")
        error: Exception = self._client.exceptions.from_code(code)(parsed, OPERATION)
        return error


def _catch(**given: Any) -> tuple[Any, dict[str, Any]] | None:
    """Answer an example of this thread in the place of the server, and nothing else."""
    event = getattr(_EXAMPLE, "event", None)
    if event is None:
        return None
    event.update(given)
    return SimpleNamespace(status_code=_OK), {}


def _signed(event: Mapping[str, Any], body: bytes) -> Any:
    params = event["params"]
    request = AWSRequest(method="POST", url=params["url"], headers=params["headers"], data=body)
    request.context = dict(params["context"])
    event["request_signer"].sign(OPERATION, request)
    return request.prepare()


def _parsed(found: Mapping[str, Any]) -> dict[str, Any]:
    answered = json.loads(found["body"])
    if not isinstance(answered, dict):
        raise ValueError("no object")  # noqa: TRY004 - as for bytes that are no JSON
    metadata = {"HTTPStatusCode": found["status_code"], "HTTPHeaders": found["headers"]}
    return {**answered, "ResponseMetadata": metadata}
