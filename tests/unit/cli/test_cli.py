"""The command: origins of settings, exit codes, help, and what each command calls."""

import io
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from dynatomic.cli import main as cli
from dynatomic.cli.app import app
from dynatomic.config.settings import SETTINGS, Settings
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.telemetry import logs

ROOT = Path(__file__).parents[3]
COMMANDS = (["init"], ["run"], ["produce"], ["incr"], ["demo"], ["config", "show"])


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DYNATOMIC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(logs, "setup", lambda *_: None)
    # cyclopts keeps the console that each command first used, and that one keeps its width. So
    # without a console of its own a test sees the width at which another one misused the command.
    monkeypatch.setattr(app, "_console", Console(width=200))


def shown(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    assert cli.main(["config", "show", *flags]) == 0
    return tomllib.loads(capsys.readouterr().out)


def failed(capsys: pytest.CaptureFixture[str], code: int, *argv: str) -> str:
    """Run a command line that fails with one line, and a hint if it is misused."""
    assert cli.main(argv) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0].startswith("dynatomic: error: ")
    if code == 2:
        assert lines[1].startswith("Try 'dynatomic ")
        assert lines[1].endswith(" --help'.")
    assert len(lines) == (2 if code == 2 else 1)
    return lines[0]


# Origins

# setting -> (flags, environment, file, and the value of each in the file's types)
ORIGINS: dict[str, tuple[list[str], str, str, Any, Any, Any]] = {
    "bootstrap_servers": (["-b", "a:1"], "b:2,c:3", "'d:4'", "a:1", "b:2,c:3", "d:4"),
    "topic": (["-t", "flag"], "env", "'file'", "flag", "env", "file"),
    "group_id": (["-g", "flég"], "env x", "'file'", "flég", "env x", "file"),
    "tables": (
        ["--table", "aaa", "--table", "bbb"],
        " ccc , ddd,",
        "['eee']",
        ["aaa", "bbb"],
        ["ccc", "ddd"],
        ["eee"],
    ),
    "dead_letter_topic": (["--dead-letter-topic", "x"], "y", "'z'", "x", "y", "z"),
    "dead_letter_max_ratio": (["--dead-letter-max-ratio", "0"], "0.25", "1e-2", 0.0, 0.25, 0.01),
    "counter": (["--counter", "x"], "y", "'z'", "x", "y", "z"),
    "processing_guarantee": (
        ["--processing-guarantee", "exactly-once"],
        "exactly-once",
        "'exactly-once'",
        "exactly-once",
        "exactly-once",
        "exactly-once",
    ),
    "window_ms": (["--window-ms", "10"], "20", "30", 10, 20, 30),
    "window_max_events": (["--window-max-events=10"], "20", "30", 10, 20, 30),
    "window_max_counters": (["--window-max-counters", "10"], "20", "30", 10, 20, 30),
    "group_protocol": (
        ["--group-protocol", "consumer"],
        "consumer",
        "'consumer'",
        "consumer",
        "consumer",
        "consumer",
    ),
    "write_mode": (["--write-mode", "single"], "single", "'single'", "single", "single", "single"),
    "max_requests": (["--max-requests", "1"], "2", "3", 1, 2, 3),
    "min_incr": (["--min-incr", "-1"], "-2", "-3", -1, -2, -3),
    "max_incr": (["--max-incr", "1"], "2", "3", 1, 2, 3),
    "writer_schema": (["--writer-schema", "a b"], "c:d", "'e'", "a b", "c:d", "e"),
    "shutdown_timeout_ms": (["--shutdown-timeout-ms", "100"], "200", "300", 100, 200, 300),
    "http": (["--http", "off"], "[::1]:1", "'0.0.0.0:65535'", "off", "[::1]:1", "0.0.0.0:65535"),
    "progress_timeout_ms": (["--progress-timeout-ms", "1000"], "2000", "3000", 1000, 2000, 3000),
    "kafka_auth": (
        ["--kafka-auth", "msk-iam"],
        "msk-iam",
        "'msk-iam'",
        "msk-iam",
        "msk-iam",
        "msk-iam",
    ),
    "tls_verification": (
        ["--tls-verification", "optional"],
        "optional",
        "'optional'",
        "optional",
        "optional",
        "optional",
    ),
    "log_level": (["--log-level", "debug"], "warning", "'error'", "debug", "warning", "error"),
    "librdkafka": (
        ["-X", "a=b=c", "-X", "d= e,f "],
        "a=1,d=2",
        "{a = 'x', d = 'y'}",
        {"a": "b=c", "d": " e,f "},
        {"a": "1", "d": "2"},
        {"a": "x", "d": "y"},
    ),
}


