"""The compose file and the image: read and checked everywhere, run where a Docker engine is."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from cyclopts import CycloptsError

import dynatomic.cli.main  # noqa: F401 -- its commands are the app's
from dynatomic.config.catalogue import SETTINGS
from dynatomic.config.settings import Settings
from dynatomic.service.signals import GRACE_S
from tests.support.children import REPOSITORY
from tests.support.compose import AWS_NEEDED, COMPOSE, OURS, SERVICES, of, parsed, stages

# The image drops its defaults when one KAFKA_ variable is set: these make a node without them.
KAFKA_NEEDED = {
    "CLUSTER_ID",
    "KAFKA_ADVERTISED_LISTENERS",
    "KAFKA_CONTROLLER_LISTENER_NAMES",
    "KAFKA_CONTROLLER_QUORUM_VOTERS",
    "KAFKA_INTER_BROKER_LISTENER_NAME",
    "KAFKA_LISTENERS",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
    "KAFKA_LOG_DIRS",
    "KAFKA_NODE_ID",
    "KAFKA_PROCESS_ROLES",
}
# Kafka's default is 3 or 2, and there is one broker.
KAFKA_ONE = {
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR",
}


def kafka(name: str) -> str:
    return str(SERVICES["kafka"]["environment"][f"KAFKA_{name}"])


def addresses(name: str) -> dict[str, str]:
    """Return what ``KAFKA_LISTENERS`` and its like give for each listener."""
    separator = ":" if name.endswith("MAP") else "://"
    pairs = (part.partition(separator) for part in kafka(name).split(","))
    return {listener: address for listener, _, address in pairs}


def test_the_services_and_their_images() -> None:
    assert {name: service["image"] for name, service in SERVICES.items()} == {
        "kafka": "apache/kafka:4.4.0",
        "dynamodb": "amazon/dynamodb-local:3.3.1",
        "prometheus": "prom/prometheus:v3.13.0",
        "grafana": "grafana/grafana:13.2.0",
        **dict.fromkeys(OURS, "dynatomic:local"),
    }


def test_what_waits_for_its_profile() -> None:
    profiles = {
        name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service
    }
    assert profiles == {"demo": ["demo"], "prometheus": ["observe"], "grafana": ["observe"]}


def test_the_image_is_built_by_one_service_and_fetched_by_none() -> None:
    assert SERVICES["init"]["build"] == {"context": ".", "dockerfile": "deploy/Dockerfile"}
    for name in ("consumer", "demo"):
        assert "build" not in SERVICES[name]
        assert SERVICES[name]["pull_policy"] == "never"


def test_nothing_is_reached_from_other_machines() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {
        "kafka": ["127.0.0.1:9092:9092"],
        "dynamodb": ["127.0.0.1:8000:8000"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


def test_a_service_can_be_scaled() -> None:
    for name, service in SERVICES.items():
        assert "container_name" not in service, name
        assert "hostname" not in service, name
    assert not {"ports", "expose", "network_mode"} & SERVICES["consumer"].keys()


@pytest.mark.parametrize("name", ["consumer", "demo"])
def test_init_is_the_gate(name: str) -> None:
    assert SERVICES["init"]["depends_on"] == ["kafka", "dynamodb"]
    assert SERVICES[name]["depends_on"]["init"] == {"condition": "service_completed_successfully"}


def test_only_what_stays_up_is_restarted() -> None:
    # An init or a demo that is restarted never ends. DynamoDB would come back without its tables.
    restarted = {name for name, service in SERVICES.items() if "restart" in service}
    assert restarted == {"kafka", "consumer", "prometheus", "grafana"}


def test_a_consumer_has_the_time_to_finish() -> None:
    grace = re.fullmatch(r"(\d+)s", SERVICES["consumer"]["stop_grace_period"])
    assert grace
    assert int(grace[1]) > Settings().shutdown_timeout_ms / 1000 + GRACE_S


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_do_no_more_than_they_must(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"cap_add", "privileged", "user", "volumes"} & service.keys()


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_one_that_is_read(name: str) -> None:
    variables = set(SERVICES[name]["environment"])
    ours = {variable for variable in variables if variable.startswith("DYNATOMIC_")}
    assert ours <= {setting.env for setting in SETTINGS}
    assert variables - ours == AWS_NEEDED


def test_the_commands_are_what_dynatomic_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    servers = {"bootstrap_servers": "kafka:19092", "tables": ("usage",)}
    assert parsed("init", monkeypatch) == ("init", {"wait": 60, "create_tables": True, **servers})
    assert parsed("consumer", monkeypatch) == ("run", servers)
    assert parsed("demo", monkeypatch) == ("produce", {"count": 100_000, "rows": 1000, **servers})


def test_a_command_with_an_unknown_flag_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SERVICES["consumer"], "command", ["run", "--tables", "usage"])
    with pytest.raises(CycloptsError, match="--tables"):
        parsed("consumer", monkeypatch)


def test_kafka_has_the_full_set() -> None:
    environment = SERVICES["kafka"]["environment"]
    assert environment.keys() >= KAFKA_NEEDED | KAFKA_ONE
    assert {environment[name] for name in KAFKA_ONE} == {1}
    assert kafka("AUTO_CREATE_TOPICS_ENABLE") == "false"


def test_kafka_is_one_node_and_its_own_controller() -> None:
    assert kafka("PROCESS_ROLES") == "broker,controller"
    node, _, address = kafka("CONTROLLER_QUORUM_VOTERS").partition("@")
    assert node == kafka("NODE_ID")
    assert addresses("LISTENERS")[kafka("CONTROLLER_LISTENER_NAMES")] == address


def test_kafka_says_where_it_is_reached_from_inside_and_from_this_machine() -> None:
    listeners, advertised = addresses("LISTENERS"), addresses("ADVERTISED_LISTENERS")
    inside, controller = kafka("INTER_BROKER_LISTENER_NAME"), kafka("CONTROLLER_LISTENER_NAMES")
    assert listeners.keys() == addresses("LISTENER_SECURITY_PROTOCOL_MAP").keys()
    assert listeners.keys() - {controller} == advertised.keys() == {inside, "HOST"}
    assert advertised[inside] == SERVICES["consumer"]["environment"]["DYNATOMIC_BOOTSTRAP_SERVERS"]
    assert advertised[inside].endswith(listeners[inside])
    published = f"{advertised['HOST']}{listeners['HOST']}"
    assert [published] == SERVICES["kafka"]["ports"]


def test_kafka_keeps_its_data_in_a_volume_and_not_for_ever() -> None:
    (volume,) = SERVICES["kafka"]["volumes"]
    name, _, folder = volume.partition(":")
    assert name in COMPOSE["volumes"]
    assert folder == kafka("LOG_DIRS")
    assert 1 <= int(kafka("LOG_RETENTION_HOURS")) <= 7 * 24
    assert int(kafka("LOG_SEGMENT_BYTES")) < int(kafka("LOG_RETENTION_BYTES")) <= 2**30


def test_dynamodb_has_one_database_for_all_keys_and_regions() -> None:
    assert SERVICES["dynamodb"]["command"][:2] == ["-jar", "DynamoDBLocal.jar"]
    assert set(SERVICES["dynamodb"]["command"][2:]) == {"-sharedDb", "-inMemory"}
    endpoint = SERVICES["consumer"]["environment"]["AWS_ENDPOINT_URL_DYNAMODB"]
    assert endpoint == "http://dynamodb:8000"


def mounted(service: str, path: str) -> Path:
    """Return the file of this repository that a container finds under a path."""
    volumes: list[str] = SERVICES[service]["volumes"]
    for volume in volumes:
        own, inside, *_ = volume.split(":")
        if own.startswith(".") and Path(path).is_relative_to(inside):
            return REPOSITORY / own / Path(path).relative_to(inside)
    raise AssertionError(f"{service} has no {path}")


def test_prometheus_finds_every_replica() -> None:
    config = yaml.safe_load(mounted("prometheus", "/etc/prometheus/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert found["names"] == ["consumer"]
    assert found["type"] == "A"
    final = stages()[-1]
    (environment,) = of(final, "ENV")
    assert f"DYNATOMIC_HTTP=0.0.0.0:{found['port']}" in environment
    for rules in config["rule_files"]:
        assert mounted("prometheus", f"/etc/prometheus/{rules}").is_file()


def test_promtool_takes_the_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: prometheus.yml was parsed, not checked")
    path = mounted("prometheus", "/etc/prometheus/prometheus.yml")
    done = subprocess.run(
        [promtool, "check", "config", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_shows_the_dashboard_without_a_click() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    provisioning = "/etc/grafana/provisioning"
    path = mounted("grafana", f"{provisioning}/dashboards/dynatomic.yml")
    (provider,) = yaml.safe_load(path.read_text())["providers"]
    assert Path(home).parent == Path(provider["options"]["path"])
    dashboard = json.loads(mounted("grafana", home).read_text())
    assert dashboard["panels"], "not the classic model"
    path = mounted("grafana", f"{provisioning}/datasources/prometheus.yml")
    (source,) = yaml.safe_load(path.read_text())["datasources"]
    assert source["isDefault"]
    assert source["type"] == "prometheus"
    assert source["url"] == "http://prometheus:9090"
    scrape = yaml.safe_load(mounted("prometheus", "/etc/prometheus/prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == scrape["global"]["scrape_interval"]
