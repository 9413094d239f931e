"""What the proxy in front of a DynamoDB endpoint may do with a request."""

import http.client
import json
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_PREFIX: Final = "com.amazonaws.dynamodb.v20120810#"


_JSON: Final = "application/x-amz-json-1.0"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the client."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    def sealed(self) -> "Answer":
        """Return it with the checksum that DynamoDB sends for its body."""
        kept = tuple((k, v) for k, v in self.headers if k.lower() != "x-amz-crc32")
        crc = ("x-amz-crc32", str(zlib.crc32(self.body)))
        return Answer(self.status, self.body, (*kept, crc))


@dataclass(slots=True)
class Request:
    """One request as the proxy saw it."""

    operation: str
    body: dict[str, Any]
    headers: dict[str, str]
    number: int
    path: str = "/"
    fault: "Fault | None" = None
    forwarded: bool = False
    answered: bool = False
    ended: bool = False

    @property
    def statements(self) -> list[dict[str, Any]]:
        """The statements of a BatchExecuteStatement, otherwise none."""
        found: list[dict[str, Any]] = self.body.get("Statements", [])
        return found


Forward = Callable[[bytes], Answer]


class Fault:
    """Lets the request pass. Its subclasses are the faults.

    `apply` calls ``forward`` with a body if the endpoint shall see the request, and returns
    the answer, or None to close the connection without one.
    """

    def apply(self, request: Request, forward: Forward) -> Answer | None:
        """Forward and answer."""
        return forward(json.dumps(request.body).encode())


@dataclass(frozen=True)
class Delay(Fault):
    """Forwards at once and answers late."""

    seconds: float

    def apply(self, request: Request, forward: Forward) -> Answer | None:
        """Forward, wait, answer."""
        answer = super().apply(request, forward)
        time.sleep(self.seconds)
        return answer


@dataclass(frozen=True)
class DropRequest(Fault):
    """The request is lost: the endpoint never sees it, the connection closes."""

    def apply(self, request: Request, forward: Forward) -> Answer | None:
        """Do nothing."""
        del request, forward
        return None


@dataclass(frozen=True)
class DropResponse(Fault):
    """The response is lost: the endpoint did its work, the connection closes."""

    def apply(self, request: Request, forward: Forward) -> Answer | None:
        """Forward only."""
        super().apply(request, forward)
        return None


@dataclass(frozen=True)
class Hold(Fault):
    """Waits for `release`, then forwards and answers: by then the client may be gone.

    With ``after=True`` it forwards at once and only the answer waits.
    """

    after: bool = False
    arrived: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        """Release it."""
        self.released.set()

    def apply(self, request: Request, forward: Forward) -> Answer | None:
        """Wait before or after forwarding."""
        answer = super().apply(request, forward) if self.after else None
        self.arrived.set()
        self.released.wait()
        return answer or super().apply(request, forward)


@dataclass(frozen=True)
class Error(Fault):
    """Answers with a DynamoDB error, without forwarding unless ``applied``."""

    code: str
    status: int = 400
    message: str = "made by the proxy"
    applied: bool = False
    prefix: str = _PREFIX

    def apply(self, request: Request, forward: Forward) -> Answer | None:
        """Answer as DynamoDB does: type and message in JSON, request id and checksum."""
        if self.applied:
            super().apply(request, forward)
        body = {"__type": self.prefix + self.code, "message": self.message}
        headers = (("Content-Type", _JSON), ("x-amzn-requestid", f"PROXY{request.number:08}"))
        return Answer(self.status, json.dumps(body).encode(), headers).sealed()


def throttle() -> Error:
    """Make the refusal of a whole request."""
    return Error("ProvisionedThroughputExceededException")


def server_error(*, applied: bool = False) -> Error:
    """Make a 500; the request may have been applied all the same."""
    return Error("InternalServerError", status=500, applied=applied)


def access_denied() -> Error:
    """Make the refusal for a missing permission; the text is AWS's form."""
    who = "User: arn:aws:sts::000000000000:assumed-role/r/s is not authorized to perform: "
    what = "dynamodb:PartiQLUpdate on resource: arn:aws:dynamodb:us-east-1:000000000000:table/t"
    return Error("AccessDeniedException", message=who + what, prefix="com.amazon.coral.service#")


@dataclass(frozen=True)
class Raw(Fault):
    """Answers with any status and body, without DynamoDB's headers; forwards if ``applied``."""

    status: int = 200
    body: bytes = b""
    content_type: str = _JSON
    applied: bool = False

    def apply(self, request: Request, forward: Forward) -> Answer | None:
        """Answer so."""
        if self.applied:
            super().apply(request, forward)
        return Answer(self.status, self.body, (("Content-Type", self.content_type),))


def html() -> Raw:
    """Make the 200 of a captive portal or a misconfigured gateway."""
    return Raw(body=b"<html><body>It works!</body></html>", content_type="text/html")


@dataclass(frozen=True)
class WrongChecksum(Fault):
    """Forwards and answers with a checksum that is not the body's."""

    def apply(self, request: Request, forward: Forward) -> Answer | None:
        """Break the checksum."""
        answer = super().apply(request, forward)
        if answer is None:
            return None
        kept = tuple((k, v) for k, v in answer.headers if k.lower() != "x-amz-crc32")
        wrong = ("x-amz-crc32", str(zlib.crc32(answer.body) ^ 1))
        return Answer(answer.status, answer.body, (*kept, wrong))


@dataclass(frozen=True)
class FailStatements(Fault):
    """Fails these statements of a BatchExecuteStatement (index: error code); others pass.

    The failed ones are not forwarded, unless ``applied``: then they are applied, although
    the client gets an error.
    """

    errors: Mapping[int, str]
    applied: bool = False

    def apply(self, request: Request, forward: Forward) -> Answer | None:
        """Forward the others and put the errors between their answers."""
        statements = request.statements
        sent = [s for i, s in enumerate(statements) if self.applied or i not in self.errors]
        headers: tuple[tuple[str, str], ...] = (
            ("Content-Type", _JSON),
            ("x-amzn-requestid", f"PROXY{request.number:08}"),
        )
        responses: list[dict[str, Any]] = []
        if sent:
            answer = forward(json.dumps({**request.body, "Statements": sent}).encode())
            if answer.status != http.client.OK:
                return answer
            headers, responses = answer.headers, json.loads(answer.body)["Responses"]
        given = iter(responses)
        merged = []
        for index in range(len(statements)):
            response = next(given, {}) if self.applied or index not in self.errors else {}
            if index in self.errors:
                error = {"Code": self.errors[index], "Message": "made by the proxy"}
                response = {"Error": error}
            merged.append(response)
        body = json.dumps({"Responses": merged}).encode()
        return Answer(http.client.OK, body, headers).sealed()


def writes(request: Request) -> bool:
    """Return whether a request writes a window, and is not one of the requests at the start."""
    if request.operation not in {"BatchExecuteStatement", "UpdateItem"}:
        return False
    return "access-check" not in str(request.body)
