"""The HTTP endpoint: the response of each path."""

import pytest

from dynatomic.service.pages import policy
from tests.support.harness import world
from tests.support.health_checks import fetch_stopped, live, status_of
from tests.support.refusals import failing
from tests.support.served import Served


def test_while_it_starts_it_is_live_and_not_ready(served: Served) -> None:
    assert served.json("/livez") == (200, {"live": True, "stuck": []})
    assert served.json("/readyz") == (503, {"ready": False})
    assert served.json("/status")[1]["state"] == "starting"
    page = served.metrics()
    assert b"dynatomic_build_info{" in page
    assert b'dynatomic_dead_letters_total{reason="undecodable"} 0.0' in page
    assert served.get("/")[0] == 200


def test_the_probes_answer_for_the_worker(served: Served) -> None:
    with world() as w:
        member = w.worker()
        served.pages.attach(status_of(member))
        assert served.json("/readyz")[0] == 503
        assert live(w, member, 2) == []
        assert served.json("/livez") == (200, {"live": True, "stuck": []})
        assert served.json("/readyz") == (200, {"ready": True})
        w.refuse = failing("AccessDeniedException")
        w.emit("a")
        assert live(w, member) == ["table-refused"]
        status, body = served.json("/livez")
        assert (status, body["live"]) == (503, False)
        (stall,) = body["stuck"]
        assert stall["cause"] == "table-refused"
        assert stall["partition"] == 0
        assert stall["detail"].startswith("table hits: AccessDenied")
        assert stall["seconds"] >= 60
        assert stall["do"]
        assert b'dynatomic_stuck{cause="table-refused"} 1.0' in served.metrics()
        assert served.json("/status")[1]["stuck"] == body["stuck"]


def test_a_restart_is_asked_for_only_where_it_mends(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world() as w:
        member = w.worker()
        served.pages.attach(status_of(member))
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
        status, body = served.json("/livez/restart")
        assert (status, body) == (503, served.json("/livez")[1])


def test_a_partition_that_stopped_restarts_no_member(served: Served) -> None:
    with world() as w:
        member = w.worker()
        served.pages.attach(status_of(member))
        assert live(w, member, 3) == []
        member.worker.partitions[0].stop_reason = "its offset is gone"
        assert live(w, member, 3) == ["partition-stopped"]
        assert [served.json(path)[0] for path in ("/livez", "/livez/restart")] == [503, 200]


def test_status_has_what_the_page_and_people_need(served: Served) -> None:
    with world(2) as w:
        member = w.worker()
        served.pages.attach(status_of(member))
        w.emit("a", "a", "b", partition=1)
        w.put(b"bad", partition=1)
        assert live(w, member, 6) == []
        _, body = served.json("/status")
        assert body["processing_guarantee"] == "at-least-once"
        assert (body["events"], body["window_events"], body["writes"]) == (4, 4, 2)
        assert body["events_per_write"] == 2
        assert body["dead_letters"] == {"undecodable": 1}
        assert body["last_trouble"] is None
        assert [p["partition"] for p in body["partitions"]] == [0, 1]
        assert body["partitions"][1] == {
            "partition": 1,
            "state": "reading",
            "position": 4,
            "committed": 4,
            "end": 4,
            "high_watermark": 4,
            "lag": 0,
            "age_seconds": 0.0,
            "held_events": 0,
            "event_counts": {
                "read": 4,
                "counted": 3,
                "suppressed": 0,
                "dead_letters": 1,
                "unmatched": 0,
                "tombstones": 0,
                "abandoned": 0,
            },
        }
        assert [len(sample) for sample in body["history"]] == [4] * len(body["history"])
        assert body["history"][-1][1] == 4


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
