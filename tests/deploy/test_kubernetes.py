"""deploy/kubernetes: the manifests are valid, and mean the same pods."""

from typing import Any

import kubernetes_validate
import pytest

from dynatomic.config.settings import Settings
from dynatomic.kafka.topics import PARTITIONS
from dynatomic.service.signals import GRACE_S
from tests.support.compose import of, stages
from tests.support.manifests import KUBERNETES, container, manifests, pod


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
        # Restart only if it helps. With /livez, a problem of one partition would restart all pods.
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
