"""locks/: every package has hashes, and a version that pyproject.toml allows."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.children import REPOSITORY

CONFIG: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PROJECT, GROUPS = CONFIG["project"], CONFIG["dependency-groups"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
LOCKS = {path.name: path.read_text() for path in (REPOSITORY / "locks").iterdir()}
HASH = r" \\\n    --hash=sha256:[0-9a-f]{64}"
PIN = re.compile(rf"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)( ; .+?)?(?:{HASH})+$", re.MULTILINE)


def of_group(name: str) -> Iterator[str]:
    for entry in GROUPS[name]:
        if isinstance(entry, str):
            yield entry
        else:
            yield from of_group(entry["include-group"])


WANTED = {
    "dev.txt": [
        *PROJECT["dependencies"],
        *EXTRAS["embedded"],
        *EXTRAS["msk"],
        *EXTRAS["registry"],
        *of_group("dev"),
    ],
    "image.txt": [*PROJECT["dependencies"], *EXTRAS["msk"], *EXTRAS["registry"]],
    "image-tools.txt": [*of_group("image")],
}


def versions(lock: str) -> dict[str, set[str]]:
    """Return the versions of each package; there are several where a marker decides."""
    found: dict[str, set[str]] = {}
    for pin in PIN.finditer(lock):
        found.setdefault(pin["name"], set()).add(pin["version"])
    return found


def unlocked(lock: str, wanted: list[str]) -> list[str]:
    """Return the requirements that no version of a lock fits."""
    found = versions(lock)
    return [
        text
        for text, requirement in ((text, Requirement(text)) for text in wanted)
        if not any(
            requirement.specifier.contains(version, prereleases=True)
            for version in found.get(canonicalize_name(requirement.name), ())
        )
    ]


def required(name: str) -> Iterator[str]:
    """Yield what an installed package requires here; nothing for one of another platform."""
    try:
        requires = distribution(name).requires or []
    except PackageNotFoundError:
        return
    for text in requires:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield text


def test_there_is_a_lock_for_development_the_image_and_its_build() -> None:
    assert LOCKS.keys() == WANTED.keys()


@pytest.mark.parametrize("name", WANTED)
def test_a_lock_fits_pyproject(name: str) -> None:
    missing = unlocked(LOCKS[name], WANTED[name])
    assert not missing, f"locks/{name} does not fit pyproject.toml: run `make lock`"


@pytest.mark.parametrize("name", WANTED)
def test_a_lock_holds_what_its_packages_require(name: str) -> None:
    """pip refuses a requirement without a hash, also one that only another package has."""
    for package in versions(LOCKS[name]):
        assert not unlocked(LOCKS[name], [*required(package)]), package


@pytest.mark.parametrize("name", WANTED)
def test_every_line_of_a_lock_is_a_version_with_hashes_or_a_comment(name: str) -> None:
    rest = PIN.sub("", LOCKS[name])
    assert not [line for line in rest.splitlines() if line and not line.lstrip().startswith("#")]
    assert "://" not in LOCKS[name], "a lock names no package index"


def test_the_image_holds_versions_that_were_tested() -> None:
    tested = versions(LOCKS["dev.txt"])
    for name in ("image.txt", "image-tools.txt"):
        for package, found in versions(LOCKS[name]).items():
            assert found <= tested[package], package


@pytest.mark.parametrize("change", ["fastavro>=99", "unheard-of>=1"])
def test_a_requirement_that_is_not_locked_is_noticed(change: str) -> None:
    assert unlocked(LOCKS["dev.txt"], [*WANTED["dev.txt"], change]) == [change]


def test_the_wheel_is_built_with_what_pyproject_asks_for() -> None:
    assert set(CONFIG["build-system"]["requires"]) <= set(of_group("image"))
