"""What is said of a running consumer is listed once, documented, and true."""

import ast
import json
import logging
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.service.prometheus import Metrics
from dynatomic.telemetry import metrics as telemetry
from dynatomic.telemetry.durations import Durations
from dynatomic.telemetry.log_events import LOG_EVENTS
from dynatomic.telemetry.metrics import METRICS, QUERIES, Kind, Metric
from tests.support.harness import world
from tests.support.member import Member
from tests.support.needed import needs

ROOT = Path(__file__).parents[3]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "dynatomic.json"


def exposed(member: Member) -> dict[str, list[tuple[str, dict[str, str], float]]]:
    """Return the samples by metric, as Prometheus reads them."""
    metrics = Metrics("1.2.3", "exactly-once")
    metrics.status = member.status
    page, content_type = metrics.page("")
    assert content_type.startswith("text/plain")
    found: dict[str, list[tuple[str, dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(page.decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = [(s.name, dict(s.labels), s.value) for s in family.samples]
    return found


def numbers(member: Member) -> set[str]:
    return {labels["partition"] for _, labels, _ in exposed(member)["dynatomic_lag_events"]}


def value(member: Member, name: str, **labels: str) -> float:
    (found,) = [v for n, have, v in exposed(member)[name] if have == labels and n == name]
    return found


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_is_as_prometheus_wants_it(metric: Metric) -> None:
    assert re.fullmatch(r"dynatomic_[a-z0-9_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert not re.search(r"_(ms|milliseconds|minutes|kb|percent)(_|$)", metric.name)
    assert (metric.unit == "seconds") == ("_seconds" in metric.name)
    assert metric.help.endswith(".")


def test_every_metric_of_the_module_is_in_the_list_once() -> None:
    made = [each for each in vars(telemetry).values() if isinstance(each, Metric)]
    assert sorted(m.name for m in made) == sorted(m.name for m in METRICS)
    assert len({m.name for m in METRICS}) == len(METRICS)


def test_exactly_the_listed_metrics_are_exposed_with_their_labels() -> None:
    with world(2) as w:
        member = w.worker()
        w.emit("a")
        w.put(b"bad")
        w.window()
        found = exposed(member)
        ours = {name: samples for name, samples in found.items() if name.startswith("dynatomic_")}
        assert set(ours) == {metric.name for metric in METRICS}
        for metric in METRICS:
            labels = {frozenset(has) - {"le"} for _, has, _ in ours[metric.name]}
            assert labels == {frozenset(metric.labels)}, metric.name
        assert "process_cpu_seconds_total" in found


def test_the_metrics_count_what_happened() -> None:
    with world(2) as w:
        member = w.worker(processing_guarantee="exactly-once")
        w.emit("a", "a", "a", "b", partition=0)
        w.put(b"bad", partition=1)
        w.put(b"", partition=1)
        w.window()
        assert value(member, "dynatomic_events_total") == 6
        assert value(member, "dynatomic_windows_total") == 2
        assert value(member, "dynatomic_window_events_total") == 6
        assert value(member, "dynatomic_window_counters_total") == 2
        assert value(member, "dynatomic_payloads_decoded_total") == 4, "each payload once"
        assert value(member, "dynatomic_dead_letters_total", reason="undecodable") == 1
        assert value(member, "dynatomic_dead_letters_total", reason="empty-payload") == 1
        assert value(member, "dynatomic_commits_total", outcome="ok") >= 1
        assert value(member, "dynatomic_commits_total", outcome="failed") == 0
        assert value(member, "dynatomic_last_commit_timestamp_seconds") > 0
        assert value(member, "dynatomic_assigned_partitions") == 2
        assert value(member, "dynatomic_rebalances_total", event="assigned") == 1
        assert value(member, "dynatomic_dynamodb_requests_total", table="hits", outcome="ok") == 2
        # Two updates of items that are not there, and two inserts.
        assert value(member, "dynatomic_dynamodb_write_units_total", table="hits") == 4
        counts = {
            have["phase"]: v
            for n, have, v in exposed(member)["dynatomic_phase_duration_seconds"]
            if n.endswith("_count")
        }
        assert counts["write"] == 2
        assert all(counts.values())


def test_what_fences_keep_out_is_counted() -> None:
    with world() as w:
        first = w.worker(processing_guarantee="exactly-once")
        w.emit("a", "a", "b")
        w.broker.faults.fail_commits(1, 100)
        w.window()
        first.kill()
        w.broker.faults.commits.clear()
        second = w.worker(processing_guarantee="exactly-once")
        w.until(w.all_committed, step_s=1)
        assert value(second, "dynatomic_fence_suppressed_events_total") == 3
        assert w.counts() == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("code", "outcome", "throttles"),
    [
        ("ThrottlingException", "throttled", 2),
        ("ProvisionedThroughputExceededException", "throttled", 2),
        ("AccessDeniedException", "refused", 0),
        ("InternalServerError", "failed", 0),
        ("TransactionConflictException", "failed", 0),
    ],
)
def test_requests_are_counted_by_outcome(code: str, outcome: str, throttles: int) -> None:
    from tests.support.refusals import failing  # noqa: PLC0415 - its parametrized tests are not ours

    with world() as w:
        member = w.worker()
        w.refuse = failing(code)
        w.emit("a", "b")
        w.window()
        named = {"table": "hits", "outcome": outcome}
        assert value(member, "dynatomic_dynamodb_requests_total", **named) == 1
        assert value(member, "dynatomic_dynamodb_throttles_total", table="hits") == throttles


def test_labels_of_partitions_that_are_given_up_go_away() -> None:
    with world(2) as w:
        first = w.worker()
        w.window()
        assert numbers(first) == {"0", "1"}
        second = w.worker()
        w.until(lambda: len(second.owned) == 1)
        w.window()
        assert numbers(first) == {str(n) for n in first.owned}
        assert numbers(second) == {str(n) for n in second.owned}
        assert value(first, "dynatomic_rebalances_total", event="revoked") == 1
        first.expire()
        first.turn()
        assert value(first, "dynatomic_rebalances_total", event="lost") == 1


def test_an_age_that_is_not_known_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with world() as w:
        member = w.worker()
        w.window()
        assert value(member, "dynatomic_lag_seconds", partition="0") == 0
        monkeypatch.setattr(member.consumer, "consume", lambda _most, _timeout: [])
        w.emit("a")
        assert member.status is not None
        for _ in range(10):
            w.window()
            member.status.after_tick()
        assert value(member, "dynatomic_lag_events", partition="0") == 1
        assert exposed(member)["dynatomic_lag_seconds"] == []


def test_no_label_holds_what_an_event_says() -> None:
    with world() as w:
        member = w.worker()
        w.emit("key-of-a-customer", counter="counter-of-a-customer")
        w.put(encode(Row("table-of-nobody", "x")))
        w.put(b"payload-of-a-customer")
        w.window()
        page = Metrics("1", "at-least-once")
        page.status = member.status
        assert b"customer" not in page.page("")[0]
        assert b"nobody" not in page.page("")[0]
        assert member.status is not None
        member.status.after_tick()
        told = json.dumps(member.status.report())
        assert "customer" not in told
        assert "nobody" not in told


def test_a_histogram_counts_into_the_first_bucket_that_holds_it() -> None:
    durations = Durations()
    for seconds in (0.0, 0.001, 0.0011, 29.0, 31.0):
        durations.add(seconds)
    counts, total = durations.read()
    assert (counts[0], counts[1], counts[-2], counts[-1]) == (2, 1, 1, 1)
    assert total == pytest.approx(60.0021)


def logged_events() -> Iterator[tuple[str, str]]:
    """Yield the level and the message of every log call of the package."""
    for path in (ROOT / "consumer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called, owner = node.func.attr, ast.unparse(node.func.value)
            if (
                owner == "self"
                and called == "_log_rebalance"
                and isinstance(node.args[0], ast.Constant)
            ):
                yield "", str(node.args[0].value)
            if owner not in {"log", "_logger", "logger"} or called not in LEVELS:
                continue
            if called == "log" and ast.unparse(node.args[1]) == "event":
                continue  # the changes of the assignment, see above
            message = node.args[called == "log"]
            assert isinstance(message, ast.Constant), f"{path.name}: {ast.unparse(node)} varies"
            yield LEVELS[called], str(message.value)


LEVELS = {"exception": "error", "log": ""} | {
    name: name for name in ("debug", "info", "warning", "error")
}


def test_every_log_line_is_listed_with_its_level_and_every_listed_one_is_logged() -> None:
    found = set(logged_events())
    levels = {event.event: event.level for event in LOG_EVENTS}
    assert {message for _, message in found} == set(levels)
    assert len(levels) == len(LOG_EVENTS)
    assert [(e, level) for level, e in found if level and levels[e] != level] == []


def test_what_was_counted_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    with world() as w, caplog.at_level(logging.INFO, "dynatomic"):
        member = w.worker()
        assert member.status is not None
        for _ in range(100):
            w.emit("a", "a")
            w.window()
            member.status.after_tick()
        said: list[Any] = [r for r in caplog.records if r.getMessage() == "counted"]
        assert 1 <= len(said) <= 3
        assert said[-1].fields["events"] == pytest.approx(120, abs=10)


def test_a_wall_clock_that_is_set_back_stops_no_sample_and_no_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with world() as w, caplog.at_level(logging.INFO, "dynatomic"):
        member = w.worker()
        status = member.status
        assert status is not None
        for hour in (3600, 0):
            status.unix_clock = lambda h=hour: w.clock() + h  # type: ignore[misc]
            for _ in range(100):
                w.emit("a")
                w.window()
                status.after_tick()
        assert len(status.report()["history"]) >= 100
        said: list[Any] = [r for r in caplog.records if r.getMessage() == "counted"]
        assert 3 <= len(said) <= 5
        assert all(0 <= each.fields["seconds"] <= 70 for each in said)


def expressions() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        yield variable["name"], variable.get("query", "")
    for query in QUERIES:
        yield query.name, query.promql


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_metric_and_label_that_is_asked_for_exists(where: str, expression: str) -> None:
    known = {metric.name: {*metric.labels, "instance", "job"} for metric in METRICS}
    for metric in [each for each in METRICS if each.kind is Kind.HISTOGRAM]:
        for end in ("_bucket", "_sum", "_count"):
            known[metric.name + end] = known[metric.name] | ({"le"} if end == "_bucket" else set())
    names = set(re.findall(r"\bdynatomic_[a-z0-9_]+", expression))
    assert names <= set(known), where
    for name, selector in re.findall(r"(dynatomic_[a-z0-9_]+)\{([^}]*)\}", expression):
        asked = set(re.findall(r"([a-z_]+)\s*[=!]~?", selector))
        assert asked <= known[name], f"{where}: {name}"
    grouped = {
        label.strip()
        for group in re.findall(r"\b(?:by|without|on)\s*\(([^)]*)\)", expression)
        for label in group.split(",")
    }
    assert grouped <= {label for name in names for label in known[name]} | {"cluster"}, where


def test_every_metric_that_a_person_on_call_needs_is_on_the_dashboard_or_alerted() -> None:
    asked = " ".join(expression for _, expression in expressions())
    assert {m.name for m in METRICS if m.name not in asked} == set()


def test_the_dashboard_is_of_the_classic_model_and_finds_its_data_source() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["schemaVersion"] >= 36
    assert "spec" not in dashboard
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_prometheus_takes_the_rules_and_they_fire(tmp_path: Path) -> None:
    promtool = needs("promtool")
    for command in (
        ["check", "rules", str(ALERTS)],
        ["test", "rules", str(ROOT / "tests" / "deploy" / "alerts_test.yml")],
    ):
        done = subprocess.run(
            [promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_metrics_pass_promtools_linter() -> None:
    promtool = needs("promtool")
    with world() as w:
        member = w.worker()
        w.emit("a")
        w.window()
        metrics = Metrics("1", "at-least-once")
        metrics.status = member.status
        done = subprocess.run(
            [promtool, "check", "metrics"],
            input=metrics.page("")[0],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
