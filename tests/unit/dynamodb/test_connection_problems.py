"""What is said when DynamoDB cannot be asked: the cause, the URL, and the exit code."""

import socket
from collections.abc import Iterator
from contextlib import closing
from threading import Thread

import pytest

from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.tables import describe
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.testing.embedded import free_port


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a region and credentials, and take those of this machine away."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/no/such/file")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def deaf() -> Iterator[int]:
    """Give the port of a service that reads a request and closes the connection."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with closing(connection):
                    connection.recv(65536)

        Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def problem(error_type: type[DynatomicError], url: str | None = None) -> str:
    with pytest.raises(error_type) as caught:
        describe(make_client(url), "usage")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_cause_of_a_missing_answer_is_named(deaf: int) -> None:
    refused = problem(UnavailableError, f"http://127.0.0.1:{free_port()}")
    assert "(connection refused)" in refused
    unresolved = problem(UnavailableError, "http://no-such-host.invalid:8000")
    assert "(its host name does not resolve)" in unresolved
    closed = problem(UnavailableError, f"http://127.0.0.1:{deaf}")
    assert "(it closed the connection without an answer)" in closed


def test_tls_that_fails_is_a_configuration_error(deaf: int) -> None:
    assert "TLS failed (" in problem(ConfigError, f"https://127.0.0.1:{deaf}")


def test_a_region_that_does_not_exist_is_named_with_a_similar_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-cental-1")
    said = problem(ConfigError)
    assert "AWS has no region 'eu-cental-1'" in said
    assert said.endswith("did you mean 'eu-central-1'?")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("AWS_REGION", None, "AWS: no region is set; set AWS_REGION"),
        ("AWS_SECRET_ACCESS_KEY", None, "of env have no AWS_SECRET_ACCESS_KEY; set it"),
        ("AWS_ACCESS_KEY_ID", None, "AWS: no credentials were found"),
        ("AWS_PROFILE", "nope", "AWS: the profile 'nope' is in no configuration file"),
    ],
)
def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str | None, words: str
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    assert words in problem(ConfigError, "http://127.0.0.1:1")
