"""The image: its Dockerfile, and the wheel and the list of parts that go into it."""

import contextlib
import http.server
import json
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator

import confluent_kafka
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import dynatomic.cli.main  # noqa: F401 -- its commands are the app's
from tests.support.children import REPOSITORY
from tests.support.compose import OURS, SERVICES, labels, of, stages


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
    assert parts in (REPOSITORY / "Makefile").read_text()
    assert not of(final, "ADD")
    for command in of(final, "RUN"):
        assert not re.search(r"\b(pip|apt|apt-get|gcc|curl|wget|git)\b", command)


def pip_commands() -> list[str]:
    """Return the commands of the build that install or build with pip."""
    runs = [part for stage in stages() for run in of(stage, "RUN") for part in run.split("&&")]
    return [part for part in runs if re.search(r"pip\b.* (install|wheel) ", part)]


def test_nothing_is_left_of_the_downloads() -> None:
    assert len(pip_commands()) == 4
    assert all("--no-cache-dir" in part for part in pip_commands())


def test_what_the_build_downloads_has_a_hash_in_a_lock() -> None:
    """The others neither resolve requirements nor fetch the tools of the build."""
    for command in pip_commands():
        lock = re.search(r"--require-hashes --requirement (\S+)", command)
        if lock is None:
            assert "--no-deps" in command
            assert "--no-build-isolation" in command or command.rstrip().endswith("/dist/*.whl")
        else:
            assert (REPOSITORY / lock[1]).is_file()


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
    # It handles SIGTERM, which is the default signal to stop a container.
    assert not of(final, "STOPSIGNAL")
    assert not of(final, "SHELL")


def test_the_image_says_what_it_is_and_logs_at_once() -> None:
    final = stages()[-1]
    variables = dict(
        item.split("=", 1) for item in shlex.split(" ".join(map(str, of(final, "ENV"))))
    )
    assert variables["PYTHONUNBUFFERED"] == "1"
    assert variables["PATH"].startswith("/opt/dynatomic/bin:")
    image_labels = labels(final)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert image_labels["org.opencontainers.image.title"] == project["name"]
    assert image_labels["org.opencontainers.image.licenses"] == project["license"]
    assert image_labels["org.opencontainers.image.description"]


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
        [sys.executable, str(REPOSITORY / "deploy" / "sbom.py"), sys.executable],
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
        assert "version" not in found[name], "it has no version"
        assert found[name]["bom-ref"] in needs[found["librdkafka"]["bom-ref"]]
    assert {"dynatomic", "boto3", "fastavro"} <= found.keys()


def test_the_build_gets_what_the_wheel_is_made_of_and_nothing_else() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    config = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wheel = config["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        "pyproject.toml",
        config["project"]["readme"],
        *config["project"]["license-files"],
        *wheel["packages"],
        *wheel["force-include"],
        "deploy/sbom.py",  # run in the build, and no part of the image
        "locks",
    }
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == needed