def test_the_table_of_origins_has_every_setting() -> None:
    assert list(ORIGINS) == [setting.name for setting in SETTINGS]


@pytest.mark.parametrize("name", ORIGINS)
def test_flag_beats_environment_beats_file_beats_default(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags, env, toml, from_flag, from_env, from_file = ORIGINS[name]
    default = shown(capsys).get(name)
    file = tmp_path / "a.toml"
    file.write_text(f"{name} = {toml}")
    monkeypatch.setenv("DYNATOMIC_CONFIG", str(file))
    assert shown(capsys)[name] == from_file != default
    origin = f"file {file}"
    assert origins_of(capsys, name) == {origin}
    monkeypatch.setenv(f"DYNATOMIC_{name.upper()}", env)
    assert shown(capsys)[name] == from_env != default
    assert origins_of(capsys, name) == {f"environment DYNATOMIC_{name.upper()}"}
    assert shown(capsys, *flags)[name] == from_flag != default
    assert origins_of(capsys, name, *flags) == {"command line"}


def origins_of(capsys: pytest.CaptureFixture[str], name: str, *flags: str) -> set[str]:
    assert cli.main(["config", "show", "--origin", *flags]) == 0
    top, _, properties = capsys.readouterr().out.partition("[librdkafka]\n")
    lines = properties if name == "librdkafka" else top
    found = [line for line in lines.splitlines() if "=" in line]
    if name != "librdkafka":
        found = [line for line in found if line.startswith(f"{name} =")]
    return {line.rpartition("  # ")[2] for line in found}


def test_everything_is_a_default_at_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "show", "--origin"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if " = " in line]
    assert len(lines) == len(SETTINGS) - 1
    assert all(line.endswith("  # default") for line in lines)


def test_origins_do_not_stay_from_one_run_to_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert origins_of(capsys, "topic", "-t", "x") == {"command line"}
    assert origins_of(capsys, "topic") == {"default"}


def test_properties_merge_name_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[librdkafka]\n'sasl.username' = 'me'\n'a' = 'file'\n'b' = 'file'")
    monkeypatch.setenv("DYNATOMIC_LIBRDKAFKA", "a=env,b=env")
    flags = ("--config", str(file), "-X", "b=flag")
    assert shown(capsys, *flags)["librdkafka"] == {
        "sasl.username": "me",
        "a": "env",
        "b": "flag",
    }
    cli.main(["config", "show", "--origin", *flags])
    out = capsys.readouterr().out
    assert f'"sasl.username" = "me"  # file {file}\n' in out
    assert '"a" = "env"  # environment DYNATOMIC_LIBRDKAFKA\n' in out
    assert '"b" = "flag"  # command line\n' in out


def test_the_flag_config_beats_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.toml").write_text("topic = 'a'")
    monkeypatch.setenv("DYNATOMIC_CONFIG", str(tmp_path / "absent.toml"))
    assert shown(capsys, "--config", str(tmp_path / "a.toml"))["topic"] == "a"


@pytest.mark.parametrize("name", ["CONFIG", "TOPIC", "TABLES", "WINDOW_MS", "LIBRDKAFKA"])
def test_an_empty_environment_variable_is_none(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = shown(capsys)
    monkeypatch.setenv(f"DYNATOMIC_{name}", "")
    assert shown(capsys) == expected
    if name == "TOPIC":
        (tmp_path / "a.toml").write_text("topic = 'file'")
        assert shown(capsys, "--config", str(tmp_path / "a.toml"))["topic"] == "file"


def test_secrets_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "-X", "sasl.password=hunter2")["librdkafka"]["sasl.password"] == "***"


