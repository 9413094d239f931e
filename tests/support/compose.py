"""The compose file and the Dockerfile, parsed."""

import re
import shlex
from typing import Any, NamedTuple

import pytest
import yaml

import dynatomic.cli.main  # noqa: F401 -- its commands are the app's
from dynatomic.cli.app import app
from tests.support.children import REPOSITORY

COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())


SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


OURS = ("init", "consumer", "demo")


def parsed(service: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, Any]]:
    """Return the command of a service and its arguments, as `dynatomic` itself reads them."""
    for name, value in SERVICES[service]["environment"].items():
        monkeypatch.setenv(name, value)
    command = SERVICES[service]["command"]
    _, bound, unknown = app.parse_args(command, exit_on_error=False, print_error=False)[:3]
    assert not unknown
    return command[0], dict(bound.arguments)


class Instruction(NamedTuple):
    name: str
    text: str


def stages() -> list[list[Instruction]]:
    """Return the instructions of each stage of the Dockerfile, its FROM first.

    What is put in for an ARG that stands before the first stage is put in here.
    """
    text = (REPOSITORY / "deploy" / "Dockerfile").read_text()
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


AWS_NEEDED = {
    "AWS_ACCESS_KEY_ID",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
}
