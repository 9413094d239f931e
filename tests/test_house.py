"""The house: modules import in one direction, and each stays small enough to read."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import consumer

PACKAGE = Path(consumer.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
LINES = 320

# Each may import only from those before it; `consumer` itself, the front door, from all.
ORDER = """
    errors fakes fence logs log_events progress signals sparse_log telemetry
    checks properties settings row datum decoder window
    statements answers tables items signature connections transport counters probe meter write
    writer
    partition limits health
    msk kafka topics renewed identity ends offsets dead_letters dead_letter_ratio intake refused
    settlement
    worker status metrics server dry_run init describe_group endings run
    baseline group sample dlq recount verdict comparison verify
    emit produce mock_broker embedded demo lag top offset_plan reset_offsets dlq_sender
    dlq_show dlq_replay
    config connect examine iam sources flags command operate man cli_shell cli __main__
""".split()  # noqa: SIM905 - as a list it would be a line a name

# Who may know a library; no others do. Its types go no further either.
CLIENTS = {
    "boto3": {"tables"},
    "botocore": {"counters", "items", "msk", "tables", "connections", "transport", "fakes"},
    "aws_msk_iam_sasl_signer": {"msk"},
    "mypy_boto3_dynamodb": {"counters", "items", "probe", "tables", "transport"},
    "urllib3": {"connections"},
    "confluent_kafka": {*ORDER[ORDER.index("kafka") :], "fakes"},
    "fastavro": {"row", "datum"},
    "cyclopts": {"sources", "flags", "command", "operate", "man", "cli_shell", "cli"},
    "prometheus_client": {"metrics"},
    "rich": {"progress", "top"},
}


def module_of(path: Path) -> str:
    """Return the name under which a file stands in `ORDER`: a folder's files are one."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Return the dotted names of all that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_every_module_has_its_place_in_the_order() -> None:
    assert {module_of(path) for path in MODULES} == {*ORDER, "__init__"}
    assert len(set(ORDER)) == len(ORDER)


@pytest.mark.parametrize("path", [p for p in MODULES if p != PACKAGE / "__init__.py"], ids=named)
def test_imports_go_one_way(path: Path) -> None:
    own = module_of(path)
    found = {name.split(".")[1] for name in imports(path) if name.startswith("consumer.")}
    allowed = set(ORDER[: ORDER.index(own)])
    if own == "fakes":
        allowed.add(own)
    assert found - allowed == set()


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_library_is_known_only_where_it_belongs(path: Path) -> None:
    libraries = {name.partition(".")[0] for name in imports(path)}
    wrong = {lib for lib in libraries if lib in CLIENTS and module_of(path) not in CLIENTS[lib]}
    assert wrong == set()


def test_no_import_of_our_own_is_hidden_from_these_tests() -> None:
    """Only the front door imports by a name that it computes."""
    hidden = [
        named(path)
        for path in MODULES
        if "import_module(" in path.read_text() or "__import__(" in path.read_text()
    ]
    assert hidden == ["__init__.py"]


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_file_stays_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_the_front_door_has_exactly_these_names() -> None:
    assert sorted(consumer.__all__) == [
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


@pytest.mark.parametrize("name", consumer.__all__)
def test_a_name_of_the_front_door_is_what_its_module_has(name: str) -> None:
    found = getattr(consumer, name)
    assert found.__name__ == name
    assert found.__module__.startswith("consumer.")
    assert getattr(importlib.import_module(found.__module__), name) is found
    assert found.__doc__


def test_other_names_are_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = consumer.Nothing
