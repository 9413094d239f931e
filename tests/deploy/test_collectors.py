"""deploy/opentelemetry and deploy/cloudwatch: they scrape the metrics that exist."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from dynatomic.telemetry.metrics import METRICS
from tests.support.manifests import DEPLOY
from tests.support.needed import needs

COLLECTOR: dict[str, Any] = yaml.safe_load(
    (DEPLOY / "opentelemetry" / "collector.yaml").read_text()
)
AGENT: dict[str, Any] = json.loads((DEPLOY / "cloudwatch" / "agent.json").read_text())
SCRAPED = DEPLOY / "cloudwatch" / "prometheus.yml"


def promtool_accepts(file: Path) -> None:
    done = subprocess.run(
        [needs("promtool"), "check", "config", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_pipeline_of_the_collector_has_all_its_parts() -> None:
    pipeline = COLLECTOR["service"]["pipelines"]["metrics"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) == COLLECTOR[kind].keys()


def test_prometheus_accepts_what_the_collector_scrapes(tmp_path: Path) -> None:
    config = COLLECTOR["receivers"]["prometheus"]["config"]
    text = yaml.safe_dump(config).replace("${env:DYNATOMIC_TARGETS:-127.0.0.1:9108}", "a:9108")
    assert "${" not in text
    (tmp_path / "prometheus.yml").write_text(text)
    promtool_accepts(tmp_path / "prometheus.yml")


def test_the_collector_keeps_every_metric() -> None:
    (job,) = COLLECTOR["receivers"]["prometheus"]["config"]["scrape_configs"]
    (rule,) = job["metric_relabel_configs"]
    assert all(re.fullmatch(rule["regex"], metric.name) for metric in METRICS)
    assert re.fullmatch(rule["regex"], "process_cpu_seconds_total")
    assert not re.fullmatch(rule["regex"], "python_info")


def test_prometheus_accepts_what_the_agent_scrapes() -> None:
    promtool_accepts(SCRAPED)


def test_the_agent_declares_metrics_and_labels_that_exist() -> None:
    (job,) = yaml.safe_load(SCRAPED.read_text())["scrape_configs"]
    labels = {metric.name: {*metric.labels, "topic", "group"} for metric in METRICS}
    processor = AGENT["logs"]["metrics_collected"]["prometheus"]["emf_processor"]
    for declaration in processor["metric_declaration"]:
        assert re.fullmatch(declaration["label_matcher"], job["job_name"])
        for selector in declaration["metric_selectors"]:
            (name,) = [name for name in labels if re.fullmatch(selector, name)]
            for dimensions in declaration["dimensions"]:
                assert set(dimensions) <= labels[name], name
