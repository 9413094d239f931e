"""No client can block the process of the endpoint or use up its memory."""

import threading
import time
from contextlib import ExitStack, closing
from typing import Any

import pytest

from dynatomic.config.settings import Settings
from dynatomic.service import server
from dynatomic.service.server import MAX_CONNECTIONS, serving
from tests.support.served import LOCAL, Served, port_of, threads


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

    served.pages.paths = {**served.pages.paths, "/status": broken}
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
    with serving(Settings(tables=("hits",), http=LOCAL)) as pages:
        served = Served(pages, port_of(caplog.records))
        idle = served.connect()
        began = time.monotonic()
    with closing(idle):
        assert time.monotonic() - began < 4, "it waited for a client that says nothing"
        assert threads() == before
        with pytest.raises(OSError, match=r"."):
            served.connect()
