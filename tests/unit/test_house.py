"""The house: what import-linter cannot hold. Its contracts in pyproject.toml hold the rooms."""

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import dynatomic

PACKAGE = Path(dynatomic.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = [path for path in MODULES if path.name == "__init__.py" and path.parent != PACKAGE]
MAX_LINES = 320

TESTS = Path(__file__).parents[1]
TEST_MODULES = sorted(path for path in TESTS.rglob("*.py") if ".servers" not in path.parts)
UNIT = [path for path in TEST_MODULES if path.is_relative_to(TESTS / "unit")]

SHARED: set[str] = set()
"""Test modules that others import from. The list only gets shorter: helpers belong in support/."""


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def named_test(path: Path) -> str:
    return str(path.relative_to(TESTS))


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


@pytest.mark.parametrize("path", TEST_MODULES, ids=named_test)
def test_a_test_module_stays_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", TEST_MODULES, ids=named_test)
def test_no_test_module_imports_another(path: Path) -> None:
    """What two modules need is a helper, and lives in tests/support."""
    imported = {
        part
        for node in imports(path)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests")
        for name in node.names
        for part in (*(node.module or "").split("."), name.name)
    }
    assert not {p for p in imported - SHARED if p == "conftest" or p.startswith("test_")}


@pytest.mark.parametrize("path", UNIT, ids=named_test)
def test_no_unit_test_imports_the_benchmark(path: Path) -> None:
    """Its own tests are in tests/bench. The two helpers are of these, and import it."""
    imported = {
        f"{node.module}.{name.name}" if isinstance(node, ast.ImportFrom) else name.name
        for node in imports(path)
        for name in node.names
    }
    forbidden = ("bench", "tests.support.peers", "tests.support.bench_results")
    assert not [
        each for each in imported if f"{each}.".startswith(tuple(f"{f}." for f in forbidden))
    ]


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_the_front_door_has_exactly_these_names() -> None:
    assert sorted(dynatomic.__all__) == [
        "AsyncEmitter",
        "ConfigError",
        "DeliveryError",
        "DynatomicError",
        "Emitter",
        "FakeBroker",
        "FakeDynamoDB",
        "IncrementError",
        "IncrementManyError",
        "LimitExceededError",
        "Row",
        "RowError",
        "UnavailableError",
        "aincrement",
        "decode",
        "increment",
        "increment_many",
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
        # A type checker sees it too: without an error here, mypy would report an unused comment.
        _ = dynatomic.Nothing  # type: ignore[attr-defined]


OLD_NAMES = re.compile(
    "number|found|each|place|about|know|begin|ticket|asks|endings|learned|times"
    "|Addend|Pending|Identity|Ends|GiveUp|Renewed|Sparse|Every|Heads|Way|NoWayError|Rest|Partly"
    "|Next|Letter|Watch|Lag|Reader|Options|MAX_COUNTERS|MOST_.*|LEAST.*"
)
"""Names with several meanings. The name of a thing says what it is: a partition, a line number."""

OLD_WORDS = {"drop", "finish", "forget", "look", "mine", "places", "settle", "settled", "told"}
"""Words that had several meanings wherever they stood in a name."""

KEPT_NAMES = {("testing/kafka/cluster.py", "times")}
"""How many times a fault of the fake happens: an argument of its public interface."""


def is_old(name: str) -> bool:
    words = set(re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name))
    return bool(OLD_NAMES.fullmatch(name.strip("_")) or OLD_WORDS & {w.lower() for w in words})


def given_names(path: Path) -> Iterator[str]:
    """Yield the names that a module gives: of classes, functions, arguments and variables."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


def test_no_name_has_several_meanings() -> None:
    given = {(named(path), name) for path in MODULES for name in given_names(path)}
    assert {(path, name) for path, name in given if is_old(name)} == KEPT_NAMES


@pytest.mark.parametrize("name", ["_found", "is_settled", "_forget_in_child", "_LEAST", "DropAll"])
def test_an_old_name_is_seen_with_a_prefix(name: str) -> None:
    assert is_old(name)


def type_names(path: Path) -> Iterator[str]:
    """Yield the names of the classes and of the aliases of types of a module."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            yield node.name.strip("_")
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id.strip("_")
            if re.fullmatch("([A-Z][a-z]+)+", name):
                yield name


def test_no_name_of_a_type_stands_twice() -> None:
    """With or without an underscore: two types of one name are read as one."""
    names = Counter(name for path in MODULES for name in type_names(path))
    # The room of the fakes imports nothing of dynamodb, and means the same by an item.
    assert {name for name, count in names.items() if count > 1} == {"Item"}


STATE_OWNERS = {"worker/partition.py": "Partition", "worker/in_flight.py": "InFlightWindow"}
"""Modules whose class is the only one that changes its fields."""


def state_fields() -> set[str]:
    """Return the fields of the classes that own their state."""
    fields = set()
    for name, owner in STATE_OWNERS.items():
        (found,) = [
            node
            for node in ast.parse((PACKAGE / name).read_text()).body
            if isinstance(node, ast.ClassDef) and node.name == owner
        ]
        annotated = [node.target for node in found.body if isinstance(node, ast.AnnAssign)]
        fields |= {target.id for target in annotated if isinstance(target, ast.Name)}
    return fields


def written_fields(source: str) -> Iterator[str]:
    """Yield each attribute of another object that code assigns to, or changes in place."""
    changing = {"append", "appendleft", "clear", "extend", "pop", "popleft", "update"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            target = node
        elif isinstance(node, ast.Attribute) and node.attr in changing:
            if not isinstance(node.value, ast.Attribute):
                continue
            target = node.value
        else:
            continue
        if not (isinstance(target.value, ast.Name) and target.value.id == "self"):
            yield target.attr


def test_written_fields_finds_each_form() -> None:
    code = "p.a = p.b.c = 1\np.d += 1\np.e, x = 1, 2\np.f.append(1)\nself.g = p.h"
    assert sorted(written_fields(code)) == ["a", "c", "d", "e", "f"]


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.parent.name == "worker"], ids=named
)
def test_only_a_partition_changes_its_state(path: Path) -> None:
    if named(path) not in STATE_OWNERS:
        assert not state_fields() & set(written_fields(path.read_text()))
