"""deploy/: what Kubernetes, KEDA, AWS, Terraform and systemd are given, checked by their rules."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hcl2
import jsonschema
import kubernetes_validate
import pytest
import yaml

from dynatomic.cli.main import main
from dynatomic.cli.sources import read_file
from dynatomic.config.settings import Settings
from dynatomic.kafka.client import reset_policy
from dynatomic.kafka.topics import PARTITIONS
from dynatomic.service.signals import GRACE_S
from tests.deploy.test_compose import of, stages
from tests.support.needed import needs

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = "1.34"

Manifest = dict[str, Any]


def manifests() -> dict[str, Manifest]:
    """Return the manifests by their kind."""
    text = (DEPLOY / "kubernetes" / "dynatomic.yaml").read_text()
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def pod() -> Manifest:
    found: Manifest = manifests()["Deployment"]["spec"]["template"]["spec"]
    return found


def container() -> Manifest:
    (found,) = pod()["containers"]
    return dict(found)


def settings_of(text: str, folder: Path) -> Settings:
    """Return the settings of a file, as `dynatomic config check` takes them."""
    path = folder / "dynatomic.toml"
    path.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        # The password's place is the environment, as docs/deploy.md has it.
        patch.setenv("DYNATOMIC_LIBRDKAFKA", "sasl.password=hunter2")
        assert main(["config", "check", "--config", str(path)]) == 0
    values: dict[str, Any] = read_file(path)
    return Settings(**values)


@pytest.fixture
def configured(tmp_path: Path) -> Settings:
    return settings_of(manifests()["ConfigMap"]["data"]["dynatomic.toml"], tmp_path)


def test_the_manifests_are_what_kubernetes_takes() -> None:
    found = manifests()
    assert found.keys() == {
        "ServiceAccount",
        "ConfigMap",
        "Deployment",
        "PodDisruptionBudget",
        "NetworkPolicy",
    }
    for manifest in found.values():
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    ("kind", "path", "wrong", "right"),
    [
        (
            "Deployment",
            "spec.template.spec",
            "terminationGraceSeconds",
            "terminationGracePeriodSeconds",
        ),
        ("Deployment", "spec.template.spec.containers.0", "livenesProbe", "livenessProbe"),
        (
            "Deployment",
            "spec.template.spec.containers.0.securityContext",
            "readOnlyFs",
            "readOnlyRootFilesystem",
        ),
        ("PodDisruptionBudget", "spec", "maxUnavailabel", "maxUnavailable"),
        ("NetworkPolicy", "spec", "policyType", "policyTypes"),
    ],
)
def test_a_misspelt_field_is_noticed(kind: str, path: str, wrong: str, right: str) -> None:
    manifest = manifests()[kind]
    place: Any = manifest
    for step in path.split("."):
        place = place[int(step) if step.isdigit() else step]
    place[wrong] = place.pop(right)
    with pytest.raises(kubernetes_validate.ValidationError, match=wrong):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_a_pod_has_the_time_to_finish(configured: Settings) -> None:
    bound = configured.shutdown_timeout_ms / 1000 + GRACE_S
    assert pod()["terminationGracePeriodSeconds"] > bound


def test_a_pod_can_do_no_more_than_it_must() -> None:
    (user,) = of(stages()[-1], "USER")
    inside = pod()["securityContext"]
    assert inside["runAsNonRoot"] is True
    assert f"{inside['runAsUser']}:{inside['runAsGroup']}" == user
    assert inside["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod()["automountServiceAccountToken"] is False
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_probes_ask_the_endpoint_that_is_served(configured: Settings) -> None:
    assert configured.http is not None
    host, _, port = configured.http.rpartition(":")
    assert host == "0.0.0.0"  # noqa: S104 - the kubelet comes from outside the pod
    assert container()["ports"] == [{"name": "http", "containerPort": int(port)}]
    paths = {
        probe: container()[probe]["httpGet"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {
        # A restart only where it mends: red /livez alone moves one partition's trouble to the next.
        "startupProbe": {"path": "/livez/restart", "port": "http"},
        "livenessProbe": {"path": "/livez/restart", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }
    annotations = manifests()["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == port
    (rule,) = manifests()["NetworkPolicy"]["spec"]["ingress"]
    assert [each["port"] for each in rule["ports"]] == [int(port)]


def test_a_pod_that_is_ended_counts_nothing_twice(configured: Settings) -> None:
    assert configured.exactly_once


def test_a_new_version_never_adds_members() -> None:
    # A member more, then one fewer, would move partitions twice.
    strategy = manifests()["Deployment"]["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert manifests()["Deployment"]["spec"]["replicas"] <= PARTITIONS
    assert manifests()["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_all_manifests_mean_the_same_pods(configured: Settings) -> None:
    found = manifests()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert pod()["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
    (volume,) = pod()["volumes"]
    assert volume["configMap"]["name"] == found["ConfigMap"]["metadata"]["name"]
    (mount,) = container()["volumeMounts"]
    (file,) = found["ConfigMap"]["data"]
    assert container()["args"] == ["run", "--config", f"{mount['mountPath']}/{file}"]
    ports = {int(server.rpartition(":")[2]) for server in configured.bootstrap_servers.split(",")}
    allowed = {
        p["port"] for rule in found["NetworkPolicy"]["spec"]["egress"] for p in rule["ports"]
    }
    assert ports | {53, 443} == allowed


# What KEDA 2.20 takes of a ScaledObject and of its trigger `kafka`: names, and values' kinds.
WHOLE, SWITCH = {"type": "integer", "minimum": 0}, {"enum": ["true", "false"]}
TEXT = {"type": "string"}
DIGITS = {"type": "string", "pattern": "^[0-9]+$"}


def exactly(required: list[str], **properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


KAFKA_TRIGGER = exactly(
    ["bootstrapServers", "consumerGroup", "topic", "offsetResetPolicy", "lagThreshold"],
    **dict.fromkeys(("bootstrapServers", "consumerGroup", "topic", "version"), TEXT),
    **dict.fromkeys(("lagThreshold", "activationLagThreshold"), DIGITS),
    offsetResetPolicy={"enum": ["latest", "earliest"]},
    **dict.fromkeys(
        (
            "allowIdleConsumers",
            "excludePersistentLag",
            "scaleToZeroOnInvalidOffset",
            "limitToPartitionsWithLag",
            "ensureEvenDistributionOfPartitions",
        ),
        SWITCH,
    ),
    tls={"enum": ["enable", "disable"]},
    sasl={"enum": ["none", "plaintext", "scram_sha256", "scram_sha512", "oauthbearer", "gssapi"]},
    saslTokenProvider={"enum": ["bearer", "aws_msk_iam"]},
    awsRegion={"type": "string"},
)
TRIGGER = exactly(
    ["type", "metadata"],
    type={"const": "kafka"},
    metadata=KAFKA_TRIGGER,
    authenticationRef=exactly(["name"], name={"type": "string"}, kind={"type": "string"}),
)
SCALED_OBJECT = exactly(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "keda.sh/v1alpha1"},
    kind={"const": "ScaledObject"},
    metadata={"type": "object", "required": ["name"]},
    spec=exactly(
        ["scaleTargetRef", "triggers"],
        scaleTargetRef=exactly(["name"], name={"type": "string"}),
        pollingInterval=WHOLE,
        cooldownPeriod=WHOLE,
        initialCooldownPeriod=WHOLE,
        minReplicaCount=WHOLE,
        maxReplicaCount=WHOLE,
        advanced=exactly(
            [], horizontalPodAutoscalerConfig=exactly([], behavior={"type": "object"})
        ),
        triggers={"type": "array", "minItems": 1, "items": TRIGGER},
    ),
)


def scaled() -> Manifest:
    found: Manifest = yaml.safe_load((DEPLOY / "kubernetes" / "scaledobject.yaml").read_text())
    return found


def check_scaled(manifest: Manifest) -> None:
    """Check it by KEDA's rules, and by Kubernetes' own what KEDA hands on to it."""
    jsonschema.validate(manifest, SCALED_OBJECT)
    spec = manifest["spec"]
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "x"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"},
            "minReplicas": spec["minReplicaCount"],
            "maxReplicas": spec["maxReplicaCount"],
            "behavior": spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
        },
    }
    kubernetes_validate.validate(autoscaler, KUBERNETES, strict=True)


def misspell(manifest: Manifest, path: str) -> None:
    *steps, last = path.split(".")
    place: Any = manifest
    for step in steps:
        place = place[int(step) if step.isdigit() else step]
    place[f"{last}x"] = place.pop(last)


@pytest.mark.parametrize(
    "path",
    [
        "spec.pollingInterval",
        "spec.triggers.0.metadata.lagThreshold",
        "spec.triggers.0.metadata.excludePersistentLag",
        "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.stabilizationWindowSeconds",
    ],
)
def test_a_misspelt_field_of_the_scaled_object_is_noticed(path: str) -> None:
    check_scaled(scaled())
    wrong = copy.deepcopy(scaled())
    misspell(wrong, path)
    with pytest.raises(jsonschema.ValidationError):
        check_scaled(wrong)


def test_keda_looks_where_the_consumers_count(configured: Settings) -> None:
    (trigger,) = scaled()["spec"]["triggers"]
    about = trigger["metadata"]
    assert about["offsetResetPolicy"] == reset_policy(configured) == reset_policy(Settings())
    assert about["topic"] == configured.topic
    assert about["consumerGroup"] == configured.group_id
    assert about["bootstrapServers"] == configured.bootstrap_servers
    assert (
        scaled()["spec"]["scaleTargetRef"]["name"] == manifests()["Deployment"]["metadata"]["name"]
    )
    assert 1 <= scaled()["spec"]["minReplicaCount"] <= scaled()["spec"]["maxReplicaCount"]
    assert scaled()["spec"]["maxReplicaCount"] <= PARTITIONS


CLUSTER = (
    "arn:aws:kafka:eu-west-1:123456789012:cluster/billing/11111111-2222-3333-4444-555555555555-1"
)


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("run.json", []),
        ("run-msk.json", ["--msk-cluster", CLUSTER]),
        ("verify.json", ["--policy", "verify"]),
    ],
)
def test_a_policy_is_what_the_command_prints(
    file: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--print-iam", "--table", "usage", *options]) == 0
    assert (DEPLOY / "aws" / file).read_text() == capsys.readouterr().out


def block(found: Manifest, kind: str, *names: str) -> Manifest:
    """Return the one block of a kind with these labels, without the parser's quotes."""
    for each in found[kind]:
        for name in names:
            each = each.get(name) or each.get(f'"{name}"') or {}  # noqa: PLW2901
        if each:
            return dict(each)
    raise AssertionError(f"no {kind} {names}")


