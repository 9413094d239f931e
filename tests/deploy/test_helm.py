"""deploy/helm: the chart passes its linter, and renders what deploy/kubernetes has."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.manifests import DEPLOY, KUBERNETES, manifests, settings_of
from tests.support.needed import needs

CHART = DEPLOY / "helm" / "dynatomic"
ROLE = "arn:aws:iam::123456789012:role/dynatomic"


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = needs("helm", in_ci=False)
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def rendered(*values: str) -> dict[str, dict[str, Any]]:
    sets = [word for value in values for word in ("--set", value)]
    done = helm("template", "dynatomic", str(CHART), "--kube-version", KUBERNETES, *sets)
    assert done.returncode == 0, done.stderr
    return {each["kind"]: each for each in yaml.safe_load_all(done.stdout) if each}


def without_instance(value: Any) -> Any:
    """Return the manifest without what only a chart has: the release and the checksum."""
    if isinstance(value, dict):
        only = {"app.kubernetes.io/instance", "checksum/config"}
        return {k: without_instance(v) for k, v in value.items() if k not in only}
    return [without_instance(part) for part in value] if isinstance(value, list) else value


def test_the_linter_finds_nothing() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_renders_the_manifests_that_are_tested_on_their_own() -> None:
    charted = rendered(f"roleArn={ROLE}")
    plain = manifests()
    assert charted.keys() == plain.keys()
    for kind, manifest in plain.items():
        if kind != "ConfigMap":
            assert without_instance(charted[kind]) == manifest, kind


def test_the_file_in_the_values_is_valid(tmp_path: Path) -> None:
    file = rendered()["ConfigMap"]["data"]["dynatomic.toml"]
    settings = settings_of(file, tmp_path)
    assert settings.tables == ("usage",)
    grace = yaml.safe_load((CHART / "values.yaml").read_text())["terminationGracePeriodSeconds"]
    assert grace * 1000 > settings.shutdown_timeout_ms + 2000


def test_a_secret_a_tag_and_keda_are_rendered() -> None:
    charted = rendered("secretName=kafka", "image.tag=1.2.3", "keda.enabled=true")
    (container,) = charted["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"].endswith(":1.2.3")
    assert container["env"][1]["valueFrom"]["secretKeyRef"] == {
        "name": "kafka",
        "key": "librdkafka",
    }
    assert "replicas" not in charted["Deployment"]["spec"]
    scaled = yaml.safe_load((DEPLOY / "kubernetes" / "scaledobject.yaml").read_text())
    assert without_instance(charted["ScaledObject"]) == scaled


@pytest.mark.parametrize(
    "wrong", ["replicas=many", "awsRegion=Frankfurt", "roleArn=dynatomic", "replica=3", "config="]
)
def test_the_schema_refuses_a_wrong_value(wrong: str) -> None:
    kube = ("--kube-version", KUBERNETES)
    done = helm("template", "dynatomic", str(CHART), *kube, "--set", wrong)
    assert done.returncode != 0
    assert wrong.partition("=")[0] in done.stderr


def test_every_value_has_a_schema() -> None:
    def check(values: dict[str, Any], schema: dict[str, Any]) -> None:
        for name, value in values.items():
            assert name in schema["properties"], name
            if isinstance(value, dict) and "properties" in schema["properties"][name]:
                check(value, schema["properties"][name])

    schema = json.loads((CHART / "values.schema.json").read_text())
    check(yaml.safe_load((CHART / "values.yaml").read_text()), schema)
