"""bench/README.md and bench/peers/README.md name each file, and no other."""

import re
from pathlib import Path

import pytest

from tests.support.children import REPOSITORY

UNNAMED = {"README.md", "__init__.py", "__pycache__", "results"}


def named(folder: Path) -> set[str]:
    rows = re.findall(r"^\| (`.*?`) \|", (folder / "README.md").read_text(), re.MULTILINE)
    return {name.strip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.mark.parametrize("folder", ["bench", "bench/peers"])
def test_the_readme_names_each_file(folder: str) -> None:
    path = REPOSITORY / folder
    assert named(path) == {each.name for each in path.iterdir()} - UNNAMED
