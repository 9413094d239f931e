"""Command lines and settings that cannot work: the message and the exit code."""

from pathlib import Path

import pytest

from dynatomic.cli import main as cli
from tests.support.command_line import failed


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
        (["init", "--partitions", "0"], "0 is less than 1"),
        (["init", "--replication-factor", "-1"], "-1 is less than 1"),
        (["init", "--wait", "-1"], "'-1' is not a number of seconds"),
        (["init", "--wait", "nan"], "'nan' is not a number of seconds"),
        (["produce", "--cuont", "5"], "unknown option --cuont"),
        (["produce", "a.jsonl", "b.jsonl"], "b.jsonl"),
        (["offsets", "--to-offset", "5"], "--to-offset needs --partition"),
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
        (["-b", "a:1,http://b:9092"], "'http://b:9092' is not a broker: Kafka has no http://"),
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
