"""Confluent's client with our bounds: what a registry may answer, and what that means."""

import gzip
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dynatomic.counting.formats.avro_schema import SchemaRefusedError
from dynatomic.counting.formats.schemas import SchemaKey
from dynatomic.errors import ConfigError
from dynatomic.registry import confluent
from dynatomic.registry.answers import RegistryError, SchemaMissingError
from dynatomic.registry.confluent import ConfluentRegistry, credentials
from tests.support.registry_server import FakeRegistry, endless, fake_registry

KEY = SchemaKey("id", "7")
PATH = "/schemas/ids/7"


@pytest.fixture
def served() -> Iterator[FakeRegistry]:
    with fake_registry() as registry:
        yield registry


def reference(subject: str) -> dict[str, Any]:
    return {"name": subject, "subject": subject, "version": 1}


def test_a_schema_comes_after_those_that_it_refers_to(served: FakeRegistry) -> None:
    served.add(7, "a.R", references=[reference("r"), reference("s")])
    served.add_version("r", 1, "r", references=[reference("s")])
    served.add_version("s", 1, "s")
    registry = ConfluentRegistry(served.url, {})
    assert registry.fetch(KEY) == ['"s"', '"r"', '"a.R"']
    served.add_version("t-value", "latest", "long")
    assert registry.latest("t-value") == ['"long"']


def test_a_schema_may_be_asked_for_by_guid(served: FakeRegistry) -> None:
    guid = "0b7d3a54-33a4-4ab4-9d21-2f6d6b1b9e11"
    served.answers[f"/schemas/guids/{guid}"] = 200, {"schema": '"int"', "guid": guid, "id": 3}
    assert ConfluentRegistry(served.url, {}).fetch(SchemaKey("guid", guid)) == ['"int"']


def test_only_the_code_of_a_registry_says_that_a_schema_is_missing(served: FakeRegistry) -> None:
    registry = ConfluentRegistry(served.url, {})
    with pytest.raises(SchemaMissingError):
        registry.fetch(KEY)
    for body in (b"<html>not found</html>", {"error_code": 404, "message": "HTTP 404"}):
        served.answers[PATH] = 404, body
        with pytest.raises(
            RegistryError, match=r"404 without an error code.*check the path of the URL"
        ):
            registry.fetch(KEY)


BAD_ANSWERS: list[tuple[int, Any, str]] = [
    (401, {"error_code": 40101, "message": "secret"}, "HTTP 401"),
    (500, b"", "HTTP 500"),
    (503, {"error_code": 50301}, "HTTP 503"),
    (302, b"", "HTTP 302"),
    (200, b"<html>", "an answer that is not from a schema registry"),
    (200, b"[1]", "an answer that is not from a schema registry"),
    (200, b"null", "an answer that is not from a schema registry"),
    (200, b"[" * 100_000, "an answer that is not from a schema registry"),
    (200, b'{"schema": "' + b"x" * confluent.MAX_ANSWER_BYTES + b'"}', "an answer of more than"),
]


@pytest.mark.parametrize(("status", "body", "problem"), BAD_ANSWERS, ids=range(len(BAD_ANSWERS)))
def test_no_other_answer_is_a_verdict(
    served: FakeRegistry, status: int, body: Any, problem: str
) -> None:
    served.answers[PATH] = status, body
    with pytest.raises(RegistryError) as caught:
        ConfluentRegistry(served.url, {}).fetch(KEY)
    assert problem in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_answer_that_does_not_end_is_cut(
    served: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confluent, "ANSWER_S", 0.2)
    registry = ConfluentRegistry(served.url, {})
    stopped = threading.Event()
    served.answers[PATH] = 200, endless(stopped, b" ", 0.02)
    with pytest.raises(RegistryError, match="an answer that is not complete after"):
        registry.fetch(KEY)
    stopped.set()


