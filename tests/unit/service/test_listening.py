"""The address on which the endpoint listens."""

import socket
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError
from dynatomic.service import server
from dynatomic.service.run import run
from dynatomic.service.server import DEFAULT_HOST, serving
from tests.support.served import port_of, threads


def test_a_port_that_is_given_and_taken_is_an_error() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with (
            pytest.raises(ConfigError, match=f"http: cannot listen on {address}.*--http"),
            serving(Settings(tables=("hits",), http=address)),
        ):
            pass


def server_below_a_free_port() -> socket.socket:
    """Return a server on a port whose next one is free, on a machine that runs others too."""
    while True:
        taken = socket.create_server((DEFAULT_HOST, 0))
        try:
            socket.create_server((DEFAULT_HOST, taken.getsockname()[1] + 1)).close()
        except OSError:
            taken.close()
        else:
            return taken


def test_of_the_default_the_next_free_port_is_taken_and_then_none(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "dynatomic")
    monkeypatch.setattr(server, "MAX_PORTS_TRIED", 2)
    settings = Settings(tables=("hits",))
    with ExitStack() as stack:
        first = stack.enter_context(closing(server_below_a_free_port()))
        monkeypatch.setattr(server, "DEFAULT_PORT", first.getsockname()[1])
        stack.enter_context(serving(settings))
        assert port_of(caplog.records) == first.getsockname()[1] + 1
        stack.enter_context(serving(settings))
        (said,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert said == "no free port, so nothing is served"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(), "tables: none is listed"),
        (Settings(tables=("hits",), writer_schema=Path("/no/such")), "/no/such"),
        (Settings(tables=("hits",), librdkafka={"no.such": "1"}), "no.such"),
    ],
)
def test_settings_are_checked_before_anything_listens(
    settings: Settings, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dynatomic")
    with pytest.raises(ConfigError, match=words):
        run(settings, None, once=False, dry_run=False)
    assert "serving" not in caplog.messages


def test_off_means_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "dynatomic")
    before = threads()
    with serving(Settings(tables=("hits",), http="off")):
        assert threads() == before
    assert caplog.records == []


@pytest.mark.parametrize(
    "address", ["9108", ":9108", "127.0.0.1", "127.0.0.1:99999", "a b:1", "on"]
)
def test_an_address_that_cannot_be_is_refused_with_its_setting(address: str) -> None:
    with pytest.raises(ConfigError, match=r"http: .* is not an address"):
        Settings(http=address)


def test_ipv6_works_where_the_machine_has_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "dynatomic")
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 on this machine")
    with (
        serving(Settings(tables=("hits",), http="[::1]:0")),
        closing(socket.create_connection(("::1", port_of(caplog.records)), timeout=5)) as client,
    ):
        client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert client.recv(12).endswith(b"200")
