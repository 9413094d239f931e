"""The rates of each table now, how long the activity is the same, and what the last line means."""

import pytest

from dynatomic.kafka.client import this_process
from dynatomic.service.recent import RECENT_S, ActivityTimer
from tests.support.harness import world
from tests.support.health_checks import status_of


def test_the_rates_of_a_table_are_those_of_the_last_seconds() -> None:
    with world() as w:
        member = w.worker()
        status = status_of(member)
        status.after_tick()
        for _ in range(5):
            w.emit("a")
            w.window()
            status.after_tick()
        (now,) = status.report()["tables_now"]
        assert now["table"] == "hits"
        assert now["requests_per_second"] > 0
        assert (now["throttled_per_second"], now["failed_per_second"]) == (0, 0)
        assert (now["latency_ms"] is None, now["in_flight"]) == (False, 0)
        for _ in range(5):
            w.advance(RECENT_S / 2)
            status.after_tick()
        (later,) = status.report()["tables_now"]
        assert (later["requests_per_second"], later["latency_ms"]) == (0, None)


def test_a_request_that_waits_is_in_flight() -> None:
    with world() as w:
        member = w.worker()
        w.gate.close("hits")
        w.emit("a")
        w.window()
        (now,) = status_of(member).report()["tables_now"]
        assert now["in_flight"] == 1
        w.gate.open()
        w.until(w.all_committed, step_s=1)
        assert status_of(member).report()["tables_now"][0]["in_flight"] == 0


def test_the_activity_has_an_age_and_the_process_a_name() -> None:
    timer = ActivityTimer()
    assert [timer.seconds(text, now) for text, now in (("a", 5), ("a", 8), ("b", 9))] == [0, 3, 0]
    with world() as w:
        report = status_of(w.worker()).report()
        assert report["process"] == this_process()
        assert report["client_id"].endswith(f"@{this_process()}")
        assert report["activity_seconds"] >= 0


@pytest.mark.parametrize(
    ("event", "harmless"), [("no progress", False), ("interrupted", True), ("other", None)]
)
def test_the_last_line_says_what_it_means(event: str, *, harmless: bool | None) -> None:
    with world() as w:
        status = status_of(w.worker())
        status.last_problem.last = {"time": 1.0, "level": "error", "event": event, "fields": {}}
        last = status.report()["last_trouble"]
        assert last.get("harmless") == harmless
        assert ("meaning" in last) == ("do" in last) == (harmless is not None)