def test_terraform_gives_the_role_what_the_policy_has() -> None:
    text = (DEPLOY / "aws" / "main.tf").read_text()
    found = hcl2.loads(text)
    table = block(found, "resource", "aws_dynamodb_table", "counters")
    assert table["hash_key"].strip('"') == "pk"
    assert table["billing_mode"].strip('"') == "PAY_PER_REQUEST"
    assert table["deletion_protection_enabled"] is True
    count = block(found, "data", "aws_iam_policy_document", "count")
    (statement,) = count["statement"]
    assert "local.actions" in str(statement["actions"])
    (values,) = found["locals"]
    assert "run.json" in str(values["actions"])
    (statement,) = json.loads((DEPLOY / "aws" / "run.json").read_text())["Statement"]
    assert statement["Sid"] in str(count["statement"])
    role = block(found, "resource", "aws_iam_role", "consumer")
    assert "aws_iam_policy_document.trust" in str(role["assume_role_policy"])
    # Whatever is referred to is there.
    declared = {f"var.{name}" for each in found["variable"] for name in map(bare, each)}
    assert set(re.findall(r"\bvar\.\w+", text)) == declared
    declared = {f"local.{name}" for name in values if not name.startswith("__")}
    assert set(re.findall(r"\blocal\.\w+", text)) == declared