# Errors


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["rnu"], 'Did you mean "run"?'),
        (["run", "--windw-ms", "5"], "--windw-ms. Did you mean --window-ms?"),
        (["run", "extra"], "extra"),
        (["run", "--topic"], "--topic requires an argument"),
        (["run", "-t", "a", "-t", "b"], "-t specified multiple times"),
        (["run", "--window-ms", "5s"], "--window-ms: '5s' is not a whole number"),
        (["run", "--window-ms", "1.5"], "--window-ms: '1.5' is not a whole number"),
        (["run", "--group-protocol", "x"], '"classic", "consumer"'),
        (["run", "-X", "debug"], "-X: property 1 is not of the form name=value"),
        (["run", "-X", "=x"], "-X: property 1 is not"),
        (["run", "-X", "a=1", "-X", "a=1"], "-X: property 'a' is given twice"),
        (["produce", "-g", "x"], "-g"),
        (["incr", "hits"], "KEY"),
        (["incr", "hits", "k", "--by", "many"], "--by: 'many'"),
        (["init", "--wait", "soon"], "--wait"),
        (["init", "--wait", "-1"], "'-1' is not a number of seconds"),
        (["init", "--wait", "nan"], "'nan' is not a number of seconds"),
        (["produce", "--cuont", "5"], "unknown option --cuont"),
        (["produce", "a.jsonl", "b.jsonl"], "b.jsonl"),
        (["produce", "--count", "-1"], "--count: -1 is less than 0"),
        (["produce", "--count", "1", "--rows", "0", "--table", "hits"], "--rows: 0 is less"),
        (["produce", "--count", "1", "--distribution", "x"], "zipf"),
    ],
)
def test_a_misused_command_line_is_exit_2(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in failed(capsys, 2, *argv)


@pytest.mark.parametrize("argv", [[], ["config"]])
def test_no_command_is_exit_2_with_the_help(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2
    assert "Usage: dynatomic" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--window-ms", "9"], "window_ms: 9 "),
        (["-t", "a/b"], "topic: 'a/b'"),
        (["--table", "arn:aws:dynamodb:x:1:table/hits"], "is an ARN"),
        (["--min-incr", "5", "--max-incr", "4"], "min_incr: 5"),
        (["--config", "/no/such/file"], "/no/such/file: No such file"),
    ],
)
def test_a_value_that_cannot_work_is_exit_78(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in failed(capsys, 78, "run", *flags)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WINDOW_MS", "soon", "'soon' is not a whole number"),
        ("WINDOW_MS", "9", "from 10 to 3600000"),
        ("GROUP_PROTOCOL", "x", "classic, consumer"),
        ("TABLES", "good,b d", "'b d'"),
        ("LIBRDKAFKA", "a=1,b", "property 2 is not of the form name=value"),
        ("LIBRDKAFKA", "a=1,a=2", "'a' is given twice"),
    ],
)
def test_a_wrong_environment_variable_is_exit_78_and_named(
    name: str,
    value: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"DYNATOMIC_{name}", value)
    line = failed(capsys, 78, "run")
    assert words in line
    assert f"(from environment DYNATOMIC_{name})" in line


def test_a_wrong_file_is_exit_78_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.toml"
    file.write_text("window_ms = 5")
    assert f"(from file {file})" in failed(capsys, 78, "run", "--config", str(file))
    file.write_text("windowms = 5")
    # The file is one for all commands, and checked by each, whatever it needs of it.
    for argv in (["run"], ["incr", "hits", "k"], ["produce", "--count", "1"]):
        assert "did you mean 'window_ms'?" in failed(capsys, 78, *argv, "--config", str(file))


# Help


