"""The house: what import-linter cannot hold. Its contracts in pyproject.toml hold the rooms."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import dynatomic

PACKAGE = Path(dynatomic.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = [path for path in MODULES if path.name == "__init__.py" and path.parent != PACKAGE]
MAX_LINES = 320


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imports(path: Path) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_are_absolute(path: Path) -> None:
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in imports(path))


@pytest.mark.parametrize("path", ROOMS, ids=named)
def test_a_room_imports_nothing_by_itself(path: Path) -> None:
    """Else `--help` would load librdkafka and boto3."""
    assert not list(imports(path))


def test_no_import_of_our_own_is_hidden_from_the_contracts() -> None:
    """Only the package itself imports by a name that it computes."""
    hidden = [
        named(path)
        for path in MODULES
        if "import_module(" in path.read_text() or "__import__(" in path.read_text()
    ]
    assert hidden == ["__init__.py"]


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_file_stays_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_the_front_door_has_exactly_these_names() -> None:
    assert sorted(dynatomic.__all__) == [
        "ConfigError",
        "DeliveryError",
        "DynatomicError",
        "Emitter",
        "FakeBroker",
        "FakeDynamoDB",
        "IncrementError",
        "Row",
        "RowError",
        "UnavailableError",
        "increment",
    ]


@pytest.mark.parametrize("name", dynatomic.__all__)
def test_a_name_of_the_front_door_is_what_its_module_has(name: str) -> None:
    found = getattr(dynatomic, name)
    assert found.__name__ == name
    assert found.__module__.startswith("dynatomic.")
    assert getattr(importlib.import_module(found.__module__), name) is found
    assert found.__doc__


def test_other_names_are_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = dynatomic.Nothing
