"""The compose file and the image: read and checked everywhere, run where a Docker engine is."""

import contextlib
import http.server
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import confluent_kafka
import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from cyclopts import CycloptsError

import dynatomic.cli.main  # noqa: F401 -- its commands are the app's
from dynatomic.cli.app import app
from dynatomic.config.settings import SETTINGS, Settings
from dynatomic.events.samples import samples
from dynatomic.service.signals import GRACE_S
from tests.support.children import uncovered
from tests.support.tables import make_client
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("init", "consumer", "demo")

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
AWS_NEEDED = {
    "AWS_ACCESS_KEY_ID",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
}


def kafka(name: str) -> str:
    return str(SERVICES["kafka"]["environment"][f"KAFKA_{name}"])


def addresses(name: str) -> dict[str, str]:
    """Return what ``KAFKA_LISTENERS`` and its like give for each listener."""
    separator = ":" if name.endswith("MAP") else "://"
    pairs = (part.partition(separator) for part in kafka(name).split(","))
    return {listener: address for listener, _, address in pairs}


def parsed(service: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, Any]]:
    """Return the command of a service and its arguments, as `dynatomic` itself reads them."""
    for name, value in SERVICES[service]["environment"].items():
        monkeypatch.setenv(name, value)
    command = SERVICES[service]["command"]
    _, bound, unknown = app.parse_args(command, exit_on_error=False, print_error=False)[:3]
    assert not unknown
    return command[0], dict(bound.arguments)


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
    listeners, told = addresses("LISTENERS"), addresses("ADVERTISED_LISTENERS")
    inside, controller = kafka("INTER_BROKER_LISTENER_NAME"), kafka("CONTROLLER_LISTENER_NAMES")
    assert listeners.keys() == addresses("LISTENER_SECURITY_PROTOCOL_MAP").keys()
    assert listeners.keys() - {controller} == told.keys() == {inside, "HOST"}
    assert told[inside] == SERVICES["consumer"]["environment"]["DYNATOMIC_BOOTSTRAP_SERVERS"]
    assert told[inside].endswith(listeners[inside])
    published = f"{told['HOST']}{listeners['HOST']}"
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
            return ROOT / own / Path(path).relative_to(inside)
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


class Instruction(NamedTuple):
    name: str
    text: str


def stages() -> list[list[Instruction]]:
    """Return the instructions of each stage of the Dockerfile, its FROM first.

    What is put in for an ARG that stands before the first stage is put in here.
    """
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    before, text = re.split(r"^(?=FROM )", text, maxsplit=1, flags=re.MULTILINE)
    for name, value in re.findall(r"^ARG (\w+)=(\S+)$", before, flags=re.MULTILINE):
        text = re.sub(rf"\${name}\b", value, text)
    found: list[list[Instruction]] = []
    for line in filter(None, text.splitlines()):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append(Instruction(name, rest.strip()))
    return found


def of(stage: list[Instruction], name: str) -> list[str]:
    return [each.text for each in stage if each.name == name]


def labels(stage: list[Instruction]) -> dict[str, str]:
    return dict(item.split("=", 1) for item in shlex.split(" ".join(of(stage, "LABEL"))))


def test_the_image_is_made_in_stages_from_one_base() -> None:
    build, parts, final = stages()
    (base,) = of(final, "FROM")
    assert base.startswith("python:3.13.")
    assert of(build, "FROM") == [f"{base} AS build"]
    assert of(parts, "FROM") == ["build AS parts"]
    # An ARG of before the first stage is empty in a stage that does not name it.
    assert "BASE" in of(final, "ARG")
    assert labels(final)["org.opencontainers.image.base.name"] == f"docker.io/library/{base}"


# A version of three numbers; Debian by its name, and a digest, may follow.
PINNED = re.compile(r".+:v?\d+\.\d+\.\d+(-slim-[a-z]{4,})?(@sha256:[0-9a-f]{64})?")


