"""The pages about the code name only files, functions and tests that exist."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "consumer" / "dynatomic"
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
PAGE = ARCHITECTURE + (ROOT / "docs" / "where-to-change.md").read_text()
NAMES = sorted(set(re.findall(r"`([^`\n]+)`", PAGE)))
FILES = [name for name in NAMES if re.fullmatch(r"[\w/]+\.py", name)]
ROOMS = [name for name in NAMES if re.fullmatch(r"[a-z_]+/", name)]
TESTS = [name for name in NAMES if name.startswith("test_")]
MEMBERS = [name for name in NAMES if re.fullmatch(r"[A-Z]\w+\.[a-z_]+", name)]
FUNCTIONS = re.findall(r"\| `([\w/]+\.py)` `(\w+(?:\.\w+)?)` \|", PAGE)
PLACES = re.findall(r"((?:`\w+(?:\.\w+)?`(?:, | and )?)+) in `([\w/]+\.py)`", PAGE)
MAX_WORDS = 1500
"""About two pages: who reads more looks into the code."""
INVARIANTS = re.split(r"\n- \*\*", ARCHITECTURE.split("\n## ")[4])[1:]
LEVELS = re.findall(r"^\| (\d+) \| (.+?) \|", ARCHITECTURE, re.MULTILINE)


def defined(path: Path) -> set[str]:
    """Return the functions, classes, members and constants of a file."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {
                name.id
                for target in targets
                for name in ast.walk(target)
                if isinstance(name, ast.Name)
            }
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    found.add(f"{node.name}.{inner.name}")
                elif isinstance(inner, ast.AnnAssign):
                    found.add(f"{node.name}.{ast.unparse(inner.target)}")
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_there(name: str) -> None:
    assert (PACKAGE / name).is_file() or (ROOT / name).is_file()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_there(room: str) -> None:
    assert list(PACKAGE.rglob(f"{room}__init__.py"))


def test_every_room_is_listed() -> None:
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()} <= {
        room.rstrip("/") for room in ROOMS
    }


def test_the_levels_are_those_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = [each for each in contracts["contracts"] if each["type"] == "layers"]
    levels: dict[int, set[str]] = {}
    for level, names in LEVELS:
        levels.setdefault(int(level), set()).update(re.findall(r"`(\w+)/?`", names))
    layers = [set(re.findall(r"\w+", layer)) for layer in contract["layers"]]
    assert [levels[level] for level in sorted(levels, reverse=True)] == layers[1:]


@pytest.mark.parametrize("name", TESTS)
def test_a_test_is_there(name: str) -> None:
    files = (ROOT / "tests").rglob("test_*.py")
    assert any(name in defined(path) for path in files)


@pytest.mark.parametrize("text", INVARIANTS, ids=lambda text: text.split("**")[0].strip())
def test_an_invariant_names_its_test(text: str) -> None:
    assert re.search(r"Test: `test_\w+`\.", re.split(r"\n- |\n\n", text, maxsplit=1)[0])


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_is_there(name: str) -> None:
    assert any(name in defined(path) for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize(("file", "name"), FUNCTIONS)
def test_a_function_is_in_the_file_that_is_named_for_it(file: str, name: str) -> None:
    assert name in defined(PACKAGE / file)


@pytest.mark.parametrize(("names", "file"), PLACES)
def test_what_a_change_needs_is_in_the_file_that_is_named_for_it(names: str, file: str) -> None:
    assert set(re.findall(r"`([^`]+)`", names)) <= defined(PACKAGE / file)


def importers(name: str) -> set[str]:
    """Return the modules that import a name."""
    return {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}
    }


def test_only_these_modules_write_fences() -> None:
    assert importers("change_fences") == {"operations/fences.py"}
    assert importers("Fence") == {
        "dynamodb/parts.py",
        "dynamodb/statements.py",
        "dynamodb/writer.py",
        "operations/probe.py",
        "operations/probe_cases.py",
    }


ENTRIES = [
    (path.parent, module, name)
    for path in sorted(PACKAGE.rglob("__init__.py"))
    for module, name in re.findall(r"`(\w+)\.(\w+)`", path.read_text())
    if path.parent != PACKAGE and (path.parent / f"{module}.py").is_file()
]


@pytest.mark.parametrize(("room", "module", "name"), ENTRIES)
def test_the_entry_of_a_room_is_there(room: Path, module: str, name: str) -> None:
    assert name in defined(room / f"{module}.py")


def test_the_page_is_about_two_pages_long() -> None:
    assert len(re.findall(r"\S*\w\S*", ARCHITECTURE)) <= MAX_WORDS


def test_the_pages_were_read() -> None:
    assert len(FILES) > 10
    assert len(TESTS) > 5
    assert len(FUNCTIONS) > 5
    assert len(PLACES) > 8
    assert len(INVARIANTS) > 5
    assert len(ENTRIES) > 20
