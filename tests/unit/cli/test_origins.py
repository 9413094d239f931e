"""The flag, the environment, the file or the default: which value a setting has."""

from pathlib import Path
from typing import Any

import pytest

from dynatomic.cli import main as cli
from dynatomic.config.catalogue import SETTINGS
from tests.support.command_line import shown

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
    "counters": (["--counters", "a.toml"], "b.toml", "'c.toml'", "a.toml", "b.toml", "c.toml"),
    "dead_letter_topic": (["--dead-letter-topic", "x"], "y", "'z'", "x", "y", "z"),
    "dead_letter_max_ratio": (["--dead-letter-max-ratio", "0"], "0.25", "1e-2", 0.0, 0.25, 0.01),
    "counter": (["--counter", "x"], "y", "'z'", "x", "y", "z"),
    "allowed_counters": (
        ["--allow-counter", "a", "--allow-counter", "b"],
        " c , d,",
        "['e']",
        ["a", "b"],
        ["c", "d"],
        ["e"],
    ),
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
    "window_max_bytes": (
        ["--window-max-bytes", "1000000"],
        "2000000",
        "3000000",
        1_000_000,
        2_000_000,
        3_000_000,
    ),
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
    "max_payload_bytes": (["--max-payload-bytes", "1000"], "2000", "3000", 1000, 2000, 3000),
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