def msk_resources(value: str) -> dict[str, str]:
    """Return `local.msk_resources` for `CLUSTER` and the defaults of `var.msk`."""
    for kind in ("topic", "group"):
        put_in = CLUSTER.replace(":cluster/", f":{kind}/")
        value = value.replace(f'replace(var.msk.cluster_arn, ":cluster/", ":{kind}/")', put_in)
    for call, result in {
        'coalesce(var.msk.dead_letter_topic, "${var.msk.topic}.dlq")': "${var.msk.topic}.dlq",
        "= var.msk.cluster_arn": f'= "{CLUSTER}"',
        "var.msk.topic": Settings().topic,
        "var.msk.group": Settings().group_id,
    }.items():
        value = value.replace(call, result)
    found = re.findall(r'(\w+) = "([^"]+)"', value)
    return {name: re.sub(r"[${}]", "", resource) for name, resource in found}


def test_terraform_gives_the_role_what_the_policy_of_amazon_msk_has() -> None:
    found = hcl2.loads((DEPLOY / "aws" / "main.tf").read_text())
    (values,) = found["locals"]
    statements = json.loads((DEPLOY / "aws" / "run-msk.json").read_text())["Statement"]
    wanted = {each["Sid"]: each["Resource"] for each in statements if each["Sid"] != "Tables"}
    resources = msk_resources(values["msk_resources"])
    assert {name: [resource] for name, resource in resources.items()} == wanted
    assert values["msk_resources"].startswith("${var.msk == null ? {} : {")
    assert "run-msk.json" in values["msk_actions"]
    assert "each.Sid => each.Action" in values["msk_actions"]
    (dynamic,) = block(found, "data", "aws_iam_policy_document", "count")["dynamic"]
    (statement,) = dynamic.values()
    assert statement["for_each"] == "${local.msk_resources}"
    (content,) = statement["content"]
    assert content["sid"] == "${statement.key}"
    assert content["actions"] == "${local.msk_actions[statement.key]}"
    assert content["resources"] == ["${statement.value}"]
    msk = block(found, "variable", "msk")
    assert msk["default"] is None
    defaults = dict(re.findall(r'(\w+) = "?\$?{?optional\(string, "([^"]+)"\)', str(msk["type"])))
    assert defaults == {"topic": Settings().topic, "group": Settings().group_id}