def pulled() -> set[str]:
    """Return the images that are fetched: by the Dockerfile, and by the compose file."""
    based = {of(stage, "FROM")[0] for stage in stages()}
    built = {each.rpartition(" AS ")[2] for each in based if " AS " in each}
    froms = {each.partition(" AS ")[0] for each in based} - built
    return froms | {each["image"] for name, each in SERVICES.items() if name not in OURS}


def test_no_image_that_is_fetched_floats() -> None:
    assert len(pulled()) == 5
    assert {image for image in pulled() if not PINNED.fullmatch(image)} == set()


@pytest.mark.parametrize(
    "image", ["python", "python:3.13-slim", "python:3.13.16-slim", "prom/prometheus:latest", "a:v3"]
)
def test_an_image_that_floats_is_noticed(image: str) -> None:
    assert not PINNED.fullmatch(image)


def test_the_image_holds_no_more_than_the_installed_wheel() -> None:
    final = stages()[-1]
    parts = "/usr/share/doc/dynatomic/dynatomic.cdx.json"
    assert of(final, "COPY") == [
        "--from=build /opt/dynatomic /opt/dynatomic",
        f"--from=parts /dynatomic.cdx.json {parts}",
    ]
    assert parts in (ROOT / "Makefile").read_text()
    assert not of(final, "ADD")
    for command in of(final, "RUN"):
        assert not re.search(r"\b(pip|apt|apt-get|gcc|curl|wget|git)\b", command)


def test_nothing_is_left_of_the_downloads() -> None:
    build, parts, _ = stages()
    assert all("--no-cache-dir" in run for run in of(parts, "RUN"))
    pips = [part for run in of(build, "RUN") for part in run.split("&&") if "pip " in part]
    pips = [part for part in pips if "--without-pip" not in part]
    assert len(pips) == 3
    assert all("--no-cache-dir" in part for part in pips)


def test_the_image_does_not_run_as_root() -> None:
    final = stages()[-1]
    (user,) = of(final, "USER")
    number, _, group = user.partition(":")
    assert int(number) > 0
    assert int(group) > 0
    assert any(f"--uid {number}" in command for command in of(final, "RUN"))


def test_the_command_is_process_1() -> None:
    final = stages()[-1]
    (entrypoint,) = of(final, "ENTRYPOINT")
    assert json.loads(entrypoint) == ["dynatomic"]
    (command,) = of(final, "CMD")
    assert json.loads(command) == ["run"]
    # SIGTERM is what it handles, and what a container is stopped with unless told otherwise.
    assert not of(final, "STOPSIGNAL")
    assert not of(final, "SHELL")


def test_the_image_says_what_it_is_and_logs_at_once() -> None:
    final = stages()[-1]
    variables = dict(
        item.split("=", 1) for item in shlex.split(" ".join(map(str, of(final, "ENV"))))
    )
    assert variables["PYTHONUNBUFFERED"] == "1"
    assert variables["PATH"].startswith("/opt/dynatomic/bin:")
    told = labels(final)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert told["org.opencontainers.image.title"] == project["name"]
    assert told["org.opencontainers.image.licenses"] == project["license"]
    assert told["org.opencontainers.image.description"]


def test_the_image_tells_whether_it_is_well() -> None:
    final = stages()[-1]
    (check,) = of(final, "HEALTHCHECK")
    python, option, script = json.loads(check.partition("CMD ")[2])
    assert (python, option) == ("python", "-c")
    for code, status in ((0, 200), (1, 503)):
        with answering(status) as port:
            done = subprocess.run(
                [sys.executable, option, script.replace("9108", str(port))], check=False
            )
        assert done.returncode == code
    closed = script.replace("9108", str(port))
    done = subprocess.run([sys.executable, option, closed], capture_output=True, check=False)
    assert done.returncode == 1
    for name in ("init", "demo"):
        assert SERVICES[name]["healthcheck"] == {"disable": True}


