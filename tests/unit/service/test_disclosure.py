"""The endpoint answers no foreign website, and no response names the caller's AWS role."""

import logging

import pytest

from dynatomic.config.settings import Settings
from dynatomic.service.server import serving
from dynatomic.telemetry.logs import LastProblem
from dynatomic.testing.dynamodb.client import Request
from dynatomic.testing.dynamodb.responses import client_error
from tests.support.harness import world
from tests.support.health_checks import live, status_of
from tests.support.served import Served, port_of

ROLE = "arn:aws:sts::123456789012:assumed-role/billing,eu/session=me@example"
TABLE = "arn:aws:dynamodb:eu-west-1:123456789012:table/hits"
DENIED = f"User: {ROLE} is not authorized to perform: dynamodb:PartiQLUpdate on resource: {TABLE}"


def denied(request: Request) -> Exception:
    return client_error("AccessDeniedException", DENIED, operation=request.operation)


def test_no_response_names_the_role_of_the_caller(served: Served) -> None:
    with world() as w, LastProblem() as problem:
        member = w.worker()
        status = status_of(member)
        status.last_problem = problem
        served.pages.attach(status)
        w.refuse = denied
        w.emit("a")
        assert live(w, member) == ["table-refused"]
        for path in ("/livez", "/livez/restart", "/status", "/readyz", "/metrics"):
            body = served.get(path)[2].decode()
            assert "123456789012" not in body, path
            assert "billing" not in body, path
        (stall,) = served.json("/livez")[1]["stuck"]
        assert "not authorized to perform: dynamodb:PartiQLUpdate" in stall["detail"]
        assert "ARN" in stall["detail"]
        assert served.json("/status")[1]["last_trouble"] is not None


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=abc",
        "application/openmetrics-text; version=1.0.0.0.x",
        "application/openmetrics-text;version=99.0.0",
        'application/openmetrics-text; version="1.0.0"',
        "text/plain; version=abc",
        "text/plain;version=-1, */*",
        ";version=, ,;;",
    ],
)
def test_metrics_answer_any_accept_header(served: Served, accept: str) -> None:
    status, headers, body = served.get("/metrics", Accept=accept)
    assert status == 200
    assert headers["Content-Type"].startswith(("text/plain", "application/openmetrics-text"))
    assert b"dynatomic_build_info{" in body


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9108", "localhost.evil.example"])
@pytest.mark.parametrize("path", ["/status", "/", "/metrics", "/livez"])
def test_a_foreign_name_that_resolves_to_the_loopback_gets_nothing(
    served: Served, host: str, path: str
) -> None:
    status, _, body = served.get(path, Host=host)
    assert status == 421
    assert b"localhost" in body
    assert b"row-events" not in body


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:9108", "localhost", "LOCALHOST:1", "[::1]:9108", "a.localhost", ""],
)
def test_the_names_of_the_loopback_are_answered(served: Served, host: str) -> None:
    assert served.get("/status", Host=host)[0] == 200


def test_a_request_without_a_host_is_answered(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert b" 200 " in client.recv(64)


def test_a_second_host_header_does_not_hide_the_first(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert b" 421 " in client.recv(64)


def test_another_address_answers_to_any_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dynatomic")
    with serving(Settings(tables=("hits",), http="0.0.0.0:0")) as pages:
        served = Served(pages, port_of(caplog.records))
        assert served.get("/livez", Host="dynatomic.counting.svc")[0] == 200
