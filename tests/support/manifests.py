"""The Kubernetes manifests of deploy/, parsed, and what is made wrong in them on purpose."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dynatomic.cli.main import main
from dynatomic.cli.sources import read_file
from dynatomic.config.settings import Settings
from tests.support.children import REPOSITORY

DEPLOY = REPOSITORY / "deploy"


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