@contextlib.contextmanager
def answering(status: int) -> Iterator[int]:
    """Answer every GET of /livez with one status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/livez" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_list_of_parts_names_what_the_kafka_wheel_brings() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "sbom.py"), sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parts = json.loads(done.stdout)
    # Of all packages it would take minutes; those of Python are the tool's own.
    ours = [p for p in parts["components"] if p.get("purl", "").startswith("pkg:github/")]
    assert len(ours) == 6
    slim = json.dumps(parts | {"components": ours, "dependencies": []})
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(slim) is None
    found = {part["name"]: part for part in parts["components"]}
    assert found["librdkafka"]["version"] == confluent_kafka.libversion()[0]
    assert found["librdkafka"]["licenses"] == [{"license": {"id": "BSD-2-Clause"}}]
    assert re.fullmatch(r"3\.\d+\.\d+", found["openssl"]["version"])
    needs = {each["ref"]: each.get("dependsOn", []) for each in parts["dependencies"]}
    assert found["librdkafka"]["bom-ref"] in needs[found["confluent-kafka"]["bom-ref"]]
    assert found["openssl"]["bom-ref"] in needs[found["librdkafka"]["bom-ref"]]
    for name in ("curl", "zlib", "zstd", "lz4"):
        assert "version" not in found[name], "it does not tell"
        assert found[name]["bom-ref"] in needs[found["librdkafka"]["bom-ref"]]
    assert {"dynatomic", "boto3", "fastavro"} <= found.keys()


def test_the_build_gets_what_the_wheel_is_made_of_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = config["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        "pyproject.toml",
        config["project"]["readme"],
        *config["project"]["license-files"],
        *wheel["packages"],
        *wheel["force-include"],
        "deploy/sbom.py",  # run in the build, and no part of the image
    }
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == needed


def test_the_wheel_holds_the_schema_and_the_command(tmp_path: Path) -> None:
    options = ["--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-deps"]
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(tmp_path), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    unfetched = "No matching distribution found for hatchling" in built.stderr
    if unfetched and os.environ.get("CI") != "true":
        pytest.skip("hatchling cannot be had, so no wheel was built")
    assert built.returncode == 0, built.stderr
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["dynatomic"]
    (path,) = tmp_path.glob("dynatomic-*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        assert wheel.read("dynatomic/schemas/row.avsc") == (ROOT / "schemas/row.avsc").read_bytes()
        (commands,) = (name for name in names if name.endswith("/entry_points.txt"))
        assert f"dynatomic = {script}" in wheel.read(commands).decode()
    assert "dynatomic/py.typed" in names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"dynatomic"}


NEW_PIDS = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]


def handles(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s+([0-9a-f]+)$", status, flags=re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize(
    "command",
    [["init", "--wait", "60"], ["run", "--table", "usage", "--endpoint-url", "http://127.0.0.1:1"]],
    ids=["init", "run"],
)
def test_process_1_ends_at_once_on_sigterm_while_it_waits_for_servers(command: list[str]) -> None:
    # To the first process of a container the kernel brings no signal that it does not handle.
    try:
        subprocess.run([*NEW_PIDS, "true"], capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("this system lets nobody make a process 1")
    variables = {name: "x" for name in AWS_NEEDED if "URL" not in name}
    # A measuring child has a handler of coverage's, which ends in a signal to itself: dropped too.
    with subprocess.Popen(
        [*NEW_PIDS, sys.executable, "-m", "dynatomic", *command, "-b", "127.0.0.1:1"],
        stderr=subprocess.DEVNULL,
        env=uncovered() | variables,
        cwd=ROOT,
    ) as outer:
        try:
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
            wait_until(lambda: bool(children.read_text()), "started")
            pid = int(children.read_text())
            wait_until(lambda: handles(pid, signal.SIGTERM), "handling SIGTERM", seconds=5)
            os.kill(pid, signal.SIGTERM)
            assert outer.wait(10) == 128 + signal.SIGTERM
        finally:
            outer.kill()


# A project, an image and ports of its own beside whatever the engine runs already.
OVERRIDE = """
services:
  kafka: {ports: !reset []}
  dynamodb: {ports: !override ["127.0.0.1::8000"]}
  init: {image: IMAGE, build: {network: host}}
  consumer: {image: IMAGE}
  demo: {image: IMAGE}