def needs(command: list[str]) -> set[str]:
    kafka = {"bootstrap_servers", "topic", "tables", "librdkafka"}
    kafka |= {"kafka_auth", "tls_verification"}
    some = {
        "init": kafka | {"dead_letter_topic", "group_id"},
        "produce": kafka,
        "incr": {"counter"},
        "demo": set(),
    }
    return some.get(command[0], {setting.name for setting in SETTINGS})


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_name_environment_and_default_of_each_setting_it_needs(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: dynatomic {' '.join(command)}" in out
    for setting in SETTINGS:
        lines = [line for line in out.splitlines() if f"[env var: {setting.env}]" in line]
        assert len(lines) == (setting.name in needs(command))
        for line in lines:
            assert all(flag in line for flag in setting.flags)
            assert f"[default: {setting.shown_default}]" in line
    assert ("[env var: DYNATOMIC_CONFIG]" in out) == (command != ["demo"])


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("dynatomic")
    assert out.count("\n") == 1


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in ("init", "run", "produce", "incr", "demo", "config", "--version"):
        assert f" {command} " in out


# What each command calls


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    def make(module: str, result: object = 0, **names: object) -> list[Any]:
        """Put a module in the place of the real one, whose functions note how they are called."""
        calls: list[Any] = []
        fake: Any = ModuleType(module)

        def note(name: str) -> Callable[..., Any]:
            def called(*args: Any, **kwargs: Any) -> Any:
                calls.append((name, args, kwargs))
                if isinstance(result, BaseException):
                    raise result
                return result

            return called

        for name, value in names.items():
            setattr(fake, name, note(name) if value is None else value)
        monkeypatch.setitem(sys.modules, module, fake)
        return calls

    return make


def test_run_passes_its_settings_and_returns_its_exit_code(stub: Callable[..., Any]) -> None:
    calls = stub("dynatomic.service.run", 75, run=None)
    argv = ["run", "--table", "hits", "--once", "--endpoint-url", "http://x"]
    assert cli.main(argv) == 75
    expected = ("run", (Settings(tables=("hits",)), "http://x"), {"once": True, "dry_run": False})
    assert calls == [expected]
    cli.main(["run", "--dry-run"])
    assert calls[1] == ("run", (Settings(), None), {"once": False, "dry_run": True})


def test_init_prints_what_it_did(
    stub: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    calls = stub("dynatomic.operations.init", ["topic made", "table made"], initialise=None)
    assert cli.main(["init", "--wait", "1.5", "--create-tables", "--dead-letter-topic", "d"]) == 0
    assert capsys.readouterr().out == "topic made\ntable made\n"
    cli.main(["init"])
    assert [(*args, options["create_tables"]) for _, args, options in calls] == [
        (Settings(dead_letter_topic="d"), None, 1.5, True),
        (Settings(), None, None, False),
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
    assert calls == [("increment", expected, {"client": ("client", "http://x")})]


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


# The process


def dynatomic(*argv: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dynatomic", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **more,
    )


def test_exit_codes_of_the_process() -> None:
    assert dynatomic("--help").returncode == 0
    misused = dynatomic("run", "--nonsense")
    assert (misused.returncode, misused.stdout) == (2, "")
    wrong = dynatomic("config", "show", "--window-ms", "1")
    assert (wrong.returncode, wrong.stdout) == (78, "")
    assert wrong.stderr.count("\n") == 1


def test_a_shell_s_words_arrive_as_they_were_quoted() -> None:
    done = dynatomic("config", "show", "-X", 'sasl.username=a\'b "c" é, =', "-g", "$HOME *")
    values = tomllib.loads(done.stdout)
    assert values["librdkafka"] == {"sasl.username": 'a\'b "c" é, ='}
    assert values["group_id"] == "$HOME *"


def test_a_reader_that_leaves_is_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dynatomic", "config", "show"],
            cwd=ROOT,
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_produce_reads_stdin(tmp_path: Path) -> None:
    (tmp_path / "consumer_stub.py").write_text(
        "import sys, types\n"
        "fake = types.ModuleType('dynatomic.operations.produce')\n"
        "fake.produce_file = lambda s, stream, progress: print(ascii(stream.read()))\n"
        "fake.produce_samples = None\n"
        "sys.modules['dynatomic.operations.produce'] = fake\n"
        "from dynatomic.cli.main import main\n"
        "sys.exit(main(['produce', '-']))\n"
    )
    done = subprocess.run(
        [sys.executable, str(tmp_path / "consumer_stub.py")],
        input="é\n".encode(),
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "consumer"), "PYTHONIOENCODING": "latin-1"},
        check=False,
        timeout=60,
    )
    assert done.stdout == b"'\\xe9\\n'\n", done.stderr


@pytest.mark.parametrize("argv", [["--help"], ["run", "--help"], ["config", "show"]])
def test_help_loads_no_client(argv: list[str]) -> None:
    code = (
        "import sys\n"
        "from dynatomic.cli.main import main\n"
        f"main({argv!r})\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines()[-1].strip("[]").replace("'", "").split(", "))
    assert "cyclopts" in loaded
    assert not loaded & {"boto3", "botocore", "confluent_kafka", "fastavro", "ministack"}


def lines() -> Iterator[str]:
    yield "one"
    raise UnavailableError("then nothing")


def test_lines_are_printed_as_they_come(
    stub: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    stub("dynatomic.operations.init", lines(), initialise=None)
    assert cli.main(["init"]) == 75
    assert out.getvalue() == "one\n"
