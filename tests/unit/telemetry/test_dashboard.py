"""The alerts and the dashboard ask for metrics that exist."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dynatomic.service.prometheus import Metrics
from dynatomic.telemetry.metrics import METRICS, QUERIES, MetricKind
from tests.support.harness import world
from tests.support.needed import needs

ROOT = Path(__file__).parents[3]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "dynatomic.json"


def expressions() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for variable in dashboard["templating"]["list"]:
        yield variable["name"], variable.get("query", "")
    for query in QUERIES:
        yield query.name, query.promql


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_metric_and_label_that_is_asked_for_exists(where: str, expression: str) -> None:
    known = {
        metric.name: {*metric.labels, "instance", "job", "topic", "group"} for metric in METRICS
    }
    for metric in [each for each in METRICS if each.kind is MetricKind.HISTOGRAM]:
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
            assert panel["description"].endswith(".")
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_each_query_of_the_dashboard_has_the_chosen_topic_group_and_table() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert names >= {"topic", "group", "table", "instance", "price"}
    labels = {metric.name: metric.labels for metric in METRICS}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            for name, selector in re.findall(r"(dynatomic_\w+)\{([^}]*)\}", target["expr"]):
                assert 'topic=~"$topic", group=~"$group"' in selector, panel["title"]
                base = re.sub(r"_(bucket|sum|count)$", "", name)
                wanted = "table" in labels.get(name, labels.get(base, ()))
                assert ('table=~"$table"' in selector) == wanted, panel["title"]


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
        metrics = Metrics("1", "at-least-once", "events", "group")
        metrics.status = member.status
        done = subprocess.run(
            [promtool, "check", "metrics"],
            input=metrics.page("")[0],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