"""


class Stack:
    """The compose file's services, under a name of their own."""

    def __init__(self, folder: Path) -> None:
        self.project = f"dynatomic-{uuid.uuid4().hex[:8]}"
        self.image = f"{self.project}:test"
        self._override = folder / "override.yml"
        self._override.write_text(OVERRIDE.replace("IMAGE", self.image))

    def __call__(self, *args: str) -> str:
        """Run a compose command and return what it printed."""
        files = ["-f", str(ROOT / "docker-compose.yml"), "-f", str(self._override)]
        return docker("compose", "-p", self.project, *files, "--profile", "demo", *args)

    def states(self, service: str) -> list[dict[str, Any]]:
        return [
            json.loads(docker("inspect", "--format", "{{json .State}}", container))
            for container in self("ps", "--all", "--quiet", service).split()
        ]

    def counts(self) -> dict[str, int]:
        address = self("port", "dynamodb", "8000").strip()
        pages = make_client(f"http://{address}").get_paginator("scan").paginate(TableName="usage")
        items = [item for page in pages for item in page["Items"]]
        return {item["pk"]["S"]: int(item["count"]["N"]) for item in items}

    def owners(self) -> Counter[str]:
        """Return how many partitions each member of the group has."""
        script, servers = "/opt/kafka/bin/kafka-consumer-groups.sh", "kafka:19092"
        describe = ["--bootstrap-server", servers, "--describe", "--group", Settings().group_id]
        lines = self("exec", "-T", "kafka", script, *describe).splitlines()
        rows = [line.split() for line in lines if f" {Settings().topic} " in line]
        return Counter(row[6] for row in rows)


def docker(*args: str) -> str:
    done = subprocess.run(
        ["docker", *args],  # noqa: S607 - wherever it is
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, f"docker {shlex.join(args)}: {done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path)
    try:
        docker("info")
        docker("compose", "version")
    except (AssertionError, FileNotFoundError):
        pytest.skip("no Docker engine with compose: docker-compose.yml was parsed, not run")
    yield made
    try:
        made("down", "--volumes", "--remove-orphans", "--timeout", "5")
        mine = f"label=com.docker.compose.project={made.project}"
        for kind in ("container", "volume", "network"):
            left = docker(kind, "ls", *["--all"][: kind == "container"], "-q", "--filter", mine)
            assert not left, f"a {kind} is left"
    finally:
        docker("image", "rm", "--force", made.image)


@pytest.mark.timeout(900)  # the first time, images are fetched
def test_three_containers_count_the_demo_and_stop_at_once(stack: Stack) -> None:
    stack("up", "--detach", "--scale", "consumer=3")
    assert [state["ExitCode"] for state in stack.states("init")] == [0]
    expected = Counter(row.key for row in samples(table="usage", count=100_000, rows=1000))
    wait_until(lambda: stack.counts() == expected, "counted, each event once", seconds=60)
    assert [state["ExitCode"] for state in stack.states("demo")] == [0]
    wait_until(lambda: sorted(stack.owners().values()) == [2, 2, 2], "shared by three", seconds=30)
    wait_until(
        lambda: [s["Health"]["Status"] for s in stack.states("consumer")] == ["healthy"] * 3,
        "healthy",
        seconds=60,
    )
    told = stack("exec", "consumer", "grep", "-E", "^(Uid|CapEff)", "/proc/1/status")
    status = dict(line.split(":\t") for line in told.strip().splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert int(status["CapEff"], 16) == 0, "it has capabilities"
    stack("stop", "consumer")
    states = stack.states("consumer")
    assert [(state["Status"], state["ExitCode"]) for state in states] == [("exited", 0)] * 3
    assert stack.counts() == expected