def bare(name: str) -> str:
    return name.strip('"')


def test_the_role_is_for_the_service_account_of_the_manifests() -> None:
    found = hcl2.loads((DEPLOY / "aws" / "main.tf").read_text())
    account = manifests()["ServiceAccount"]["metadata"]
    who = block(found, "variable", "service_account")["default"].strip('"')
    assert who.endswith(f":{account['name']}")
    role = account["annotations"]["eks.amazonaws.com/role-arn"]
    name = block(found, "resource", "aws_iam_role", "consumer")["name"].strip('"')
    assert re.fullmatch(rf"arn:aws:iam::\d{{12}}:role/{name}", role)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return the unit with commands that this machine has."""
    text = (DEPLOY / "systemd" / "dynatomic.service").read_text()
    path = tmp_path / "dynatomic.service"
    path.write_text(text.replace("/opt/dynatomic/bin/dynatomic", sys.executable))
    return path


def service() -> Callable[[str], str]:
    text = (DEPLOY / "systemd" / "dynatomic.service").read_text()
    pairs = dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z]\w+=", line))
    return pairs.__getitem__


def test_systemd_takes_the_unit_and_finds_it_closed(unit: Path) -> None:
    systemd = needs("systemd-analyze")
    done = subprocess.run(
        [systemd, "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    command = [systemd, "security", "--offline=yes", "--threshold=20", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:]


def test_systemd_waits_for_the_shutdown_and_gives_up_on_bad_configuration(tmp_path: Path) -> None:
    of_unit = service()
    settings = settings_of((DEPLOY / "dynatomic.toml").read_text(), tmp_path)
    assert int(of_unit("TimeoutStopSec")) > settings.shutdown_timeout_ms / 1000 + GRACE_S
    assert of_unit("Restart") == "always"
    assert of_unit("RestartPreventExitStatus") == "78"


def test_the_settings_file_is_one_that_config_check_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of((DEPLOY / "dynatomic.toml").read_text(), tmp_path)
    printed = capsys.readouterr().out
    # With what it prints, as the documentation shows it.
    assert f"deploy/dynatomic.toml\n{printed}```" in (DEPLOY.parent / "docs/deploy.md").read_text()
    # Secrets have their place elsewhere.
    assert not [name for name in settings.librdkafka if re.search("password|secret|pem", name)]