def test_a_compressed_answer_is_refused(served: FakeRegistry) -> None:
    def write(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("content-encoding", "gzip")
        handler.end_headers()
        handler.wfile.write(gzip.compress(bytes(1_000_000)))

    served.answers[PATH] = 200, write
    with pytest.raises(RegistryError, match="a compressed answer, which was not asked for"):
        ConfluentRegistry(served.url, {}).fetch(KEY)
    assert served.requests[0][1]["accept-encoding"] == "identity"


def test_a_server_that_is_not_there_is_no_verdict() -> None:
    with fake_registry() as registry:
        url = registry.url
    with pytest.raises(RegistryError, match="refused"):
        ConfluentRegistry(url, {}).fetch(KEY)


def test_references_that_loop_or_are_too_many_are_refused(served: FakeRegistry) -> None:
    registry = ConfluentRegistry(served.url, {})
    served.add(7, "a", references=[reference("r")])
    served.add_version("r", 1, "r", references=[reference("s")])
    served.add_version("s", 1, "s", references=[reference("r")])
    with pytest.raises(SchemaRefusedError, match="its references form a cycle"):
        registry.fetch(KEY)
    names = [f"n{index}" for index in range(confluent.MAX_REFERENCES + 1)]
    served.add(8, "a", references=[reference(name) for name in names])
    for name in names:
        served.add_version(name, 1, name)
    with pytest.raises(SchemaRefusedError, match="it has more than 50 references"):
        registry.fetch(SchemaKey("id", "8"))
    served.add(9, "a", references=[{"name": "n"}])
    with pytest.raises(SchemaRefusedError, match="names no subject and version"):
        registry.fetch(SchemaKey("id", "9"))
    served.add(10, "message M {}", schemaType="PROTOBUF")
    with pytest.raises(SchemaRefusedError, match="it is no Avro schema"):
        registry.fetch(SchemaKey("id", "10"))


def test_credentials_come_from_the_environment(served: FakeRegistry) -> None:
    served.add(7, "int")
    basic = {"SCHEMA_REGISTRY_USER": "u", "SCHEMA_REGISTRY_PASSWORD": "p:q"}
    ConfluentRegistry(served.url, basic).fetch(KEY)
    bearer = {"SCHEMA_REGISTRY_TOKEN": "t", "SCHEMA_REGISTRY_LOGICAL_CLUSTER": "lsrc-1"}
    ConfluentRegistry(served.url, bearer).fetch(KEY)
    served.answers["/token"] = 200, {"access_token": "o", "token_type": "Bearer", "expires_in": 9}
    oauth = {
        "SCHEMA_REGISTRY_OAUTH_TOKEN_URL": f"{served.url}/token",
        "SCHEMA_REGISTRY_OAUTH_CLIENT_ID": "i",
        "SCHEMA_REGISTRY_OAUTH_CLIENT_SECRET": "s",
        "SCHEMA_REGISTRY_OAUTH_SCOPE": "x",
    }
    ConfluentRegistry(served.url, oauth).fetch(KEY)
    sent = [headers for path, headers in served.requests if path == PATH]
    assert [headers["authorization"] for headers in sent] == [
        "Basic dTpwOnE=",
        "Bearer t",
        "Bearer o",
    ]
    assert sent[1]["target-sr-cluster"] == "lsrc-1"


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"SCHEMA_REGISTRY_USER": "u", "SCHEMA_REGISTRY_TOKEN": "t"}, "give one way to log in"),
        ({"SCHEMA_REGISTRY_OAUTH_TOKEN_URL": "x"}, "SCHEMA_REGISTRY_OAUTH_CLIENT_ID is missing"),
        ({"SCHEMA_REGISTRY_CA_FILE": "/none"}, "schema registry https://r: "),
        ({"SCHEMA_REGISTRY_KEY_FILE": "/none"}, "schema registry https://r: "),
    ],
)
def test_credentials_that_cannot_work_are_refused(
    environment: dict[str, str], problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        ConfluentRegistry("https://r", environment)
    assert problem in str(caught.value)


def test_certificates_are_given_to_the_client() -> None:
    assert credentials({"SCHEMA_REGISTRY_CA_FILE": "a", "SCHEMA_REGISTRY_KEY_PASSWORD": ""}) == {
        "ssl.ca.location": "a"
    }
    assert json.dumps(credentials({})) == "{}"
