"""deploy/ecs: AWS's own model of the requests accepts the files, and the settings are valid."""

import json
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from dynatomic.cli.sources import from_environment
from dynatomic.config.catalogue import SETTINGS
from dynatomic.config.settings import Settings
from dynatomic.service.pages import StatusPages
from dynatomic.service.signals import GRACE_S
from tests.support.manifests import DEPLOY

TASK: dict[str, Any] = json.loads((DEPLOY / "ecs" / "task-definition.json").read_text())
SERVICE: dict[str, Any] = json.loads((DEPLOY / "ecs" / "service.json").read_text())
(CONTAINER,) = TASK["containerDefinitions"]


def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings that the container gets."""
    known = {setting.env: setting for setting in SETTINGS}
    values = {}
    for variable in CONTAINER["environment"]:
        if variable["name"].startswith("DYNATOMIC_"):
            monkeypatch.setenv(variable["name"], variable["value"])
            setting = known[variable["name"]]
            values[setting.name] = from_environment(setting)
    return Settings(**values)


@pytest.mark.parametrize(
    ("operation", "request_"), [("RegisterTaskDefinition", TASK), ("CreateService", SERVICE)]
)
def test_the_model_of_the_request_accepts_it(operation: str, request_: dict[str, Any]) -> None:
    model = ServiceModel(Loader().load_service_model("ecs", "service-2"), "ecs")
    shape = model.operation_model(operation).input_shape
    assert shape is not None
    report = ParamValidator().validate(request_, shape)
    assert not report.has_errors(), report.generate_report()


def test_the_settings_are_valid_and_the_secret_is_no_plain_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = settings(monkeypatch)
    assert given.exactly_once
    assert given.require_tables() == ("usage",)
    assert [secret["name"] for secret in CONTAINER["secrets"]] == ["DYNATOMIC_LIBRDKAFKA"]
    assert "DYNATOMIC_LIBRDKAFKA" not in {v["name"] for v in CONTAINER["environment"]}


def test_it_has_the_time_to_finish_its_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    shutdown_s = settings(monkeypatch).shutdown_timeout_ms / 1000
    assert CONTAINER["stopTimeout"] > shutdown_s + 2 * GRACE_S
    assert CONTAINER["stopTimeout"] <= 120, "the maximum of Fargate"


def test_the_health_check_asks_for_what_a_restart_resolves() -> None:
    check = CONTAINER["healthCheck"]
    *_, code = check["command"]
    path = code.split("9108")[1].split("'")[0]
    assert path == "/livez/restart"
    assert path in StatusPages(Settings(tables=("usage",))).paths
    assert check["interval"] * check["retries"] >= 120
    compile(code, "health check", "exec")


def test_a_deployment_never_has_more_members_than_before() -> None:
    configuration = SERVICE["deploymentConfiguration"]
    assert configuration["maximumPercent"] == 100
    assert SERVICE["taskDefinition"] == TASK["family"]
