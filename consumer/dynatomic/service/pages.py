"""The response of each path of the HTTP endpoint. It uses no socket."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from importlib import metadata, resources

from dynatomic.config.settings import Settings
from dynatomic.service.prometheus import Metrics
from dynatomic.service.status import Status, stall_fields
from dynatomic.worker.causes import Stall

PageResponse = tuple[HTTPStatus, str, bytes]
"""Status, content type and body."""

_JSON = "application/json"


class StatusPages:
    """The response of each path. ``status`` is None while the consumer starts."""

    def __init__(self, settings: Settings) -> None:
        self.status: Status | None = None
        self._version = version()
        self._metrics = Metrics(
            self._version, settings.processing_guarantee, settings.topic, settings.group_id
        )
        self.page = resources.files("dynatomic.service").joinpath("page.html").read_bytes()
        self.paths: Mapping[str, Callable[[str], PageResponse]] = {
            "/": lambda _: (HTTPStatus.OK, "text/html; charset=utf-8", self.page),
            "/metrics": self._metrics_page,
            "/livez": self._liveness,
            "/livez/restart": self._restart,
            "/readyz": self._readiness,
            "/status": self._report,
        }

    def attach(self, status: Status) -> None:
        """Use this status for all later responses."""
        self.status = self._metrics.status = status

    def _metrics_page(self, accept: str) -> PageResponse:
        body, content_type = self._metrics.page(accept)
        return HTTPStatus.OK, content_type, body

    def _liveness(self, _accept: str) -> PageResponse:
        return _live_response(self._stalls())

    def _restart(self, _accept: str) -> PageResponse:
        """Respond as /livez, but only for causes against which a restart helps."""
        return _live_response([stall for stall in self._stalls() if stall.cause.restart])

    def _stalls(self) -> Sequence[Stall]:
        return self.status.stalls() if self.status else ()

    def _readiness(self, _accept: str) -> PageResponse:
        ready = self.status is not None and self.status.ready
        return _verdict(ok=ready, body={"ready": ready})

    def _report(self, _accept: str) -> PageResponse:
        report = self.status.report() if self.status else {"state": "starting"}
        return _json(HTTPStatus.OK, {"version": self._version, **report})


def version() -> str:
    """Return the version of the installed package."""
    try:
        return metadata.version("dynatomic")
    except metadata.PackageNotFoundError:
        return "unknown"


def _live_response(stalls: Sequence[Stall]) -> PageResponse:
    body = {"live": not stalls, "stuck": [stall_fields(stall) for stall in stalls]}
    return _verdict(ok=not stalls, body=body)


def _verdict(*, ok: bool, body: object) -> PageResponse:
    return _json(HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE, body)


def _json(status: HTTPStatus, body: object) -> PageResponse:
    return status, _JSON, json.dumps(body).encode() + b"\n"


def policy(page: bytes) -> str:
    """Return a content security policy that allows only the page's own style and script."""
    style, script = (
        " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"
            for text in re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), page, flags=re.DOTALL)
        )
        for tag in (b"style", b"script")
    )
    return (
        f"default-src 'none'; style-src {style}; script-src {script}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
