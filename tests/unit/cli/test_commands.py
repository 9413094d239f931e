"""The function that each command calls."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynatomic.cli import main as cli
from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from tests.support.command_line import failed


def test_run_passes_its_settings_and_returns_its_exit_code(stub: Callable[..., Any]) -> None:
    calls = stub("dynatomic.service.run", 75, run=None)
    argv = ["run", "--table", "hits", "--once", "--endpoint-url", "http://x"]
    assert cli.main(argv) == 75
    expected = (
        "run",
        (Settings(tables=("hits",)), "http://x"),
        {"once": True, "dry_run": False, "start": None, "accept_counters": False},
    )
    assert calls == [expected]
    cli.main(["run", "--dry-run", "--accept-counters"])
    flags = {"once": False, "dry_run": True, "start": None, "accept_counters": True}
    assert calls[1] == ("run", (Settings(), None), flags)


def test_init_prints_what_it_did(
    stub: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    calls = stub("dynatomic.operations.init", ["topic made", "table made"], initialise=None)
    assert cli.main(["init", "--wait", "1.5", "--create-tables", "--dead-letter-topic", "d"]) == 0
    assert capsys.readouterr().out == "topic made\ntable made\n"
    cli.main(["init"])
    cli.main(["init", "--partitions", "12", "--replication-factor", "3"])
    defaults = {
        "create_tables": False,
        "check_unpacked_size": False,
        "partitions": None,
        "replication_factor": None,
    }
    assert [(args, options) for _, args, options in calls] == [
        ((Settings(dead_letter_topic="d"), None, 1.5), defaults | {"create_tables": True}),
        ((Settings(), None, None), defaults),
        ((Settings(), None, None), defaults | {"partitions": 12, "replication_factor": 3}),
    ]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["hits", "k"], ("hits", "k", None, "count", 1)),
        (["hits", "k", "--by", "-5"], ("hits", "k", None, "count", -5)),
        (["hits", "k", "--by=-5", "--range", "-r"], ("hits", "k", "-r", "count", -5)),
        (["hits", "-7", "--counter", "views"], ("hits", "-7", None, "views", 1)),
        (["--by", "2", "hits", "--", "-k"], ("hits", "-k", None, "count", 2)),
        (["hits", "ключ 😀 =", "--range", ""], ("hits", "ключ 😀 =", "", "count", 1)),
    ],
)
def test_incr_prints_the_new_value(
    argv: list[str],
    expected: tuple[Any, ...],
    stub: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    stub("dynatomic.dynamodb.client", make_client=lambda url: ("client", url))
    calls = stub("dynatomic.dynamodb.increment", 42, increment=None)
    assert (
        cli.main(
            ["incr", *argv, "--endpoint-url", "http://x"]
            if "--" not in argv
            else ["incr", "--endpoint-url", "http://x", *argv]
        )
        == 0
    )
    assert capsys.readouterr().out == "42\n"
    options = {"limit": None, "per": None, "at": None, "client": ("client", "http://x")}
    assert calls == [("increment", expected, options)]


def test_incr_passes_its_options(
    stub: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    stub("dynatomic.dynamodb.client", make_client=lambda _: None)
    calls = stub("dynatomic.dynamodb.increment", 7, increment=None)
    argv = ["incr", "hits", "k", "--limit", "9", "--per", "minute", "--at", "1795947959.5"]
    assert cli.main(argv) == 0
    assert capsys.readouterr().out == "7\n"
    assert cli.main([*argv, "--token", "abc"]) == 0
    assert capsys.readouterr().out == "added, or had been added with this token\n"
    options = {"limit": 9, "per": "minute", "at": 1795947959.5, "client": None}
    assert [given for _, _, given in calls] == [options, options | {"token": "abc"}]


def test_incr_takes_its_counter_from_the_environment(
    stub: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub("dynatomic.dynamodb.client", make_client=lambda _: None)
    calls = stub("dynatomic.dynamodb.increment", 1, increment=None)
    monkeypatch.setenv("DYNATOMIC_COUNTER", "views")
    assert cli.main(["incr", "hits", "k"]) == 0
    assert calls[0][1][3] == "views"


def test_produce_makes_samples(stub: Callable[..., Any]) -> None:
    calls = stub("dynatomic.operations.produce", 10, produce_samples=None, produce_file=None)
    argv = ["produce", "--count", "10", "--rows", "3", "--distribution", "zipf", "--seed", "7"]
    assert cli.main([*argv, "--table", "hits"]) == 0
    name, args, kwargs = calls[0]
    assert (name, args) == ("produce_samples", (Settings(tables=("hits",)),))
    del kwargs["progress"]
    assert kwargs == {
        "table": "hits",
        "count": 10,
        "rows": 3,
        "distribution": "zipf",
        "seed": 7,
    }


@pytest.mark.parametrize(
    "argv",
    [
        ["--count", "1"],
        ["--count", "1", "--table", "aaa", "--table", "bbb"],
        ["x.jsonl", "--count", "1", "--table", "aaa"],
    ],
)
def test_produce_refuses_samples_without_one_table_or_with_a_file(
    argv: list[str], stub: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    calls = stub("dynatomic.operations.produce", 0, produce_samples=None, produce_file=None)
    assert "exactly one --table" in failed(capsys, 2, "produce", *argv)
    assert calls == []


def test_produce_reads_a_file_as_utf8(stub: Callable[..., Any], tmp_path: Path) -> None:
    texts: list[str] = []
    stub(
        "dynatomic.operations.produce",
        produce_file=lambda _settings, stream, progress: texts.append(stream.read()),  # noqa: ARG005
        produce_samples=None,
    )
    (tmp_path / "a b.jsonl").write_bytes("é\n".encode())
    assert cli.main(["produce", str(tmp_path / "a b.jsonl")]) == 0
    assert texts == ["é\n"]


def test_produce_says_what_it_cannot_read(
    stub: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stub(
        "dynatomic.operations.produce",
        produce_file=lambda _settings, stream, progress: stream.read(),  # noqa: ARG005
        produce_samples=None,
    )
    absent, latin = tmp_path / "absent", tmp_path / "latin"
    latin.write_bytes(b"\xe9\n")
    assert f"cannot read {absent}: No such file" in failed(capsys, 1, "produce", str(absent))
    assert f"{latin} is not UTF-8" in failed(capsys, 1, "produce", str(latin))


def test_demo_returns_its_exit_code(stub: Callable[..., Any]) -> None:
    stub("dynatomic.operations.demo", 1, demo=None)
    assert cli.main(["demo"]) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DynatomicError("it\nbroke"), 1),
        (UnavailableError("it broke"), 75),
        (ConfigError("it broke"), 78),
    ],
)
def test_an_expected_error_is_one_line_and_its_exit_code(
    error: DynatomicError,
    code: int,
    stub: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    stub("dynatomic.service.run", error, run=None)
    assert failed(capsys, code, "run") == "dynatomic: error: it broke"


def test_an_interrupt_is_exit_130(stub: Callable[..., Any]) -> None:
    stub("dynatomic.operations.demo", KeyboardInterrupt(), demo=None)
    assert cli.main(["demo"]) == 130


def test_an_unexpected_error_keeps_its_traceback(stub: Callable[..., Any]) -> None:
    stub("dynatomic.operations.demo", ZeroDivisionError(), demo=None)
    with pytest.raises(ZeroDivisionError):
        cli.main(["demo"])


def test_config_check_prints_a_line_a_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "check", "--table", "hits"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "✓ settings",
        "✓ tables: hits",
        "✓ writer schema",
        "✓ librdkafka",
    ]
    argv = ["config", "check", "--table", "hits", "-X", "enable.auto.commit=true"]
    assert cli.main(argv) == 78
    out = capsys.readouterr().out
    assert "✓ tables: hits\n" in out
    assert "✗ librdkafka: librdkafka property enable.auto.commit: " in out
