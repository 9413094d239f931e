"""What the tests of deploy/ share."""

from pathlib import Path

import pytest

from dynatomic.config.settings import Settings
from tests.support.manifests import manifests, settings_of


@pytest.fixture
def configured(tmp_path: Path) -> Settings:
    """Return the settings that the ConfigMap holds."""
    return settings_of(manifests()["ConfigMap"]["data"]["dynatomic.toml"], tmp_path)
