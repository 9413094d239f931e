"""deploy/: the scaled object is what KEDA takes, and looks at the topic that is counted."""

import copy
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from dynatomic.config.settings import Settings
from dynatomic.kafka.client import reset_policy
from dynatomic.kafka.topics import PARTITIONS
from tests.support.manifests import DEPLOY, KUBERNETES, Manifest, manifests

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
