"""The HTTP endpoint: what it answers, and that no client can stall or grow the process."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError
from dynatomic.service import server
from dynatomic.service.server import DEFAULT_HOST, MAX_CONNECTIONS, StatusPages, policy, serving
from tests.support.harness import world
from tests.unit.worker.test_health import fetch_stopped, live, status_of
from tests.unit.worker.test_worker import failing

LOCAL = "127.0.0.1:0"


class Served:
    """A running endpoint, and its address."""

    def __init__(self, view: StatusPages, port: int) -> None:
        self.view = view
        self.port = port

    def get(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - ours
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def json(self, path: str) -> tuple[int, Any]:
        status, _, body = self.get(path)
        return status, json.loads(body)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


def port_of(records: list[Any]) -> int:
    (url,) = [r.fields["url"] for r in records if r.getMessage() == "serving"]
    return int(url.rstrip("/").rpartition(":")[2])


@pytest.fixture
def served(caplog: pytest.LogCaptureFixture) -> Iterator[Served]:
    caplog.set_level("INFO", "dynatomic")
    with serving(Settings(tables=("hits",), http=LOCAL)) as view:
        yield Served(view, port_of(caplog.records))


def threads() -> int:
    return sum(each.is_alive() for each in threading.enumerate())


def test_while_it_starts_it_is_live_and_not_ready(served: Served) -> None:
    assert served.json("/livez") == (200, {"live": True, "stuck": []})
    assert served.json("/readyz") == (503, {"ready": False})
    assert served.json("/status")[1]["state"] == "starting"
    page = served.get("/metrics")[2]
    assert b"dynatomic_build_info{" in page
    assert b'dynatomic_dead_letters_total{reason="undecodable"} 0.0' in page
    assert served.get("/")[0] == 200


def test_the_probes_answer_for_the_worker(served: Served) -> None:
    with world() as w:
        member = w.worker()
        served.view.attach(status_of(member))
        assert served.json("/readyz")[0] == 503
        assert live(w, member, 2) == []
        assert served.json("/livez") == (200, {"live": True, "stuck": []})
        assert served.json("/readyz") == (200, {"ready": True})
        w.refuse = failing("AccessDeniedException")
        w.emit("a")
        assert live(w, member) == ["table-refused"]
        status, told = served.json("/livez")
        assert (status, told["live"]) == (503, False)
        (stuck,) = told["stuck"]
        assert stuck["cause"] == "table-refused"
        assert stuck["partition"] == 0
        assert stuck["detail"].startswith("table hits: AccessDenied")
        assert stuck["seconds"] >= 60
        assert stuck["do"]
        assert b'dynatomic_stuck{cause="table-refused"} 1.0' in served.get("/metrics")[2]
        assert served.json("/status")[1]["stuck"] == told["stuck"]


def test_a_restart_is_asked_for_only_where_it_mends(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world() as w:
        member = w.worker()
        served.view.attach(status_of(member))
        assert served.json("/livez/restart") == (200, {"live": True, "stuck": []})
        w.refuse = failing("ThrottlingException")
        w.emit("a")
        assert live(w, member) == ["table-throttled"]
        assert served.json("/livez")[0] == 503
        assert served.json("/livez/restart") == (200, {"live": True, "stuck": []})
        w.refuse = None
        w.until(w.all_committed, step_s=1)
        fetch_stopped(w, member, monkeypatch)
        assert live(w, member) == ["fetch-stopped"]
        status, told = served.json("/livez/restart")
        assert (status, told) == (503, served.json("/livez")[1])


def test_a_partition_that_stopped_restarts_no_member(served: Served) -> None:
    with world() as w:
        member = w.worker()
        served.view.attach(status_of(member))
        assert live(w, member, 3) == []
        member.worker.partitions[0].stop_reason = "its offset is gone"
        assert live(w, member, 3) == ["partition-stopped"]
        assert [served.json(path)[0] for path in ("/livez", "/livez/restart")] == [503, 200]


def test_status_has_what_the_page_and_people_need(served: Served) -> None:
    with world(2) as w:
        member = w.worker()
        served.view.attach(status_of(member))
        w.emit("a", "a", "b", partition=1)
        w.put(b"bad", partition=1)
        assert live(w, member, 6) == []
        _, told = served.json("/status")
        assert told["processing_guarantee"] == "at-least-once"
        assert (told["events"], told["window_events"], told["writes"]) == (4, 4, 2)
        assert told["events_per_write"] == 2
        assert told["dead_letters"] == {"undecodable": 1}
        assert told["last_trouble"] is None
        assert [p["partition"] for p in told["partitions"]] == [0, 1]
        assert told["partitions"][1] == {
            "partition": 1,
            "state": "reading",
            "position": 4,
            "committed": 4,
            "end": 4,
            "lag": 0,
            "age_seconds": 0.0,
            "held_events": 0,
        }
        assert [len(sample) for sample in told["history"]] == [4] * len(told["history"])
        assert told["history"][-1][1] == 4


def test_prometheus_may_ask_for_openmetrics(served: Served) -> None:
    _, headers, body = served.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_head_answers_without_a_body(served: Served) -> None:
    status, headers, body = served.get("/status", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 10


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_no_other_method_is_answered(served: Served, method: str) -> None:
    assert served.get("/", method=method)[0] == 501


@pytest.mark.parametrize("path", ["/favicon.ico", "/status/", "/../etc/passwd", "/LIVEZ"])
def test_other_paths_are_not_found_and_not_repeated(served: Served, path: str) -> None:
    status, _, body = served.get(path)
    assert (status, body) == (404, b"not found\n")


def test_the_page_may_use_nothing_but_itself(served: Served) -> None:
    _, headers, body = served.get("/")
    allowed = headers["Content-Security-Policy"]
    assert allowed == policy(body)
    assert "default-src 'none'" in allowed
    assert "unsafe" not in allowed
    assert headers["X-Content-Type-Options"] == "nosniff"
    text = body.decode()
    outside = [part for part in text.split('"') if part.startswith(("http:", "https:", "//"))]
    assert outside == ["http://www.w3.org/2000/svg"], "a name of XML, not an address"


# --- what a client cannot do -------------------------------------------------------------------


def test_slow_clients_do_not_keep_a_probe_out(served: Served) -> None:
    before = threads()
    with ExitStack() as stack:
        for _ in range(4 * MAX_CONNECTIONS):
            slow = stack.enter_context(closing(served.connect()))
            slow.sendall(b"GET /livez HTTP/1.1\r\nX-Slow: ")
        assert served.json("/livez")[0] == 200
        # They are taken in their order, so all of them have been by now.
        assert threads() <= before + MAX_CONNECTIONS


def test_a_request_without_an_end_is_cut_off_by_its_size(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_TIMEOUT_S", 60.0)
    with closing(served.connect()) as client:
        try:
            for _ in range(64):
                client.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 4096)
            left = client.recv(1)
        except ConnectionError:
            left = b""
        assert left == b""
    assert served.json("/livez")[0] == 200


def test_a_request_without_an_end_is_cut_off_by_time(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_TIMEOUT_S", 0.1)
    with closing(served.connect()) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\n")
        assert client.recv(1) == b""


def test_nonsense_is_refused_and_forgotten(
    served: Served, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for sent in (
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ):
        with closing(served.connect()) as client:
            client.sendall(sent)
            while client.recv(4096):
                pass
    assert served.json("/livez")[0] == 200
    assert [r for r in caplog.records if r.levelname != "INFO"] == []
    assert capfd.readouterr().err == "", "a client's words are in the log"


def test_a_defect_of_an_answer_ends_only_that_request(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_accept: str) -> Any:
        raise LookupError("a defect")

    served.view.paths = {**served.view.paths, "/status": broken}
    with pytest.raises(OSError, match=r"."):
        served.get("/status")
    assert served.json("/livez")[0] == 200
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == ["request failed"]


def test_a_thread_that_cannot_start_costs_only_its_request(
    served: Served,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        for _ in range(2 * MAX_CONNECTIONS):
            with closing(served.connect()) as client:
                assert client.recv(1) == b""
    assert served.json("/livez")[0] == 200
    said = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert said == ["request failed"] * 2 * MAX_CONNECTIONS
    assert capfd.readouterr().err == ""


def test_it_is_gone_when_the_block_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "dynatomic")
    before = threads()
    with serving(Settings(tables=("hits",), http=LOCAL)) as view:
        served = Served(view, port_of(caplog.records))
        idle = served.connect()
        began = time.monotonic()
    with closing(idle):
        assert time.monotonic() - began < 4, "it waited for a client that says nothing"
        assert threads() == before
        with pytest.raises(OSError, match=r"."):
            served.connect()


# --- where it listens --------------------------------------------------------------------------


def test_a_port_that_is_given_and_taken_is_an_error() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with (
            pytest.raises(ConfigError, match=f"http: cannot listen on {address}.*--http"),
            serving(Settings(tables=("hits",), http=address)),
        ):
            pass


def test_of_the_default_the_next_free_port_is_taken_and_then_none(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "dynatomic")
    monkeypatch.setattr(server, "MAX_PORTS_TRIED", 2)
    settings = Settings(tables=("hits",))
    with ExitStack() as stack:
        first = stack.enter_context(closing(socket.create_server((DEFAULT_HOST, 0))))
        monkeypatch.setattr(server, "DEFAULT_PORT", first.getsockname()[1])
        stack.enter_context(serving(settings))
        assert port_of(caplog.records) == first.getsockname()[1] + 1
        stack.enter_context(serving(settings))
        (said,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert said == "no free port, so nothing is served"


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


def test_the_page_is_in_the_wheel() -> None:
    import tomllib  # noqa: PLC0415 - here only

    build = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert build["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["consumer/dynatomic"]
    assert (Path(server.__file__).parent / "page.html").is_file()
