"""The package as a user installs it: from the wheel that was built from the source distribution."""

import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.children import REPOSITORY, uncovered

# An environment is made and filled from the network, beside other tests.
pytestmark = pytest.mark.timeout(400)

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
SOURCE = REPOSITORY / "consumer"
OWN_MODULE = 'WHERE = "the user\'s own consumer.py"\n'
OWN_PROGRAM = """
import consumer
import dynatomic
from dynatomic import Emitter, FakeBroker, FakeDynamoDB, Row, increment
print(consumer.WHERE)
print(dynatomic.__file__)
"""


class Distribution(NamedTuple):
    """The two files that a release consists of."""

    sdist: Path
    wheel: Path


class Installed(NamedTuple):
    """A fresh environment with the wheel, and a folder with a `consumer.py` of the user's own."""

    python: Path
    folder: Path


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command without this checkout on its path, and return what it prints."""
    env = {name: value for name, value in uncovered().items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    """Build both as a release does: the wheel from the sdist, never from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    options = ("--no-isolation", "--outdir", folder)
    run(sys.executable, "-m", "build", *options, REPOSITORY, cwd=folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Distribution(sdist, wheel)


@pytest.fixture(scope="module")
def installed(distribution: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install the wheel with what it requires, outside the checkout."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "consumer.py").write_text(OWN_MODULE)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    quiet = ("--quiet", "--disable-pip-version-check")
    run(python, "-m", "pip", "install", *quiet, f"{distribution.wheel}[embedded]", cwd=folder)
    return Installed(python, folder)


def modules(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*.py")}


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_module_and_what_they_read(distribution: Distribution) -> None:
    schemas = {f"dynatomic/schemas/{path.name}" for path in (REPOSITORY / "schemas").iterdir()}
    assert "dynatomic/schemas/row.avsc" in schemas
    page = "dynatomic/service/page.html"
    wanted = modules(SOURCE) | schemas | {page, "dynatomic/py.typed"}
    found = {name for name in names(distribution.wheel) if ".dist-info/" not in name}
    assert found == wanted
    with zipfile.ZipFile(distribution.wheel) as wheel:
        for schema in (REPOSITORY / "schemas").iterdir():
            assert wheel.read(f"dynatomic/schemas/{schema.name}") == schema.read_bytes()


def test_the_wheel_installs_one_name_one_command_and_one_plugin(distribution: Distribution) -> None:
    found = names(distribution.wheel)
    info = f"dynatomic-{PROJECT['version']}.dist-info"
    assert {name.partition("/")[0] for name in found} == {"dynatomic", info}
    with zipfile.ZipFile(distribution.wheel) as wheel:
        commands = wheel.read(f"{info}/entry_points.txt").decode()
        licence = wheel.read(f"{info}/licenses/LICENSE")
    plugin = PROJECT["entry-points"]["pytest11"]["dynatomic"]
    assert commands == (
        f"[console_scripts]\ndynatomic = {PROJECT['scripts']['dynatomic']}\n"
        f"\n[pytest11]\ndynatomic = {plugin}\n"
    )
    assert licence == (REPOSITORY / "LICENSE").read_bytes()


def test_the_source_distribution_holds_what_builds_and_explains_the_package(
    distribution: Distribution,
) -> None:
    with tarfile.open(distribution.sdist) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "schemas/row.avsc"} <= found
    assert {f"consumer/{name}" for name in modules(SOURCE)} <= found
    # Nothing that a tool left in the checkout.
    assert not [name for name in found if "/." in name or "__pycache__" in name]


def test_the_users_own_consumer_module_is_not_in_the_way(installed: Installed) -> None:
    printed = run(installed.python, "-c", OWN_PROGRAM, cwd=installed.folder)
    where, package = printed.splitlines()
    assert where == "the user's own consumer.py"
    assert Path(package).is_relative_to(installed.folder / "venv")


def test_the_demo_runs_from_the_wheel(installed: Installed) -> None:
    """`python -m` puts the folder of the user's `consumer.py` first on the path."""
    printed = run(installed.python, "-m", "dynatomic", "demo", cwd=installed.folder)
    assert "\nOK  1,000 counters, sum 100,000 = 100,000\n" in printed
    declared = run(
        *(installed.python, "-m", "dynatomic", "demo", "--events", "json"), cwd=installed.folder
    )
    assert "\nOK  1,206 counters, sum " in declared
    command = installed.python.with_name("dynatomic")
    version = run(command, "--version", cwd=installed.folder)
    assert version == f"dynatomic {PROJECT['version']}\n"
