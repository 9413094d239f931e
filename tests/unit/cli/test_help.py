"""The help of each command."""

import pytest

from dynatomic.cli import main as cli
from dynatomic.config.catalogue import SETTINGS

COMMANDS = (["init"], ["run"], ["produce"], ["incr"], ["demo"], ["config", "show"])


def needs(command: list[str]) -> set[str]:
    kafka = {"bootstrap_servers", "topic", "tables", "librdkafka"}
    kafka |= {"kafka_auth", "tls_verification"}
    some = {
        "init": kafka | {"counters", "dead_letter_topic", "group_id"},
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
