"""deploy/systemd: the unit and its settings."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dynatomic.service.signals import GRACE_S
from tests.support.manifests import DEPLOY, settings_of
from tests.support.needed import needs


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
